// LoRA shrink and expand (MBGMV, MBGMM). The work is a grid of small cells, so that one segment of
// one row and many segments of many rows both occupy all threads; cells that a short segment or a
// small lora_rank lacks end at once. Cells are as large as the team's balance allows: a thread that
// reads a long run of pages has it fetched ahead, a short one ends before that helps.
#include <algorithm>

#include "slora/kernels/host_kernels.hpp"
#include "src/host/isa.hpp"
#include "src/host/lora_rows.hpp"

namespace slora::kernels {
namespace {

// Tokens of a segment that go over one read of A or B from memory.
constexpr int64_t kTokens = 32;
// Tokens that go over one read of A or B from cache.
constexpr int64_t kTokensAtOnce = 4;
// Rows of A a cell: a run of pages, or its half or quarter where there are few cells.
constexpr int64_t kMostRanks = 16;
constexpr int64_t kLeastRanks = 4;
// Columns of B a cell. A run of 4 KiB keeps two threads off each other's lines: hardware fetches
// past the end of a shorter one, into what the other thread reads.
constexpr int64_t kMostColumns = 2048;
constexpr int64_t kLeastColumns = 512;
// Rows of B that one pass over the sums takes.
constexpr int32_t kRowsAtOnce = 4;
// Rows of B whose addresses a cell keeps; those beyond are found again for every few tokens.
constexpr int32_t kMostFoundRows = 1024;
// Cells a thread below which they are made smaller.
constexpr int64_t kCellsPerThread = 4;
// How far ahead rows of A are fetched: memory latency times a thread's bandwidth, twice.
constexpr int64_t kAheadBytes = 8 << 10;

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
// --------------------------------------------------------------------------------------

class Shrink {
 public:
  Shrink(const LoraShrinkParams& params, int32_t num_threads)
      : params_(params),
        pages_(pages_of(params.batch, params.slice, params.page_bytes, params.page_dtype)),
        token_blocks_(ceil_div(longest_segment(params.batch), kTokens)),
        rows_ahead_(std::max<int64_t>(1, kAheadBytes / (params.in_dim * pages_.elem_bytes))) {
    const int64_t largest = largest_rank();
    for (num_ranks_ = kMostRanks; num_ranks_ > kLeastRanks; num_ranks_ /= 2) {
      rank_blocks_ = ceil_div(largest, num_ranks_);
      if (num_cells() >= kCellsPerThread * num_threads) break;
    }
    rank_blocks_ = ceil_div(largest, num_ranks_);
  }

  int64_t num_cells() const {
    const int32_t num_entries = params_.batch.entry_offsets[params_.batch.num_segments];
    return num_entries * params_.num_fused * rank_blocks_ * token_blocks_;
  }

  void run_cell(int64_t cell, void* scratch) const {
    const LoraBatch& batch = params_.batch;
    const int64_t token_block = cell % token_blocks_;
    const int64_t rank_block = cell / token_blocks_ % rank_blocks_;
    const int64_t unit = cell / (token_blocks_ * rank_blocks_);
    const int32_t fused = static_cast<int32_t>(unit % params_.num_fused);
    const int32_t entry_idx = static_cast<int32_t>(unit / params_.num_fused);
    const int32_t segment = segment_of_entry(batch, entry_idx);
    const int32_t first_token = batch.segment_begin[segment];
    const LoraEntry& entry = batch.entries[entry_idx];
    const core::LoraModule& module =
        pages_.module(entry.adapter_idx, params_.layer_idx, params_.module_idx[fused]);
    const int64_t num_tokens = batch.segment_end[segment] - first_token;
    const int64_t end = std::min((token_block + 1) * kTokens, num_tokens);
    const int64_t first_rank = rank_block * num_ranks_;
    const int64_t end_rank = std::min<int64_t>(first_rank + num_ranks_, module.lora_rank);
    float* t = params_.t + entry.t_offset + fused * num_tokens * entry.t_stride;
    const int64_t num_rows = end_rank - first_rank;
    if (num_rows <= 0) return;
    const void* a_rows[kMostRanks];
    pages_.find_rows(entry.adapter_idx, module.a, params_.in_dim, first_rank, num_rows, 0,
                     params_.in_dim, a_rows);
    // A few tokens stay in the first-level cache while the rows of A pass.
    for (int64_t token = token_block * kTokens; token < end; token += kTokensAtOnce) {
      const int32_t rows = static_cast<int32_t>(std::min(kTokensAtOnce, end - token));
      const float* x =
          static_cast<const float*>(params_.x) + (first_token + token) * params_.x_stride;
      const bool fetches = token == token_block * kTokens;
      for (int64_t i = 0; i < num_rows; ++i) {
        const void* a = a_rows[i] ? a_rows[i]
                                  : pages_.row(entry.adapter_idx, module.a, params_.in_dim,
                                               first_rank + i, 0, params_.in_dim, scratch);
        const void* ahead =
            fetches && i + rows_ahead_ < num_rows ? a_rows[i + rows_ahead_] : nullptr;
        dot(x, rows, a, ahead, t + token * entry.t_stride + first_rank + i, entry.t_stride);
      }
    }
  }

