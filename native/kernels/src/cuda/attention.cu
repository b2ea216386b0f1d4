// Paged attention: which kernel serves which row of a batch. Rows of one token go to the decode
// kernel (attention_decode.cu), longer ones to the prefill kernel (attention_prefill.cu); fp32 and
// odd head sizes to the plain kernel here.
#include <algorithm>

#include "attention.cuh"
#include "cuda_kernels.hpp"

namespace slora::kernels::cuda {
namespace {

constexpr int kPlainWarps = 8;

// Semantics  AttentionParams
// Cost       K and V once a (token, head): for parity, not for speed
// One block a (token, head); its warps walk positions in turn, lane l holds elements l + 32 i.
template <typename T, int kElems>
__global__ void __launch_bounds__(kPlainWarps * 32)
    attention_plain_kernel(const AttentionParams params) {
  __shared__ float shared_acc[kPlainWarps][kElems * 32];
  __shared__ float shared_max[kPlainWarps];
  __shared__ float shared_sum[kPlainWarps];
  allow_next();
  const int32_t t = blockIdx.x;
  const int32_t head = blockIdx.y;
  const int32_t lane = threadIdx.x % 32;
  const int32_t warp = threadIdx.x / 32;
  wait_for_inputs();

  // ---- whose token is it
  if (t >= params.row_offsets[params.num_rows]) return;
  int32_t low = 0, high = params.num_rows;  // row_offsets[low] <= t < row_offsets[high]
  while (high - low > 1) {
    const int32_t middle = (low + high) / 2;
    (params.row_offsets[middle] <= t ? low : high) = middle;
  }
  const int32_t d = params.head_size;
  const int32_t kv_head = head / (params.num_heads / params.num_kv_heads);
  const int32_t position = params.token_position[t];
  const int64_t row_elems = static_cast<int64_t>(params.num_kv_heads) * d;
  const int64_t v_elems = params.tokens_per_page * row_elems;

  float q[kElems], acc[kElems];
#pragma unroll
  for (int i = 0; i < kElems; ++i) {
    const int32_t e = lane + 32 * i;
    const T* row =
        static_cast<const T*>(params.q) + t * params.q_stride + static_cast<int64_t>(head) * d;
    q[i] = e < d ? to_float(row[e]) * params.scale : 0.0f;
    acc[i] = 0.0f;
  }

  // ---- each warp its positions
  float largest = SLORA_NEGATIVE_INFINITY, sum = 0.0f;
  for (int32_t j = window_begin(params, position) + warp; j <= position; j += kPlainWarps) {
    const T* k = reinterpret_cast<const T*>(
                     params.slice + position_offset(params, low, j, row_elems * sizeof(T))) +
                 static_cast<int64_t>(kv_head) * d;
    const T* v = k + v_elems;
    float score = 0.0f;
#pragma unroll
    for (int i = 0; i < kElems; ++i) {
      const int32_t e = lane + 32 * i;
      if (e < d) score += q[i] * to_float(k[e]);
    }
    score = warp_sum(score);
    if (params.softcap > 0.0f) score = params.softcap * tanhf(score / params.softcap);
    const float new_largest = fmaxf(largest, score);
    const float alpha = expf(largest - new_largest);
    const float p = expf(score - new_largest);
    largest = new_largest;
    sum = sum * alpha + p;
#pragma unroll
    for (int i = 0; i < kElems; ++i) {
      const int32_t e = lane + 32 * i;
      if (e < d) acc[i] = acc[i] * alpha + p * to_float(v[e]);
    }
  }

  // ---- the warps' parts, in order
  if (lane == 0) {
    shared_max[warp] = largest;
    shared_sum[warp] = sum;
  }
#pragma unroll
  for (int i = 0; i < kElems; ++i) shared_acc[warp][lane + 32 * i] = acc[i];
  __syncthreads();
  float all_max = SLORA_NEGATIVE_INFINITY;
  for (int w = 0; w < kPlainWarps; ++w) all_max = fmaxf(all_max, shared_max[w]);
  float total = 0.0f;
  for (int w = 0; w < kPlainWarps; ++w) total += shared_sum[w] * expf(shared_max[w] - all_max);
  T* out = static_cast<T*>(params.out) + (static_cast<int64_t>(t) * params.num_heads + head) * d;
  for (int32_t e = threadIdx.x; e < d; e += kPlainWarps * 32) {
    float value = 0.0f;
    for (int w = 0; w < kPlainWarps; ++w) value += shared_acc[w][e] * expf(shared_max[w] - all_max);
    out[e] = from_float<T>(value / total);
  }
}

template <typename T>
int32_t launch_plain(void* stream, const AttentionParams& params) {
  const dim3 grid(params.num_tokens, params.num_heads);
  const dim3 block(kPlainWarps * 32);
  if (params.head_size <= 128)
    return launch(stream, attention_plain_kernel<T, 4>, grid, block, 0, params);
  if (params.head_size <= 256)
    return launch(stream, attention_plain_kernel<T, 8>, grid, block, 0, params);
  return launch(stream, attention_plain_kernel<T, 16>, grid, block, 0, params);
}

bool is_aligned(const void* pointer) { return reinterpret_cast<uintptr_t>(pointer) % 16 == 0; }

}  // namespace

// Rows of heads are moved in pieces of 16 bytes.
bool fits_tensor_cores(const AttentionParams& params) {
  return params.page_dtype != DType::kF32 && params.head_size % 8 == 0 && params.head_size <= 256 &&
         params.q_stride % 8 == 0 && params.page_bytes % 16 == 0 && is_aligned(params.q) &&
         is_aligned(params.out) && is_aligned(params.slice);
}

int32_t launch_attention_plain(void* stream, const AttentionParams& params) {
  return with_dtype(params.page_dtype,
                    [&](auto element) { return launch_plain<decltype(element)>(stream, params); });
}

int32_t attention(void* stream, const AttentionParams* params) {
  if (params->num_rows <= 0 || params->num_tokens <= 0) return kOk;
  if (params->activation_dtype != params->page_dtype || params->head_size > 512 ||
      params->num_rows > 65535 || params->num_heads > 65535 ||
      params->num_heads % params->num_kv_heads != 0) {
    return kUnsupported;
  }
  if (!fits_tensor_cores(*params)) return launch_attention_plain(stream, *params);
  if (params->max_row_tokens == 1) return launch_attention_decode(stream, *params, false);
  // A lone row may be of any length. Among several, those of one token are a launch of their own,
  // and the other begins as soon as that has all its blocks on the card. Not the other way round:
  // blocks of the prefill take a multiprocessor's first-level cache for their shared memory, and it
  // stays so small for as long as any block is there.
  if (params->num_rows == 1) return launch_attention_prefill(stream, *params, 1, false);
  const bool has_decode = params->num_long_rows != params->num_rows;
  if (has_decode) {
    const int32_t status = launch_attention_decode(stream, *params, true);
    if (status != kOk) return status;
  }
  return launch_attention_prefill(stream, *params, 2, has_decode);
}

uint64_t attention_workspace_bytes(int64_t num_tokens, int32_t num_heads, int32_t head_size) {
  const int64_t partials = std::min(kMaxPartials, num_tokens * num_heads * kMaxSplits);
  return static_cast<uint64_t>(std::max<int64_t>(partials, 0)) * (head_size + 2) * sizeof(float) +
         16;
}

}  // namespace slora::kernels::cuda
