// What stands between a rank's kernels and the group's collectives: columns put side by side,
// sampled tokens taken over, the LoRA intermediate packed and unpacked.
#include <algorithm>

#include "src/cuda/lora_common.cuh"

namespace slora::kernels::cuda {
namespace {

constexpr int kThreads = 256;

// Semantics  GatherColumnsParams
// Cost       every element once in, once out
// Grid       (256 columns, rows)
__global__ void __launch_bounds__(kThreads) gather_columns_kernel(GatherColumnsParams p) {
  allow_next();
  wait_for_inputs();
  const int64_t column = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (column >= __ldg(p.offsets + p.num_parts)) return;
  int32_t part = 0;
  while (column >= __ldg(p.offsets + part + 1)) ++part;
  const int64_t begin = __ldg(p.offsets + part);
  const int64_t width = __ldg(p.offsets + part + 1) - begin;
  const int64_t row = blockIdx.y;
  p.out[row * p.out_stride + column] = p.in[part * p.part_stride + row * width + column - begin];
}

__global__ void __launch_bounds__(kThreads) append_tokens_kernel(AppendTokensParams p) {
  allow_next();
  wait_for_inputs();
  const int32_t i = static_cast<int32_t>(blockIdx.x * kThreads + threadIdx.x);
  if (i >= p.num_rows) return;
  const SampleRow& row = p.rows[i];
  if (row.logits_row < 0) return;
  p.history[row.history_slot * p.history_stride + row.history_tokens] = p.tokens[i];
}

__device__ __forceinline__ int32_t share_begin(int32_t lora_rank, int32_t part, int32_t parts) {
  return static_cast<int32_t>(int64_t{lora_rank} * part / parts);
}

// The tile's rows of one fused module of each entry: each(t row, place in a share, width,
// lora_rank).
template <typename Each>
__device__ __forceinline__ void for_rows(const LoraExchangeParams& p, const Each& each) {
  const LoraUnit unit = find_unit(p.batch, static_cast<int32_t>(blockIdx.x), kTileTokens);
  const int32_t fused = static_cast<int32_t>(blockIdx.y);
  for (int32_t e = unit.entry_begin; e < unit.entry_end && unit.count > 0; ++e) {
    const LoraEntry entry = p.batch.entries[e];
    const LoraAdapterRef& adapter = p.batch.adapters[entry.adapter_idx];
    const int32_t lora_rank =
        __ldg(&module_of(p.batch, adapter, p.layer_idx, p.module_idx[fused])->lora_rank);
    const int32_t width = (entry.t_stride + p.parts - 1) / p.parts;
    const int64_t first = p.num_fused * (p.parts > 1 ? static_cast<int64_t>(entry.gather_offset)
                                                     : entry.t_offset / kMaxFusedModules);
    for (int32_t i = 0; i < unit.count; ++i) {
      const int64_t row = static_cast<int64_t>(fused) * unit.rows + unit.first + i;
      each(p.t + entry.t_offset + row * entry.t_stride, first + row * width, width, lora_rank);
    }
  }
}

// Semantics  packed's share `part` = t, its partial sums added in order; zeros past the ranks held
// Cost       t's partial sums once
// Grid       (units of 16 tokens, fused modules)
__global__ void __launch_bounds__(64)
    lora_pack_kernel(const __grid_constant__ LoraExchangeParams p, int32_t partials) {
  allow_next();
  wait_for_inputs();
  float* const share = p.packed + p.part * p.part_stride;
  for_rows(p, [&](const float* t, int64_t packed, int32_t width, int32_t lora_rank) {
    const int32_t held =
        share_begin(lora_rank, p.part + 1, p.parts) - share_begin(lora_rank, p.part, p.parts);
    for (int32_t r = static_cast<int32_t>(threadIdx.x); r < width; r += 64) {
      float sum = 0;
      for (int32_t part = 0; r < held && part < partials; ++part) sum += t[part * p.t_stride + r];
      share[packed + r] = sum;
    }
  });
}

// Semantics  t = the shares' ranks one after another
// Cost       t once
// Grid       (units of 16 tokens, fused modules)
__global__ void __launch_bounds__(64)
    lora_unpack_kernel(const __grid_constant__ LoraExchangeParams p) {
  allow_next();
  wait_for_inputs();
  for_rows(p, [&](float* t, int64_t packed, int32_t, int32_t lora_rank) {
    for (int32_t r = static_cast<int32_t>(threadIdx.x); r < lora_rank; r += 64) {
      int32_t part = static_cast<int32_t>(int64_t{r} * p.parts / lora_rank);
      while (r >= share_begin(lora_rank, part + 1, p.parts)) ++part;
      t[r] = p.packed[part * p.part_stride + packed + r - share_begin(lora_rank, part, p.parts)];
    }
  });
}

dim3 grid_of(const LoraExchangeParams& params) {
  return dim3(static_cast<unsigned>(num_units(params.batch, kTileTokens)),
              static_cast<unsigned>(params.num_fused));
}

}  // namespace

int32_t gather_columns(void* stream, const GatherColumnsParams* params) {
  if (params->num_rows == 0) return kOk;
  const dim3 grid(static_cast<unsigned>(ceil_div(params->out_stride, kThreads)),
                  static_cast<unsigned>(params->num_rows));
  return launch(stream, gather_columns_kernel, grid, dim3(kThreads), 0, *params);
}

int32_t append_tokens(void* stream, const AppendTokensParams* params) {
  if (params->num_rows == 0) return kOk;
  const dim3 grid(static_cast<unsigned>(ceil_div(params->num_rows, kThreads)));
  return launch(stream, append_tokens_kernel, grid, dim3(kThreads), 0, *params);
}

int32_t lora_pack(void* stream, const LoraExchangeParams* params) {
  if (params->batch.num_segments == 0) return kOk;
  const LoraSplit split =
      split_of(stream, params->batch, params->page_dtype, params->in_dim, params->t_stride);
  return launch(stream, lora_pack_kernel, grid_of(*params), dim3(64), 0, *params, split.written());
}

int32_t lora_unpack(void* stream, const LoraExchangeParams* params) {
  if (params->batch.num_segments == 0) return kOk;
  return launch(stream, lora_unpack_kernel, grid_of(*params), dim3(64), 0, *params);
}

}  // namespace slora::kernels::cuda