 private:
  void dot(const float* x, int32_t rows, const void* a, const void* ahead, float* out,
           int64_t out_stride) const {
    if (params_.page_dtype == DType::kBF16) {
      isa().dot_bf16(x, params_.x_stride, rows, static_cast<const uint16_t*>(a),
                     static_cast<const uint16_t*>(ahead), params_.in_dim, out, out_stride);
    } else {
      isa().dot_f32(x, params_.x_stride, rows, static_cast<const float*>(a),
                    static_cast<const float*>(ahead), params_.in_dim, out, out_stride);
    }
  }

  int64_t largest_rank() const {
    const LoraBatch& batch = params_.batch;
    int64_t largest = 0;
    for (int32_t e = 0; e < batch.entry_offsets[batch.num_segments]; ++e) {
      for (int32_t j = 0; j < params_.num_fused; ++j) {
        const core::LoraModule& module =
            pages_.module(batch.entries[e].adapter_idx, params_.layer_idx, params_.module_idx[j]);
        largest = std::max<int64_t>(largest, module.lora_rank);
      }
    }
    return largest;
  }

  const LoraShrinkParams& params_;
  const AdapterPages pages_;
  const int64_t token_blocks_;
  const int64_t rows_ahead_;
  int64_t num_ranks_ = kMostRanks;
  int64_t rank_blocks_ = 0;
};

// ---- expand
// --------------------------------------------------------------------------------------

class Expand {
 public:
  Expand(const LoraExpandParams& params, int32_t num_threads)
      : params_(params),
        pages_(pages_of(params.batch, params.slice, params.page_bytes, params.page_dtype)),
        token_blocks_(ceil_div(longest_segment(params.batch), kTokens)) {
    // Many tokens read B from cache, where short runs do no harm and small sums stay close.
    columns_ = longest_segment(params.batch) > kTokensAtOnce ? kLeastColumns : kMostColumns;
    for (; columns_ > kLeastColumns; columns_ /= 2) {
      column_blocks_ = count_column_blocks();
      if (num_cells() >= kCellsPerThread * num_threads) break;
    }
    column_blocks_ = count_column_blocks();
  }

  int64_t num_cells() const { return params_.batch.num_segments * column_blocks_ * token_blocks_; }

  void run_cell(int64_t idx, void* scratch) const {
    const LoraBatch& batch = params_.batch;
    const int64_t token_block = idx % token_blocks_;
    const int32_t segment = static_cast<int32_t>(idx / (token_blocks_ * column_blocks_));
    int64_t column_block = idx / token_blocks_ % column_blocks_;
    int32_t fused = 0;
    for (; column_block >= ceil_div(params_.out_dim[fused], columns_); ++fused) {
      column_block -= ceil_div(params_.out_dim[fused], columns_);
    }
    Cell cell;
    cell.fused = fused;
    cell.num_tokens = batch.segment_end[segment] - batch.segment_begin[segment];
    cell.column = column_block * columns_;
    cell.num_columns = std::min(columns_, params_.out_dim[fused] - cell.column);
    cell.first_token = token_block * kTokens;
    cell.end_token = std::min(cell.first_token + kTokens, cell.num_tokens);
    if (cell.first_token >= cell.end_token) return;
    float* y = static_cast<float*>(params_.y) + batch.segment_begin[segment] * params_.y_stride +
               params_.column_offset[fused] + cell.column;
    for (int32_t e = batch.entry_offsets[segment]; e < batch.entry_offsets[segment + 1]; ++e) {
      add_entry(batch.entries[e], cell, scratch, y);
    }
  }

 private:
  struct Cell {
    int32_t fused;
    int64_t num_tokens;  // of the segment
    int64_t first_token;
    int64_t end_token;
    int64_t column;
    int64_t num_columns;
  };

  // A thread's scratch.
  struct Scratch {
    float sums[kTokensAtOnce * kMostColumns];
    float gathered[kRowsAtOnce * kMostColumns];
    const void* rows[kMostFoundRows];
  };
  static_assert(sizeof(Scratch) <= device::ThreadTeam::kScratchBytes);

  int64_t count_column_blocks() const {
    int64_t count = 0;
    for (int32_t j = 0; j < params_.num_fused; ++j) count += ceil_div(params_.out_dim[j], columns_);
    return count;
  }

