// The adapters of one batch as the LoRA operations see them: segments, their entries, the pieces of
// short segments. C++17.
#pragma once

#include <cstdint>

#include "slora/core/page_layout.hpp"
#include "slora/core/wide_module.hpp"

namespace slora::kernels {

using core::WideModule;

// A list entry of a segment: one adapter with its factor.
struct LoraEntry {
  int32_t adapter_idx;  // into LoraBatch::adapters
  float weight;
  int64_t t_offset;  // floats: the entry's part of the intermediate
  int32_t t_stride;  // floats a row: the adapter's largest lora_rank
  // Floats of one fused module before the entry's in a packed share (LoraExchangeParams).
  int32_t gather_offset;
};

struct LoraAdapterRef {
  const core::LoraModule* modules;  // [L, num_modules]
  int32_t page_offset;              // into LoraBatch::pages: the adapter's pages in order
  int32_t reserved;
  const WideModule* wide = nullptr;  // [2] embedding, head; null: neither
};

// A segment of few rows, or (shrink) at most kPieceRanks ranks of one entry of it, as one unit of
// work that names all it needs: a large decode batch has hundreds, and looking each up through the
// tables would take longer than reading its weights.
inline constexpr int32_t kPieceTokens = 8;  // rows of a segment that goes in pieces
inline constexpr int32_t kPieceRanks = 16;
struct alignas(16) LoraPiece {
  const core::LoraModule* modules;  // of the (first) entry's adapter
  int64_t t_offset;                 // of the (first) entry
  int32_t page_offset;              // of its adapter
  int32_t t_stride;
  float weight;
  int32_t first_token;
  int32_t num_rows;    // of the segment, 1..kPieceTokens
  int32_t rank_begin;  // shrink: ranks [rank_begin, rank_begin + kPieceRanks)
  int32_t entry_begin;
  int32_t entry_end;  // expand: entries after the first are looked up
};

// Where one row's (first) entry has its A or B at one module, so that a kernel of few rows finds it
// by one load: looked up through the tables that takes five, one after another, and behind a
// matmul's requests each waits for microseconds.
struct alignas(16) LoraRowHead {
  const void* first;      // row 0 of A, or of B transposed
  const void* second;     // the first row in the next page, if the run goes on there
  int64_t t_offset;       // of the entry
  int32_t rows_in_first;  // rows of the run that its first page holds
  int32_t page;           // that page's place in LoraBatch::pages
  int32_t lora_rank;      // 0: the adapter leaves the module alone
  float factor;           // weight * scale
  int32_t t_stride;       // of the entry
  int32_t row;            // in its segment
  int32_t rows;           // of the segment
  int32_t entry_begin;    // of the segment
  int32_t entry_end;      // entries after the first are looked up; entry_begin: no adapter
};

// The adapters of one batch, cut into segments. Rows without an adapter are in no segment and cost
// nothing. The intermediate of entry e, fused module j, row i of its segment (rows_in_segment
// rows):
//   t[t_offset + (j * rows_in_segment + i) * t_stride + r], r < lora_rank
struct LoraBatch {
  int32_t num_segments;
  int32_t num_modules;             // modules a layer (the model's module table)
  const int32_t* segment_begin;    // [G] first token
  const int32_t* segment_end;      // [G] past the last token
  const int32_t* entry_offsets;    // [G + 1]
  const LoraEntry* entries;        // [E]
  const LoraAdapterRef* adapters;  // [A]
  const int32_t* pages;
  // Bounds that shape the launch; those of a graph cover every batch that it will run, and segments
  // past the batch's own are empty there (begin = end). 0: not known.
  int32_t num_tokens = 0;          // of the whole batch, rows without adapters included
  int32_t max_segment_tokens = 0;  // tokens of one segment
  int32_t max_lora_rank = 0;       // of any module of any adapter in the batch
  // Segments of at most kPieceTokens rows, once more, in pieces and most bytes first; a backend may
  // take them instead. They are given only where every dimension and the page are a multiple of
  // 8 elements, and no row of A or B is longer than a page. max_..: bounds as above; 0: there are
  // none. Then segments of more rows, which come first, are num_long_segments with num_long_tokens
  // rows, or unknown (-1).
  const LoraPiece* shrink_pieces = nullptr;
  const LoraPiece* expand_pieces = nullptr;
  const int32_t* num_pieces = nullptr;  // [2] shrink, expand
  int32_t max_shrink_pieces = 0;
  int32_t max_expand_pieces = 0;
  int32_t num_long_segments = -1;
  int32_t num_long_tokens = 0;
  int32_t min_segment_tokens = 0;  // segments of fewer rows are passed over
  // [layers, num_modules, num_tokens] of A and of B, as lora_find_rows left them. Null: not looked
  // up.
  const LoraRowHead* a_heads = nullptr;
  const LoraRowHead* b_heads = nullptr;
};

}  // namespace slora::kernels
