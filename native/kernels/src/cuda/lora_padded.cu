// LoRA as batched matrix products over padded tensors, for comparison: gathers each segment's
// adapter and tokens into contiguous tensors of the batch's largest sizes, multiplies them by
// cuBLASLt, zeros too, and adds the result. One product a segment, for its first entry.
//
// The intermediate stays in the scratch between the shrink and the expand that follows it.
#include <array>

#include "src/cuda/blas_plans.cuh"
#include "src/cuda/lora_common.cuh"

namespace slora::kernels::cuda {
namespace {

constexpr int kThreads = 256;

// The padded shape of a batch, from its bounds.
struct Padded {
  int64_t batches, tokens, rank;
};

Padded padded_of(const LoraBatch& batch) {
  const int64_t tokens = batch.max_segment_tokens > 0 ? batch.max_segment_tokens : batch.num_tokens;
  // Whole vectors of 16 bytes in every dtype.
  return {batch.num_segments, tokens, ceil_div(batch.max_lora_rank, 8) * 8};
}

// Semantics  out[g, i, :] = x of token i of segment g, or zeros past its last
// Grid       (tokens, segments)
template <typename T>
__global__ void pad_tokens_kernel(LoraBatch batch, const T* x, int64_t x_stride, int64_t in_dim,
                                  int64_t tokens, T* out) {
  wait_for_inputs();
  const int32_t begin = batch.segment_begin[blockIdx.y];
  const bool is_real = static_cast<int32_t>(blockIdx.x) < batch.segment_end[blockIdx.y] - begin;
  const T* from = x + (begin + int64_t{blockIdx.x}) * x_stride;
  T* to = out + (int64_t{blockIdx.y} * tokens + blockIdx.x) * in_dim;
  for (int64_t i = threadIdx.x; i < in_dim; i += kThreads)
    to[i] = is_real ? from[i] : from_float<T>(0.0f);
}

// Semantics  out[g, r, :] = row r of A (or of B transposed) of segment g's adapter, or zeros
// Grid       (padded rank, segments)
template <typename T>
__global__ void gather_rows_kernel(LoraBatch batch, const uint8_t* slice, int64_t page_bytes,
                                   int32_t layer_idx, int32_t module_idx, bool is_b,
                                   int64_t row_elems, int64_t rank, T* out) {
  wait_for_inputs();
  const LoraEntry& entry = batch.entries[batch.entry_offsets[blockIdx.y]];
  const LoraAdapterRef& adapter = batch.adapters[entry.adapter_idx];
  const core::LoraModule module = *module_of(batch, adapter, layer_idx, module_idx);
  const int32_t r = static_cast<int32_t>(blockIdx.x);
  T* to = out + (int64_t{blockIdx.y} * rank + r) * row_elems;
  for (int64_t i = threadIdx.x; i < row_elems; i += kThreads) {
    int64_t piece;
    to[i] = r < module.lora_rank
                ? *piece_of_row<T>(slice, page_bytes, batch.pages + adapter.page_offset,
                                   is_b ? module.b : module.a, row_elems, r, i, &piece)
                : from_float<T>(0.0f);
  }
}

// Semantics  y[token, column_offset + o] += weight * scale * update[g, i, o]
// Grid       (tokens, segments)
template <typename T>
__global__ void add_update_kernel(LoraBatch batch, int32_t layer_idx, int32_t module_idx,
                                  const T* update, int64_t tokens, int64_t out_dim, T* y,
                                  int64_t y_stride, int64_t column_offset) {
  wait_for_inputs();
  const int32_t begin = batch.segment_begin[blockIdx.y];
  if (static_cast<int32_t>(blockIdx.x) >= batch.segment_end[blockIdx.y] - begin) return;
  const LoraEntry& entry = batch.entries[batch.entry_offsets[blockIdx.y]];
  const core::LoraModule module =
      *module_of(batch, batch.adapters[entry.adapter_idx], layer_idx, module_idx);
  if (module.lora_rank == 0) return;
  const float factor = entry.weight * module.scale;
  const T* from = update + (int64_t{blockIdx.y} * tokens + blockIdx.x) * out_dim;
  T* to = y + (begin + int64_t{blockIdx.x}) * y_stride + column_offset;
  for (int64_t o = threadIdx.x; o < out_dim; o += kThreads)
    to[o] = from_float<T>(fmaf(factor, to_float(from[o]), to_float(to[o])));
}

// ---- batched products

struct Product {
  DType dtype;
  int64_t batches, m, n, k;
  bool is_w_transposed;  // w is [n, k] a batch, else [k, n]
};

using Key = std::array<int64_t, 7>;

Key key_of(cublasLtHandle_t blas, const Product& product) {
  return {reinterpret_cast<int64_t>(blas),
          static_cast<int64_t>(product.dtype),
          product.batches,
          product.m,
          product.n,
          product.k,
          product.is_w_transposed};
}

bool layout(cublasLtMatrixLayout_t* out, cudaDataType_t type, int64_t rows, int64_t columns,
            int64_t batches) {
  const auto count = static_cast<int32_t>(batches);
  const int64_t stride = rows * columns;
  return cublasLtMatrixLayoutCreate(out, type, static_cast<uint64_t>(rows),
                                    static_cast<uint64_t>(columns),
                                    rows) == CUBLAS_STATUS_SUCCESS &&
         cublasLtMatrixLayoutSetAttribute(*out, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count,
                                          sizeof count) == CUBLAS_STATUS_SUCCESS &&
         cublasLtMatrixLayoutSetAttribute(*out, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET,
                                          &stride, sizeof stride) == CUBLAS_STATUS_SUCCESS;
}

// Row-major y [m, n] = x w is column-major y^T [n, m] = w^T x^T.
BlasPlan make_plan(cublasLtHandle_t blas, const Product& product) {
  BlasPlan plan;
  const cudaDataType_t type = product.dtype == DType::kF32    ? CUDA_R_32F
                              : product.dtype == DType::kBF16 ? CUDA_R_16BF
                                                              : CUDA_R_16F;
  const cublasOperation_t of_w = product.is_w_transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
  cublasLtMatmulPreference_t preference = nullptr;
  const bool is_made =
      cublasLtMatmulDescCreate(&plan.matmul, CUBLAS_COMPUTE_32F, CUDA_R_32F) ==
          CUBLAS_STATUS_SUCCESS &&
      cublasLtMatmulDescSetAttribute(plan.matmul, CUBLASLT_MATMUL_DESC_TRANSA, &of_w,
                                     sizeof of_w) == CUBLAS_STATUS_SUCCESS &&
      (product.is_w_transposed ? layout(&plan.w, type, product.k, product.n, product.batches)
                               : layout(&plan.w, type, product.n, product.k, product.batches)) &&
      layout(&plan.x, type, product.k, product.m, product.batches) &&
      layout(&plan.y, type, product.n, product.m, product.batches) &&
      cublasLtMatmulPreferenceCreate(&preference) == CUBLAS_STATUS_SUCCESS;
  if (is_made) ask_for_algorithm(blas, preference, plan);
  if (preference) cublasLtMatmulPreferenceDestroy(preference);
  return plan;
}

int32_t multiply(void* stream, const Product& product, const void* x, const void* w, void* y) {
  static auto* const plans = new BlasPlans<Key>;
  cublasLtHandle_t blas = device_of(stream).blas;
  const BlasPlan& plan =
      plans->get(stream, key_of(blas, product), [&] { return make_plan(blas, product); });
  if (!plan.exists) return kUnsupported;
  const float one = 1, zero = 0;
  if (cublasLtMatmul(blas, plan.matmul, &one, w, plan.w, x, plan.x, &zero, y, plan.y, y, plan.y,
                     &plan.algorithm, nullptr, 0, raw(stream)) == CUBLAS_STATUS_SUCCESS)
    return kOk;
  const int32_t status = launch_status();
  return status ? status : static_cast<int32_t>(core::Status::kBackend);
}

// The intermediate of every fused module, then what one product needs.
int32_t reserve(void* stream, uint64_t bytes, uint8_t** out) {
  device::cuda::CudaDevice& device = device_of(stream);
  if (device.padded_scratch_bytes < bytes) {
    cudaError_t error = cudaSetDevice(device.device_idx);
    if (error == cudaSuccess) error = cudaStreamSynchronize(raw(stream));
    if (device.padded_scratch) cudaFree(device.padded_scratch);
    device.padded_scratch = nullptr;
    device.padded_scratch_bytes = 0;
    if (error == cudaSuccess) error = cudaMalloc(&device.padded_scratch, bytes);
    if (error != cudaSuccess) {
      cudaGetLastError();
      return device::cuda::status_of(error);
    }
    device.padded_scratch_bytes = bytes;
  }
  *out = static_cast<uint8_t*>(device.padded_scratch);
  return kOk;
}

// Bytes of `count` elements, so that what follows begins on 256 bytes.
int64_t room(int64_t count, DType dtype) {
  return ceil_div(count * core::dtype_bytes(dtype), 256) * 256;
}

int64_t intermediate_bytes(const Padded& padded, DType dtype) {
  return kMaxFusedModules * room(padded.batches * padded.tokens * padded.rank, dtype);
}

dim3 grid_of(int64_t x, int64_t segments) {
  return dim3(static_cast<unsigned>(x), static_cast<unsigned>(segments));
}

}  // namespace

int32_t lora_shrink_padded(void* stream, const LoraShrinkParams* params) {
  const Padded padded = padded_of(params->batch);
  if (padded.rank == 0 || padded.batches > 65535) return kUnsupported;
  const DType dtype = params->page_dtype;
  const int64_t in_dim = params->in_dim;
  const int64_t t_room = room(padded.batches * padded.tokens * padded.rank, dtype);
  const int64_t x_room = room(padded.batches * padded.tokens * in_dim, dtype);
  const int64_t a_room = room(padded.batches * padded.rank * in_dim, dtype);
  uint8_t* scratch = nullptr;
  if (const int32_t status = reserve(
          stream, static_cast<uint64_t>(intermediate_bytes(padded, dtype) + x_room + a_room),
          &scratch))
    return status;
  uint8_t* x_padded = scratch + intermediate_bytes(padded, dtype);
  uint8_t* a_padded = x_padded + x_room;
  return with_dtype(dtype, [&](auto element) {
    using T = decltype(element);
    int32_t status =
        launch(stream, pad_tokens_kernel<T>, grid_of(padded.tokens, padded.batches), dim3(kThreads),
               0, params->batch, static_cast<const T*>(params->x), params->x_stride, in_dim,
               padded.tokens, reinterpret_cast<T*>(x_padded));
    for (int32_t j = 0; j < params->num_fused && !status; ++j) {
      status = launch(stream, gather_rows_kernel<T>, grid_of(padded.rank, padded.batches),
                      dim3(kThreads), 0, params->batch, params->slice, params->page_bytes,
                      params->layer_idx, params->module_idx[j], false, in_dim, padded.rank,
                      reinterpret_cast<T*>(a_padded));
      if (!status)
        status = multiply(stream, {dtype, padded.batches, padded.tokens, padded.rank, in_dim, true},
                          x_padded, a_padded, scratch + j * t_room);
    }
    return status;
  });
}

int32_t lora_expand_padded(void* stream, const LoraExpandParams* params) {
  const Padded padded = padded_of(params->batch);
  if (padded.rank == 0 || padded.batches > 65535) return kUnsupported;
  const DType dtype = params->page_dtype;
  int64_t widest = 0;
  for (int32_t j = 0; j < params->num_fused; ++j)
    widest = params->out_dim[j] > widest ? params->out_dim[j] : widest;
  const int64_t t_room = room(padded.batches * padded.tokens * padded.rank, dtype);
  const int64_t b_room = room(padded.batches * padded.rank * widest, dtype);
  const int64_t y_room = room(padded.batches * padded.tokens * widest, dtype);
  // Growing would lose the intermediate: the device's largest need is reserved with room for both.
  uint8_t* scratch = static_cast<uint8_t*>(device_of(stream).padded_scratch);
  const auto bytes = static_cast<uint64_t>(intermediate_bytes(padded, dtype) + b_room + y_room);
  if (device_of(stream).padded_scratch_bytes < bytes) {
    // Rare, and only while sizes grow: the intermediate is carried over by way of the host's wait.
    const auto kept = static_cast<size_t>(intermediate_bytes(padded, dtype));
    void* saved = nullptr;
    cudaError_t error = cudaMalloc(&saved, kept);
    if (error == cudaSuccess)
      error = cudaMemcpyAsync(saved, scratch, kept, cudaMemcpyDeviceToDevice, raw(stream));
    if (error != cudaSuccess) return device::cuda::status_of(error);
    if (const int32_t status = reserve(stream, bytes, &scratch)) {
      cudaFree(saved);
      return status;
    }
    error = cudaMemcpyAsync(scratch, saved, kept, cudaMemcpyDeviceToDevice, raw(stream));
    if (error == cudaSuccess) error = cudaStreamSynchronize(raw(stream));
    cudaFree(saved);
    if (error != cudaSuccess) return device::cuda::status_of(error);
  }
  uint8_t* b_padded = scratch + intermediate_bytes(padded, dtype);
  uint8_t* y_padded = b_padded + b_room;
  return with_dtype(dtype, [&](auto element) {
    using T = decltype(element);
    int32_t status = kOk;
    for (int32_t j = 0; j < params->num_fused && !status; ++j) {
      const int64_t out_dim = params->out_dim[j];
      status = launch(stream, gather_rows_kernel<T>, grid_of(padded.rank, padded.batches),
                      dim3(kThreads), 0, params->batch, params->slice, params->page_bytes,
                      params->layer_idx, params->module_idx[j], true, out_dim, padded.rank,
                      reinterpret_cast<T*>(b_padded));
      if (!status)
        status =
            multiply(stream, {dtype, padded.batches, padded.tokens, out_dim, padded.rank, false},
                     scratch + j * t_room, b_padded, y_padded);
      if (!status)
        status = launch(stream, add_update_kernel<T>, grid_of(padded.tokens, padded.batches),
                        dim3(kThreads), 0, params->batch, params->layer_idx, params->module_idx[j],
                        reinterpret_cast<const T*>(y_padded), padded.tokens, out_dim,
                        static_cast<T*>(params->y), params->y_stride, params->column_offset[j]);
    }
    return status;
  });
}

}  // namespace slora::kernels::cuda