  void add_entry(const LoraEntry& entry, const Cell& cell, void* memory, float* y) const {
    const core::LoraModule& module =
        pages_.module(entry.adapter_idx, params_.layer_idx, params_.module_idx[cell.fused]);
    if (module.lora_rank == 0) return;
    Scratch& scratch = *static_cast<Scratch*>(memory);
    const int32_t num_found = std::min(module.lora_rank, kMostFoundRows);
    pages_.find_rows(entry.adapter_idx, module.b, params_.out_dim[cell.fused], 0, num_found,
                     cell.column, cell.num_columns, scratch.rows);
    const float* t = params_.t + entry.t_offset + cell.fused * cell.num_tokens * entry.t_stride;
    for (int64_t token = cell.first_token; token < cell.end_token; token += kTokensAtOnce) {
      const int32_t count = static_cast<int32_t>(std::min(kTokensAtOnce, cell.end_token - token));
      sum_rows(entry, module, cell, t + token * entry.t_stride, count, token == cell.first_token,
               scratch);
      // The sum over lora_rank is complete before it is scaled and added: y sees one addition an
      // entry.
      for (int32_t i = 0; i < count; ++i) {
        isa().axpy(entry.weight * module.scale, scratch.sums + i * columns_, cell.num_columns,
                   y + (token + i) * params_.y_stride);
      }
    }
  }

  // sums[i] = sum_r t[i, r] Bt[r] of a few tokens; `fetches`: B is read from memory, so ask ahead.
  void sum_rows(const LoraEntry& entry, const core::LoraModule& module, const Cell& cell,
                const float* t, int32_t num_tokens, bool fetches, Scratch& scratch) const {
    std::fill(scratch.sums, scratch.sums + num_tokens * columns_, 0.0f);
    for (int32_t r = 0; r < module.lora_rank; r += kRowsAtOnce) {
      const int32_t count = std::min(kRowsAtOnce, module.lora_rank - r);
      const void* rows[kRowsAtOnce];
      for (int32_t i = 0; i < count; ++i) {
        const bool is_found = r + i < kMostFoundRows && scratch.rows[r + i];
        rows[i] = is_found ? scratch.rows[r + i]
                           : pages_.row(entry.adapter_idx, module.b, params_.out_dim[cell.fused],
                                        r + i, cell.column, cell.num_columns,
                                        scratch.gathered + i * kMostColumns);
      }
      const bool has_next = r + 2 * kRowsAtOnce <= std::min(module.lora_rank, kMostFoundRows);
      const void* const* ahead = fetches && has_next ? scratch.rows + r + kRowsAtOnce : nullptr;
      add_rows(t + r, entry.t_stride, cell, rows, ahead, num_tokens, count, scratch.sums);
    }
  }

  void add_rows(const float* t, int64_t t_stride, const Cell& cell, const void* const* rows,
                const void* const* ahead, int32_t num_tokens, int32_t count, float* sums) const {
    if (params_.page_dtype == DType::kBF16) {
      add_typed_rows<uint16_t>(isa().add_scaled_bf16, t, t_stride, cell, rows, ahead, num_tokens,
                               count, sums);
    } else {
      add_typed_rows<float>(isa().add_scaled_f32, t, t_stride, cell, rows, ahead, num_tokens, count,
                            sums);
    }
  }

  template <typename Element, typename AddScaled>
  void add_typed_rows(AddScaled add_scaled, const float* t, int64_t t_stride, const Cell& cell,
                      const void* const* rows, const void* const* ahead, int32_t num_tokens,
                      int32_t count, float* sums) const {
    const Element* typed[kRowsAtOnce];
    const Element* typed_ahead[kRowsAtOnce];
    for (int32_t i = 0; i < count; ++i) {
      typed[i] = static_cast<const Element*>(rows[i]);
      typed_ahead[i] = ahead && ahead[i] ? static_cast<const Element*>(ahead[i]) : typed[i];
    }
    add_scaled(t, t_stride, num_tokens, typed, ahead ? typed_ahead : nullptr, count,
               cell.num_columns, sums, columns_);
  }

  const LoraExpandParams& params_;
  const AdapterPages pages_;
  const int64_t token_blocks_;
  int64_t columns_ = kMostColumns;
  int64_t column_blocks_ = 0;
};

template <typename Op>
void run_cells(const Op& op, device::ThreadTeam& team) {
  team.parallel_for(static_cast<int32_t>(op.num_cells()),
                    [&](int32_t cell, int32_t thread) { op.run_cell(cell, team.scratch(thread)); });
}

}  // namespace

// Cost       reads A of each entry once for every 32 rows of its segment; 2 rows lora_rank in_dim
// flops
void run_lora_shrink(const LoraShrinkParams& params, device::ThreadTeam& team) {
  if (params.batch.num_segments > 0) run_cells(Shrink(params, team.num_threads()), team);
}

// Cost       reads B of each entry once for every 32 rows of its segment, y once an entry
void run_lora_expand(const LoraExpandParams& params, device::ThreadTeam& team) {
  if (params.batch.num_segments > 0) run_cells(Expand(params, team.num_threads()), team);
}

}  // namespace slora::kernels
