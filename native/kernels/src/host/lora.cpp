// LoRA shrink and expand (MBGMV, MBGMM). The work is a grid of small cells, so that one segment of
// one row and many segments of many rows both occupy all threads; cells that a short segment or a
// small lora_rank lacks end at once.
#include <algorithm>

#include "slora/kernels/host_kernels.hpp"
#include "src/host/isa.hpp"
#include "src/host/lora_rows.hpp"

namespace slora::kernels {
namespace {

// Tokens of a segment that go over one read of A or B.
constexpr int64_t kTokens = 32;
// Rows of A a cell: few when each is read once for few tokens, more when a cell has much to do with
// each.
constexpr int64_t kRanksDecode = 4;
constexpr int64_t kRanksPrefill = 16;
// Columns of B a cell: rows of B are read in runs of this many elements.
constexpr int64_t kColumns = 512;
// Rows of B that one pass over the sums takes.
constexpr int32_t kRowsAtOnce = 4;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

int64_t longest_segment(const LoraBatch& batch) {
  int64_t longest = 0;
  for (int32_t g = 0; g < batch.num_segments; ++g) {
    longest = std::max<int64_t>(longest, batch.segment_end[g] - batch.segment_begin[g]);
  }
  return longest;
}

int32_t segment_of_entry(const LoraBatch& batch, int32_t entry_idx) {
  const int32_t* end = batch.entry_offsets + batch.num_segments + 1;
  return static_cast<int32_t>(std::upper_bound(batch.entry_offsets, end, entry_idx) -
                              batch.entry_offsets) -
         1;
}

AdapterPages pages_of(const LoraBatch& batch, const uint8_t* slice, int64_t page_bytes,
                      DType page_dtype) {
  return {batch, slice, page_bytes, core::dtype_bytes(page_dtype)};
}

// ---- shrink
// ------------------------------------------------------------------------------------------------------

class Shrink {
 public:
  explicit Shrink(const LoraShrinkParams& params)
      : params_(params),
        pages_(pages_of(params.batch, params.slice, params.page_bytes, params.page_dtype)) {
    const int64_t longest = longest_segment(params.batch);
    num_ranks_ = longest > 4 ? kRanksPrefill : kRanksDecode;
    token_blocks_ = ceil_div(longest, kTokens);
    rank_blocks_ = ceil_div(largest_rank(), num_ranks_);
  }

  int64_t num_cells() const {
    const int32_t num_entries = params_.batch.entry_offsets[params_.batch.num_segments];
    return num_entries * params_.num_fused * rank_blocks_ * token_blocks_;
  }

  void run_cell(int64_t cell, void* scratch) const {
    const LoraBatch& batch = params_.batch;
    const int64_t token_block = cell % token_blocks_;
    const int64_t rank_block = cell / token_blocks_ % rank_blocks_;
    const int32_t fused =
        static_cast<int32_t>(cell / (token_blocks_ * rank_blocks_) % params_.num_fused);
    const int32_t entry_idx =
        static_cast<int32_t>(cell / (token_blocks_ * rank_blocks_ * params_.num_fused));
    const int32_t segment = segment_of_entry(batch, entry_idx);
    const LoraEntry& entry = batch.entries[entry_idx];
    const core::LoraModule& module =
        pages_.module(entry.adapter_idx, params_.layer_idx, params_.module_idx[fused]);
    const int64_t num_tokens = batch.segment_end[segment] - batch.segment_begin[segment];
    const int64_t begin = token_block * kTokens;
    const int64_t end = std::min(begin + kTokens, num_tokens);
    const int64_t end_rank = std::min<int64_t>((rank_block + 1) * num_ranks_, module.lora_rank);
    const float* x =
        static_cast<const float*>(params_.x) + batch.segment_begin[segment] * params_.x_stride;
    float* t = params_.t + entry.t_offset + fused * num_tokens * entry.t_stride;
    // Four tokens at a time stay in the first-level cache while the rows of A pass.
    for (int64_t token = begin; token < end; token += 4) {
      const int64_t rows = std::min<int64_t>(4, end - token);
      for (int64_t r = rank_block * num_ranks_; r < end_rank; ++r) {
        const void* a =
            pages_.row(entry.adapter_idx, module.a, params_.in_dim, r, 0, params_.in_dim, scratch);
        dot(x + token * params_.x_stride, rows, a, t + token * entry.t_stride + r, entry.t_stride);
      }
    }
  }

 private:
  void dot(const float* x, int64_t rows, const void* a, float* out, int64_t out_stride) const {
    if (params_.page_dtype == DType::kBF16) {
      isa().dot_bf16(x, params_.x_stride, rows, static_cast<const uint16_t*>(a), params_.in_dim,
                     out, out_stride);
    } else {
      isa().dot_f32(x, params_.x_stride, rows, static_cast<const float*>(a), params_.in_dim, out,
                    out_stride);
    }
  }

  int64_t largest_rank() const {
    const LoraBatch& batch = params_.batch;
    int64_t largest = 0;
    for (int32_t e = 0; e < batch.entry_offsets[batch.num_segments]; ++e) {
      for (int32_t j = 0; j < params_.num_fused; ++j) {
        largest = std::max<int64_t>(
            largest,
            pages_.module(batch.entries[e].adapter_idx, params_.layer_idx, params_.module_idx[j])
                .lora_rank);
      }
    }
    return largest;
  }

