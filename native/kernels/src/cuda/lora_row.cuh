// Rows of small batches: the segment each belongs to, its adapters' places, the parts of its
// intermediate.
#pragma once

#include "src/cuda/lora_common.cuh"

namespace slora::kernels::cuda {

// A row's place in its segment. Of a row without adapters no entries.
struct LoraRow {
  int32_t row;
  int32_t rows;
  int32_t entry_begin;
  int32_t entry_end;
};

// By all lanes of a warp; every warp may ask for itself.
__device__ __forceinline__ LoraRow find_row(const LoraBatch& batch, int32_t token) {
  const int32_t lane = static_cast<int32_t>(threadIdx.x & 31);
  // Segment g begins at token g or later, and rarely much later.
  for (int32_t top = min(token, batch.num_segments - 1); top >= 0; top -= 32) {
    const int32_t g = top - lane;
    const auto [begin, end, entry_begin, entry_end] = load_segment(batch, g);
    const unsigned found = __ballot_sync(0xffffffffu, begin <= token && token < end);
    if (found == 0) continue;
    const int32_t owner = __ffs(static_cast<int>(found)) - 1;
    LoraRow row;
    row.row = token - __shfl_sync(0xffffffffu, begin, owner);
    row.rows = row.row + __shfl_sync(0xffffffffu, end, owner) - token;
    row.entry_begin = __shfl_sync(0xffffffffu, entry_begin, owner);
    row.entry_end = __shfl_sync(0xffffffffu, entry_end, owner);
    return row;
  }
  return {0, 0, 0, 0};
}

// The head of a row's first entry at a module, of A or B, through the tables.
template <typename T>
__device__ __forceinline__ LoraRowHead find_head(const LoraBatch& batch, const LoraRow& row,
                                                 int32_t layer_idx, int32_t module_idx, bool is_a,
                                                 int64_t row_elems, const uint8_t* slice,
                                                 int64_t page_bytes) {
  LoraRowHead head{};
  head.row = row.row;
  head.rows = row.rows;
  head.entry_begin = row.entry_begin;
  head.entry_end = row.entry_end;
  if (row.entry_begin == row.entry_end) return head;
  const LoraEntry entry = batch.entries[row.entry_begin];
  const LoraAdapterRef& adapter = batch.adapters[entry.adapter_idx];
  const core::LoraModule* module = module_of(batch, adapter, layer_idx, module_idx);
  const ModuleHead found = load_head(module, is_a ? &module->a : &module->b);
  head.t_offset = entry.t_offset;
  head.t_stride = entry.t_stride;
  head.lora_rank = found.lora_rank;
  head.factor = entry.weight * found.scale;
  if (found.lora_rank == 0) return head;
  head.page = adapter.page_offset + found.begin.page;
  head.first = reinterpret_cast<const T*>(slice + __ldg(batch.pages + head.page) * page_bytes) +
               found.begin.offset;
  const int64_t page_elems = page_bytes / static_cast<int64_t>(sizeof(T));
  head.rows_in_first = static_cast<int32_t>((page_elems - found.begin.offset) / row_elems);
  if (head.lora_rank > head.rows_in_first)
    head.second = slice + __ldg(batch.pages + head.page + 1) * page_bytes;
  return head;
}

// Parts of the intermediate, of segments that a shrink takes in pieces (all, if it takes none so)
// and of longer ones.
struct LoraParts {
  int32_t of_short;
  int32_t of_long;
};
inline LoraParts parts_of_rows(void* stream, const LoraExpandParams& params) {
  const auto whole = [&](const LoraBatch& batch) {
    return split_of(stream, batch, params.page_dtype, params.in_dim, params.t_stride).written();
  };
  if (!has_pieces(params.batch, params.page_dtype, params.num_fused)) {
    const int32_t parts = whole(params.batch);
    return {parts, parts};
  }
  return {parts_of_pieces(params.batch, params.in_dim, params.num_fused),
          whole(long_segments(params.batch))};
}

}  // namespace slora::kernels::cuda
