// Embedding, norms, activation, soft-cap: memory-bound, one pass each, fp32 inside.
#include <algorithm>

#include "src/cuda/common.cuh"
#include "src/cuda/cuda_kernels.hpp"

namespace slora::kernels::cuda {
namespace {

// ---- embedding

template <typename T>
__global__ void embed_kernel(EmbedParams params) {
  allow_next();
  wait_for_inputs();
  const int32_t t = static_cast<int32_t>(blockIdx.x);
  int64_t token =
      params.history[params.token_slot[t] * params.history_stride + params.token_position[t]] -
      params.vocab_begin;
  float* out = params.out + int64_t{t} * params.hidden_size;
  if (token < 0 || token >= params.vocab_size) {
    if (params.is_shard) {
      for (int64_t i = threadIdx.x; i < params.hidden_size; i += blockDim.x) out[i] = 0.0f;
      return;
    }
    // Padding rows of a graph look at a slot that nothing may have written.
    token = 0;
  }
  const T* row = static_cast<const T*>(params.weight) + token * params.hidden_size;
  for (int64_t i = threadIdx.x; i < params.hidden_size; i += blockDim.x)
    out[i] = to_float(row[i]) * params.scale;
}

// ---- norm

constexpr int kNormThreads = 512;
// 16-byte vectors of one row that a thread keeps in registers between the two passes.
constexpr int kNormVectors = 4;

__device__ float block_sum(float x) {
  __shared__ float partial[kNormThreads / 32];
  x = warp_sum(x);
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = x;
  __syncthreads();
  const int num_warps = static_cast<int>(blockDim.x) / 32;
  float sum = 0;
  for (int i = 0; i < num_warps; ++i) sum += partial[i];
  return sum;
}

// As many elements of R as a 16-byte vector of T has.
template <typename R, int kCount>
struct alignas(16) Run {
  R v[kCount];
};

// One block a row; the row stays in registers. R: of the residual.
template <typename T, typename R>
__global__ void __launch_bounds__(kNormThreads) norm_kernel(NormParams params) {
  constexpr int kCount = Vec<T>::kCount;
  const int num_vectors = static_cast<int>(params.hidden_size) / kCount;
  const int i = static_cast<int>(blockIdx.x);
  allow_next();
  // The weight is a constant: the first vector's part is here before the inputs are.
  float weight[kCount];
  if (static_cast<int>(threadIdx.x) < num_vectors) {
#pragma unroll
    for (int c = 0; c < kCount; ++c)
      weight[c] = params.weight_offset + params.weight[static_cast<int>(threadIdx.x) * kCount + c];
  }
  wait_for_inputs();
  const int64_t row = params.row_indices ? params.row_indices[i] : i;
  R* residual = static_cast<R*>(params.residual) + row * params.hidden_size;
  const T* delta =
      params.delta ? static_cast<const T*>(params.delta) + row * params.hidden_size : nullptr;
  float values[kNormVectors][kCount];
  float squares = 0;
#pragma unroll
  for (int j = 0; j < kNormVectors; ++j) {
    const int vector = static_cast<int>(threadIdx.x) + j * static_cast<int>(blockDim.x);
    if (vector >= num_vectors) break;
    auto* const place = reinterpret_cast<Run<R, kCount>*>(residual + vector * kCount);
    Run<R, kCount> x = *place;
    if (delta) {
      const Vec<T> d = load_vec(delta + vector * kCount);
#pragma unroll
      for (int c = 0; c < kCount; ++c) x.v[c] = from_float<R>(to_float(x.v[c]) + to_float(d.v[c]));
      *place = x;
    }
#pragma unroll
    for (int c = 0; c < kCount; ++c) {
      values[j][c] = to_float(x.v[c]);
      squares += values[j][c] * values[j][c];
    }
  }
  const float mean = block_sum(squares) / static_cast<float>(params.hidden_size);
  const float factor = rsqrtf(mean + params.eps);
  T* y = static_cast<T*>(params.y) + int64_t{i} * params.hidden_size;
#pragma unroll
  for (int j = 0; j < kNormVectors; ++j) {
    const int vector = static_cast<int>(threadIdx.x) + j * static_cast<int>(blockDim.x);
    if (vector >= num_vectors) break;
    Vec<T> out;
#pragma unroll
    for (int c = 0; c < kCount; ++c) {
      if (j > 0) weight[c] = params.weight_offset + params.weight[vector * kCount + c];
      out.v[c] = from_float<T>(values[j][c] * factor * weight[c]);
    }
    store_vec(y + vector * kCount, out);
  }
}

// Any size, element by element.
template <typename T, typename R>
__global__ void __launch_bounds__(kNormThreads) norm_any_kernel(NormParams params) {
  const int i = static_cast<int>(blockIdx.x);
  allow_next();
  wait_for_inputs();
  const int64_t row = params.row_indices ? params.row_indices[i] : i;
  R* residual = static_cast<R*>(params.residual) + row * params.hidden_size;
  const T* delta =
      params.delta ? static_cast<const T*>(params.delta) + row * params.hidden_size : nullptr;
  float squares = 0;
  for (int64_t c = threadIdx.x; c < params.hidden_size; c += blockDim.x) {
    R x = residual[c];
    if (delta) {
      x = from_float<R>(to_float(x) + to_float(delta[c]));
      residual[c] = x;
    }
    squares += to_float(x) * to_float(x);
  }
  const float mean = block_sum(squares) / static_cast<float>(params.hidden_size);
  const float factor = rsqrtf(mean + params.eps);
  T* y = static_cast<T*>(params.y) + int64_t{i} * params.hidden_size;
  // Each thread reads back what it wrote itself.
  for (int64_t c = threadIdx.x; c < params.hidden_size; c += blockDim.x)
    y[c] =
        from_float<T>(to_float(residual[c]) * factor * (params.weight_offset + params.weight[c]));
}

// ---- activation

__device__ __forceinline__ float activate(float x, Activation activation) {
  if (activation == Activation::kSilu) return x / (1.0f + __expf(-x));
  // tanh form of GELU (Hendrycks and Gimpel 2016): sqrt(2 / pi) and 0.044715.
  return 0.5f * x * (1.0f + tanhf(0.7978845608f * (x + 0.044715f * x * x * x)));
}

template <typename T, bool kIsVector>
__global__ void gated_kernel(GatedActivationParams params) {
  constexpr int kCount = kIsVector ? Vec<T>::kCount : 1;
  allow_next();
  wait_for_inputs();
  const int64_t f = params.intermediate_size;
  const int64_t t = blockIdx.y;
  const int64_t column = (int64_t{blockIdx.x} * blockDim.x + threadIdx.x) * kCount;
  if (column >= f) return;
  const T* gate = static_cast<const T*>(params.x) + t * 2 * f + column;
  T* out = static_cast<T*>(params.out) + t * f + column;
  if constexpr (kIsVector) {
    const Vec<T> g = load_vec(gate);
    const Vec<T> u = load_vec(gate + f);
    Vec<T> y;
#pragma unroll
    for (int c = 0; c < kCount; ++c)
      y.v[c] = from_float<T>(activate(to_float(g.v[c]), params.activation) * to_float(u.v[c]));
    store_vec(out, y);
  } else {
    *out = from_float<T>(activate(to_float(gate[0]), params.activation) * to_float(gate[f]));
  }
}

__global__ void softcap_kernel(SoftcapParams params) {
  allow_next();
  wait_for_inputs();
  const int64_t stride = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < params.count; i += stride)
    params.y[i] = params.cap * tanhf(params.y[i] / params.cap);
}

template <typename T, typename R>
int32_t launch_norm(void* stream, const NormParams& params) {
  const dim3 grid(static_cast<unsigned>(params.num_rows));
  const int64_t vectors = params.hidden_size / Vec<T>::kCount;
  if (params.hidden_size % Vec<T>::kCount != 0 || vectors > kNormThreads * kNormVectors)
    return launch(stream, norm_any_kernel<T, R>, grid, dim3(kNormThreads), 0, params);
  const auto threads = std::min<int64_t>(ceil_div(vectors, 32) * 32, kNormThreads);
  return launch(stream, norm_kernel<T, R>, grid, dim3(static_cast<unsigned>(threads)), 0, params);
}

}  // namespace