  const LoraShrinkParams& params_;
  const AdapterPages pages_;
  int64_t num_ranks_ = 0;
  int64_t token_blocks_ = 0;
  int64_t rank_blocks_ = 0;
};

// ---- expand
// ------------------------------------------------------------------------------------------------------

class Expand {
 public:
  explicit Expand(const LoraExpandParams& params)
      : params_(params),
        pages_(pages_of(params.batch, params.slice, params.page_bytes, params.page_dtype)),
        token_blocks_(ceil_div(longest_segment(params.batch), kTokens)) {
    for (int32_t j = 0; j < params.num_fused; ++j)
      column_blocks_ += ceil_div(params.out_dim[j], kColumns);
  }

  int64_t num_cells() const { return params_.batch.num_segments * column_blocks_ * token_blocks_; }

  void run_cell(int64_t cell, void* scratch) const {
    const LoraBatch& batch = params_.batch;
    const int64_t token_block = cell % token_blocks_;
    const int32_t segment = static_cast<int32_t>(cell / (token_blocks_ * column_blocks_));
    int64_t column_block = cell / token_blocks_ % column_blocks_;
    int32_t fused = 0;
    for (; column_block >= ceil_div(params_.out_dim[fused], kColumns); ++fused) {
      column_block -= ceil_div(params_.out_dim[fused], kColumns);
    }
    Cell place;
    place.fused = fused;
    place.num_tokens = batch.segment_end[segment] - batch.segment_begin[segment];
    place.first_token = token_block * kTokens;
    place.rows = std::min(kTokens, place.num_tokens - place.first_token);
    place.column = column_block * kColumns;
    place.num_columns = std::min(kColumns, params_.out_dim[fused] - place.column);
    if (place.rows <= 0) return;
    float* y = static_cast<float*>(params_.y) +
               (batch.segment_begin[segment] + place.first_token) * params_.y_stride +
               params_.column_offset[fused] + place.column;
    for (int32_t e = batch.entry_offsets[segment]; e < batch.entry_offsets[segment + 1]; ++e) {
      add_entry(batch.entries[e], place, static_cast<float*>(scratch), y);
    }
  }

 private:
  struct Cell {
    int32_t fused;
    int64_t num_tokens;  // of the segment
    int64_t first_token;
    int64_t rows;
    int64_t column;
    int64_t num_columns;
  };

  // The sum over lora_rank is completed in scratch before it is scaled and added: y sees one
  // addition an entry.
  void add_entry(const LoraEntry& entry, const Cell& cell, float* scratch, float* y) const {
    const core::LoraModule& module =
        pages_.module(entry.adapter_idx, params_.layer_idx, params_.module_idx[cell.fused]);
    if (module.lora_rank == 0) return;
    float* sums = scratch;
    float* gathered = scratch + kTokens * kColumns;
    std::fill(sums, sums + cell.rows * kColumns, 0.0f);
    const float* t = params_.t + entry.t_offset +
                     (cell.fused * cell.num_tokens + cell.first_token) * entry.t_stride;
    for (int32_t r = 0; r < module.lora_rank; r += kRowsAtOnce) {
      const int32_t count = std::min(kRowsAtOnce, module.lora_rank - r);
      const void* rows[kRowsAtOnce];
      for (int32_t i = 0; i < count; ++i) {
        rows[i] = pages_.row(entry.adapter_idx, module.b, params_.out_dim[cell.fused], r + i,
                             cell.column, cell.num_columns, gathered + i * kColumns);
      }
      add_rows(t + r, entry.t_stride, cell, rows, count, sums);
    }
    for (int64_t i = 0; i < cell.rows; ++i) {
      isa().axpy(entry.weight * module.scale, sums + i * kColumns, cell.num_columns,
                 y + i * params_.y_stride);
    }
  }

  void add_rows(const float* t, int64_t t_stride, const Cell& cell, const void* const* rows,
                int32_t count, float* sums) const {
    if (params_.page_dtype == DType::kBF16) {
      const uint16_t* typed[kRowsAtOnce];
      for (int32_t i = 0; i < count; ++i) typed[i] = static_cast<const uint16_t*>(rows[i]);
      isa().add_scaled_bf16(t, t_stride, cell.rows, typed, count, cell.num_columns, sums, kColumns);
    } else {
      const float* typed[kRowsAtOnce];
      for (int32_t i = 0; i < count; ++i) typed[i] = static_cast<const float*>(rows[i]);
      isa().add_scaled_f32(t, t_stride, cell.rows, typed, count, cell.num_columns, sums, kColumns);
    }
  }

  const LoraExpandParams& params_;
  const AdapterPages pages_;
  const int64_t token_blocks_;
  int64_t column_blocks_ = 0;
};

template <typename Op>
void run_cells(const Op& op, device::ThreadTeam& team) {
  team.parallel_for(static_cast<int32_t>(op.num_cells()),
                    [&](int32_t cell, int32_t thread) { op.run_cell(cell, team.scratch(thread)); });
}

}  // namespace

// Cost       reads A of each entry once for every 32 rows of its segment; 2 * rows * lora_rank *
// in_dim flops
void run_lora_shrink(const LoraShrinkParams& params, device::ThreadTeam& team) {
  if (params.batch.num_segments > 0) run_cells(Shrink(params), team);
}

// Cost       reads B of each entry once for every 32 rows of its segment, y once an entry
void run_lora_expand(const LoraExpandParams& params, device::ThreadTeam& team) {
  if (params.batch.num_segments > 0) run_cells(Expand(params), team);
}

}  // namespace slora::kernels
