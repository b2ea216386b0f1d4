// LoRA shrink and expand in plain multiply-adds: fp32 (the parity path), dimensions that are no
// multiples of eight, rows longer than a page. Any dtype, right before fast.
#include "src/cuda/lora_common.cuh"

namespace slora::kernels::cuda {
namespace {

constexpr int kPlainThreads = 128;
constexpr int kPlainWarps = kPlainThreads / 32;
constexpr int kPlainTokens = 8;
constexpr int kPlainRanks = 32;

// Semantics  t[part, e, j, i, r] = sum of x . A over the part's elements, for 8 rows i
// Cost       A once a unit, x once a rank (from cache)
// Grid       (parts, fused modules, units of 8 tokens); a warp takes every fourth rank
template <typename T>
__global__ void __launch_bounds__(kPlainThreads)
    lora_shrink_plain_kernel(const __grid_constant__ LoraShrinkParams p, int32_t part_elems) {
  begin_beside_pieces(p.batch);
  wait_for_inputs();
  const LoraUnit unit = find_unit(p.batch, static_cast<int32_t>(blockIdx.z), kPlainTokens);
  const int32_t fused = static_cast<int32_t>(blockIdx.y);
  const int32_t lane = static_cast<int32_t>(threadIdx.x % 32);
  const int64_t k_begin = static_cast<int64_t>(blockIdx.x) * part_elems;
  const int64_t k_end = min(k_begin + part_elems, p.in_dim);
  const T* const x = static_cast<const T*>(p.x) + (unit.begin + unit.first) * p.x_stride;
  for (int32_t e = unit.entry_begin; e < unit.entry_end; ++e) {
    const LoraEntry entry = p.batch.entries[e];
    const LoraAdapterRef& adapter = p.batch.adapters[entry.adapter_idx];
    const core::LoraModule module = *module_of(p.batch, adapter, p.layer_idx, p.module_idx[fused]);
    float* const t = p.t + blockIdx.x * p.t_stride + entry.t_offset +
                     (static_cast<int64_t>(fused) * unit.rows + unit.first) * entry.t_stride;
    for (int32_t r = static_cast<int32_t>(threadIdx.x / 32); r < module.lora_rank;
         r += kPlainWarps) {
      float sum[kPlainTokens] = {};
      for (int64_t k = k_begin; k < k_end;) {
        int64_t piece;
        const T* a = piece_of_row<T>(p.slice, p.page_bytes, p.batch.pages + adapter.page_offset,
                                     module.a, p.in_dim, r, k, &piece);
        piece = min(piece, k_end - k);
        for (int64_t i = lane; i < piece; i += 32) {
          const float weight = to_float(a[i]);
#pragma unroll
          for (int row = 0; row < kPlainTokens; ++row) {
            if (row < unit.count)
              sum[row] = fmaf(to_float(x[row * p.x_stride + k + i]), weight, sum[row]);
          }
        }
        k += piece;
      }
#pragma unroll
      for (int row = 0; row < kPlainTokens; ++row) {
        const float total = warp_sum(sum[row]);
        if (lane == 0 && row < unit.count)
          t[static_cast<int64_t>(row) * entry.t_stride + r] = total;
      }
    }
  }
}

// Semantics  y[row, column] += sum over entries of weight * scale * sum_r t[r] * Bt[r, column]
// Cost       B once a unit, y read and written once
// Grid       (128 columns, units of 8 tokens), columns of all fused modules one after another
template <typename T>
__global__ void __launch_bounds__(kPlainThreads)
    lora_expand_plain_kernel(const __grid_constant__ LoraExpandParams p, int32_t parts) {
  __shared__ float t_tile[kPlainTokens][kPlainRanks];
  begin_beside_pieces(p.batch);
  wait_for_inputs();
  const LoraUnit unit = find_unit(p.batch, static_cast<int32_t>(blockIdx.y), kPlainTokens);
  int32_t fused = 0;
  int64_t column = static_cast<int64_t>(blockIdx.x) * kPlainThreads;
  while (column >= (p.out_dim[fused] + kPlainThreads - 1) / kPlainThreads * kPlainThreads) {
    column -= (p.out_dim[fused] + kPlainThreads - 1) / kPlainThreads * kPlainThreads;
    ++fused;
  }
  column += threadIdx.x;
  const bool is_there = column < p.out_dim[fused];
  float update[kPlainTokens] = {};
  bool is_touched = false;
  for (int32_t e = unit.entry_begin; e < unit.entry_end; ++e) {
    const LoraEntry entry = p.batch.entries[e];
    const LoraAdapterRef& adapter = p.batch.adapters[entry.adapter_idx];
    const core::LoraModule module = *module_of(p.batch, adapter, p.layer_idx, p.module_idx[fused]);
    const float* const t = p.t + entry.t_offset +
                           (static_cast<int64_t>(fused) * unit.rows + unit.first) * entry.t_stride;
    float sum[kPlainTokens] = {};
    is_touched |= module.lora_rank > 0;
    for (int32_t r0 = 0; r0 < module.lora_rank; r0 += kPlainRanks) {
      __syncthreads();  // the last ranks' t has been used
      for (int32_t i = static_cast<int32_t>(threadIdx.x); i < kPlainTokens * kPlainRanks;
           i += kPlainThreads) {
        const int32_t row = i / kPlainRanks;
        const int32_t r = r0 + i % kPlainRanks;
        float total = 0;
        if (row < unit.count && r < module.lora_rank) {
          for (int32_t part = 0; part < parts; ++part)
            total += t[part * p.t_stride + static_cast<int64_t>(row) * entry.t_stride + r];
        }
        t_tile[row][i % kPlainRanks] = total;
      }
      __syncthreads();  // t is there for all
      const int32_t ranks = min(kPlainRanks, module.lora_rank - r0);
      for (int32_t r = 0; is_there && r < ranks; ++r) {
        int64_t piece;
        const float b =
            to_float(*piece_of_row<T>(p.slice, p.page_bytes, p.batch.pages + adapter.page_offset,
                                      module.b, p.out_dim[fused], r0 + r, column, &piece));
#pragma unroll
        for (int row = 0; row < kPlainTokens; ++row) sum[row] = fmaf(t_tile[row][r], b, sum[row]);
      }
    }
#pragma unroll
    for (int row = 0; row < kPlainTokens; ++row)
      update[row] = fmaf(entry.weight * module.scale, sum[row], update[row]);
  }
  if (!is_there || !is_touched) return;
  T* const y = static_cast<T*>(p.y) + (unit.begin + unit.first) * p.y_stride +
               p.column_offset[fused] + column;
  for (int32_t row = 0; row < unit.count; ++row)
    y[row * p.y_stride] = from_float<T>(to_float(y[row * p.y_stride]) + update[row]);
}

}  // namespace

int32_t plain_shrink(void* stream, const LoraShrinkParams& params, LoraSplit split) {
  return with_dtype(params.page_dtype, [&](auto type) {
    const dim3 grid(static_cast<unsigned>(split.written()), static_cast<unsigned>(params.num_fused),
                    static_cast<unsigned>(num_units(params.batch, kPlainTokens)));
    return launch(stream, lora_shrink_plain_kernel<decltype(type)>, grid, dim3(kPlainThreads), 0,
                  params, split.is_summed ? static_cast<int32_t>(params.in_dim) : split.part_elems);
  });
}

int32_t plain_expand(void* stream, const LoraExpandParams& params, LoraSplit split) {
  int64_t tiles = 0;
  for (int32_t j = 0; j < params.num_fused; ++j)
    tiles += ceil_div(params.out_dim[j], kPlainThreads);
  return with_dtype(params.page_dtype, [&](auto type) {
    const dim3 grid(static_cast<unsigned>(tiles),
                    static_cast<unsigned>(num_units(params.batch, kPlainTokens)));
    return launch(stream, lora_expand_plain_kernel<decltype(type)>, grid, dim3(kPlainThreads), 0,
                  params, split.written());
  });
}

}  // namespace slora::kernels::cuda