int32_t embed(void* stream, const EmbedParams* params) {
  if (params->num_tokens == 0) return kOk;
  return with_dtype(params->weight_dtype, [&](auto element) {
    using T = decltype(element);
    return launch(stream, embed_kernel<T>, dim3(static_cast<unsigned>(params->num_tokens)),
                  dim3(256), 0, *params);
  });
}

int32_t norm(void* stream, const NormParams* params) {
  if (params->row_indices && params->delta) return kUnsupported;
  const bool is_wide = params->residual_dtype == DType::kF32;
  if (!is_wide && params->residual_dtype != params->activation_dtype) return kUnsupported;
  if (params->num_rows == 0) return kOk;
  return with_dtype(params->activation_dtype, [&](auto element) {
    using T = decltype(element);
    return is_wide ? launch_norm<T, float>(stream, *params) : launch_norm<T, T>(stream, *params);
  });
}

int32_t gated_activation(void* stream, const GatedActivationParams* params) {
  if (params->num_tokens == 0) return kOk;
  return with_dtype(params->activation_dtype, [&](auto element) {
    using T = decltype(element);
    const bool is_vector = params->intermediate_size % Vec<T>::kCount == 0;
    const int64_t items = params->intermediate_size / (is_vector ? Vec<T>::kCount : 1);
    // Tokens along y, at most 65,535: an engine has no more than 32,768 in a step.
    const dim3 grid(static_cast<unsigned>(ceil_div(items, 128)),
                    static_cast<unsigned>(params->num_tokens));
    return is_vector ? launch(stream, gated_kernel<T, true>, grid, dim3(128), 0, *params)
                     : launch(stream, gated_kernel<T, false>, grid, dim3(128), 0, *params);
  });
}

int32_t softcap(void* stream, const SoftcapParams* params) {
  if (params->cap <= 0) return kUnsupported;
  if (params->count == 0) return kOk;
  const int64_t blocks =
      std::min<int64_t>(ceil_div(params->count, 256), int64_t{device_of(stream).sm_count} * 8);
  return launch(stream, softcap_kernel, dim3(static_cast<unsigned>(blocks)), dim3(256), 0, *params);
}

}  // namespace slora::kernels::cuda
