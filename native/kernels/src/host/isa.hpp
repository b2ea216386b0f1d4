// The seam between host kernels and instruction sets: a table of inner loops over raw pointers.
//
// One source of inner loops (micro_*.hpp) is compiled once for each instruction set (isa_*.cpp).
// Those files get extra -m flags, so they include nothing but C headers, intrinsics and this file,
// and everything in them but the table has internal linkage: otherwise the linker might keep an
// AVX-512 copy of an inline function for all callers. Parallel loops, page addresses and everything
// that needs the standard library live outside, in the kernels.
//
// Each inner loop keeps the law of kernel_api.hpp: an output element is one sum whose order depends
// on its length only. How many rows, columns or positions a call covers never changes it.
#pragma once

#include <stdint.h>

namespace slora::kernels {

// A packed weight is cut into blocks of this many output columns; see packed_weight.hpp.
inline constexpr int32_t kBlockColumns = 64;

// Rows of activations times one block of packed weights.
// Semantics  y[m, n] = sum_k x[m, k] w[k, n] (+ bias[n])     k ascending, one accumulator an
// element Cost       reads the block once from memory, m / 6 times from cache; 2 m k flops a column
struct GemmBlock {
  const void* x;     // [m, k]: float, or bf16 with k rounded up to even for a bf16 weight
  int64_t x_stride;  // elements
  const void* w;     // block: float [k][64] or bf16 [(k + 1) / 2][64][2]
  int64_t m;
  int64_t k;
  int32_t num_columns;  // of the block that exist, <= 64
  const float* bias;    // [num_columns] or null
  float* y;             // [m, num_columns]
  int64_t y_stride;
};

// Positions that attention takes at a time, aligned to absolute positions so that chunking a prompt
// changes nothing.
inline constexpr int32_t kAttentionBlock = 64;

// One block of positions against query rows, online softmax.
// Semantics  for each row, over positions p in [begin[row], end[row]): s_p = cap(q . k_p); with the
// running maximum
//            `max`: sum = sum * exp(max - max') + sum_p exp(s_p - max'), acc likewise with v_p
// Cost       4 num_rows * block * head_size flops, all operands in cache
struct AttentionBlock {
  int32_t num_rows;
  int32_t head_size;
  int32_t padded_head_size;  // multiple of 16
  float softcap;             // <= 0: none
  const float* q;            // [num_rows, padded_head_size], scaled
  const float* k;            // [head_size, kAttentionBlock]
  const float* v;            // [kAttentionBlock, padded_head_size]
  const int32_t* begin;      // [num_rows] within the block; begin == end: nothing for this row
  const int32_t* end;        // [num_rows]
  float* p;                  // [num_rows, kAttentionBlock] scratch
  float* acc;                // [num_rows, padded_head_size]
  float* max;                // [num_rows], -inf at first
  float* sum;                // [num_rows], 0 at first
};

struct IsaKernels {
  const char* name;

  void (*gemm_bf16)(const GemmBlock&);
  void (*gemm_f32)(const GemmBlock&);

  // y = round(x) to bf16, nearest even.
  void (*to_bf16)(const float* x, int64_t n, uint16_t* y);

  // residual += delta (null: nothing); returns sum of squares of the result.
  float (*add_and_sum_squares)(float* residual, const float* delta, int64_t n);
  // y = x * factor * (offset + weight)
  void (*scale_by_weight)(const float* x, const float* weight, float factor, float offset,
                          int64_t n, float* y);
  // (a, b) -> (a cos - b sin, b cos + a sin), in place if the outputs equal the inputs
  void (*rotate)(const float* a, const float* b, const float* cos, const float* sin, int64_t n,
                 float* out_a, float* out_b);
  // out = act(x) * up
  void (*gate_silu)(const float* x, const float* up, int64_t n, float* out);
  void (*gate_gelu_tanh)(const float* x, const float* up, int64_t n, float* out);

  // out[i * out_stride] = x[i] . a for i < num_rows <= 4. Four interleaved vector accumulators,
  // then a fixed tree. `ahead` (or null) is a row to fetch meanwhile.
  void (*dot_bf16)(const float* x, int64_t x_stride, int32_t num_rows, const uint16_t* a,
                   const uint16_t* ahead, int64_t n, float* out, int64_t out_stride);
  void (*dot_f32)(const float* x, int64_t x_stride, int32_t num_rows, const float* a,
                  const float* ahead, int64_t n, float* out, int64_t out_stride);
  // acc[i, :] += sum_r t[i, r] b[r][:] for i < num_rows <= 4, r < num_b <= 4 ascending. `ahead` (or
  // null): as many rows to fetch meanwhile.
  void (*add_scaled_bf16)(const float* t, int64_t t_stride, int32_t num_rows,
                          const uint16_t* const* b, const uint16_t* const* ahead, int32_t num_b,
                          int64_t n, float* acc, int64_t acc_stride);
  void (*add_scaled_f32)(const float* t, int64_t t_stride, int32_t num_rows, const float* const* b,
                         const float* const* ahead, int32_t num_b, int64_t n, float* acc,
                         int64_t acc_stride);
  // y += factor * x
  void (*axpy)(float factor, const float* x, int64_t n, float* y);

  // k[d, p] = rows[p][d] for p < num_rows, 0 for the positions after
  void (*stage_k_bf16)(const uint16_t* const* rows, int32_t num_rows, int32_t head_size, float* k);
  void (*stage_k_f32)(const float* const* rows, int32_t num_rows, int32_t head_size, float* k);
  // v[p, d] = rows[p][d], zero columns up to padded_head_size
  void (*stage_v_bf16)(const uint16_t* const* rows, int32_t num_rows, int32_t head_size,
                       int32_t padded, float* v);
  void (*stage_v_f32)(const float* const* rows, int32_t num_rows, int32_t head_size, int32_t padded,
                      float* v);
  void (*attention)(const AttentionBlock&);

  // y = exp(x - shift) within 2 ulp; 0 below exp(-87)
  void (*exp_shifted)(const float* x, float shift, int64_t n, float* y);
  // Largest of n >= 1 numbers.
  float (*max)(const float* x, int64_t n);
};

// Null where this machine, or this build, lacks the instruction set.
const IsaKernels* isa_generic();
const IsaKernels* isa_avx2();
const IsaKernels* isa_avx512();
const IsaKernels* isa_avx512_bf16();

// The table in use.
const IsaKernels& isa();

}  // namespace slora::kernels
