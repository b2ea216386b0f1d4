// What the attention kernels share: instructions, where a position's K and V lie, how many partial
// results there may be. Their launchers are at the end.
#pragma once

#include "common.cuh"
#include "tensor_cores.cuh"

namespace slora::kernels::cuda {

// Partial results of decode rows that are cut over their context, in params.workspace: float2
// (max, sum) of each (row, head, split), then head_size floats of each.
inline constexpr int64_t kMaxPartials = 8192;
inline constexpr int32_t kMaxSplits = 64;

// ---- instructions

// K and V are read once: no room in L1 for them, and the first to go from L2.
__device__ __forceinline__ uint4 load_once(const void* from) {
  uint4 v;
  asm volatile("ld.global.L1::no_allocate.L2::cache_hint.v4.u32 {%0,%1,%2,%3}, [%4], %5;"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(from), "l"(given_up_first()));
  return v;
}

__device__ __forceinline__ void prefetch_l2(const void* at) {
  asm volatile("prefetch.global.L2 [%0];" ::"l"(at));
}

// 2^x within 2 ulp; 0 for -inf.
__device__ __forceinline__ float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
// Absolute error about 1e-7; the hardware's own tanh errs by 5e-4, which a cap of 50 would carry
// into the exponent.
__device__ __forceinline__ float tanh_fast(float x) {
  return 1.0f - __fdividef(2.0f, 1.0f + exp2_fast(fminf(x * 2.88539008f, 120.0f)));
}

inline constexpr float kLog2e = 1.44269504f;
#define SLORA_NEGATIVE_INFINITY __int_as_float(0xff800000)

// How scores become exponents of two: with a cap, score(x) = cap * tanh(x * scale / cap) * log2(e).
struct ScoreScale {
  float factor;     // of the raw product
  float cap_log2e;  // 0: no cap

  __device__ explicit ScoreScale(const AttentionParams& params) {
    const bool has_cap = params.softcap > 0.0f;
    factor = has_cap ? params.scale / params.softcap : params.scale * kLog2e;
    cap_log2e = has_cap ? params.softcap * kLog2e : 0.0f;
  }
  __device__ __forceinline__ float operator()(float x) const {
    x *= factor;
    return cap_log2e > 0.0f ? cap_log2e * tanh_fast(x) : x;
  }
};

// ---- rows and positions

__device__ __forceinline__ int32_t window_begin(const AttentionParams& params, int32_t position) {
  return params.window > 0 ? max(0, position - params.window + 1) : 0;
}

// Bytes from the slice's begin to K of (position, head 0) of batch row s; V lies v_offset further.
__device__ __forceinline__ int64_t position_offset(const AttentionParams& params, int32_t s,
                                                   int32_t position, int64_t row_bytes) {
  const int32_t page_idx = position / params.tokens_per_page;
  const int32_t slot = position - page_idx * params.tokens_per_page;
  return params.page_table[s * params.page_table_stride + page_idx] * params.page_bytes +
         slot * row_bytes;
}

// ---- launchers (attention_*.cu)

bool fits_tensor_cores(const AttentionParams& params);
// Rows of one token. opens_prefill: the prefill's launch follows and runs beside this one.
int32_t launch_attention_decode(void* stream, const AttentionParams& params, bool opens_prefill);
// Rows of at least `min_tokens` tokens. is_beside: right after a decode launch that opens this one.
int32_t launch_attention_prefill(void* stream, const AttentionParams& params, int32_t min_tokens,
                                 bool is_beside);
int32_t launch_attention_plain(void* stream, const AttentionParams& params);

}  // namespace slora::kernels::cuda
