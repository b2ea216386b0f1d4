// A batch as kernels read it: rows of one step packed side by side, cut into segments of one
// adapter list, every table in one block of memory that one copy brings to the device.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "slora/device/device.hpp"
#include "slora/kernels/kernel_api.hpp"

namespace slora::batch {

// One adapter of a row, where it is resident.
struct AdapterUse {
  uint64_t adapter_id;
  float weight;
  int32_t max_lora_rank;
  const core::LoraModule* modules;  // device memory, [L, modules a layer]
  const std::vector<int32_t>* pages;
  const kernels::WideModule* wide = nullptr;  // device memory, [2] embedding, head; null: neither
  bool has_epilogue = false;                  // some module has a factor or an offset
  uint32_t module_mask = ~0u;                 // bit i: module i is changed in some layer
};

// One row as the engine hands it over. Spans must stay valid during pack() only.
struct RowInput {
  int32_t history_slot;
  int32_t first_token;  // position of the row's first token
  int32_t num_tokens;
  std::span<const int32_t> pages;  // of the whole sequence, enough for first_token + num_tokens
  std::span<const AdapterUse> adapters;
  bool wants_sample;
  bool wants_logits;
  // The sampling part is the sequence's own; logits_row and the bias range are filled in by pack().
  kernels::SampleRow sampling;
  std::span<const int32_t> bias_tokens;
  std::span<const float> bias_values;
};

// Where a row's results lie. Indexed as the RowInputs were.
struct RowOutput {
  int32_t sample_idx;    // into the sampled tokens; -1 without a sample
  int32_t logits_begin;  // first logits row; num_logits rows follow
  int32_t num_logits;    // 0 unless the row wants logits
};

// Device pointers and counts of a packed batch. Valid until the staging block is packed again.
struct Batch {
  int32_t num_tokens;
  int32_t num_rows;
  int32_t num_outputs;  // tokens whose logits are computed
  int32_t num_samples;
  bool outputs_are_all_tokens;    // then output_rows is the identity
  const int32_t* token_slot;      // [T]
  const int32_t* token_position;  // [T]
  const int32_t* token_page;      // [T]
  const int32_t* row_offsets;     // [S + 1]
  const int32_t* page_table;      // [S, page_table_stride]
  int64_t page_table_stride;
  int32_t max_row_tokens;      // tokens of the longest row
  int32_t max_context;         // positions of the longest sequence
  int32_t num_long_rows;       // rows of more than one token
  int32_t num_long_tokens;     // and their tokens
  const int32_t* output_rows;  // [num_outputs] packed token indices
  kernels::LoraBatch lora;     // num_segments 0: base model only
  int64_t lora_t_floats;       // size of the intermediate
  // Floats of one fused module of the intermediate in a packed share (kernels::LoraExchangeParams),
  // of `lora_parts` parts and of one; room for any batch of its shape, if it has one.
  int64_t lora_share_floats;
  int64_t lora_whole_floats;
  uint32_t lora_modules;                  // bit i: some adapter changes module i
  bool has_lora_epilogue;                 // of some adapter in the batch
  bool has_wide_lora;                     // some adapter changes the embedding or the head
  const int32_t* segment_output_begin;    // [G] the segments' ranges of output rows
  const int32_t* segment_output_end;      // [G]
  const kernels::SampleRow* sample_rows;  // [num_samples]
  const int32_t* bias_tokens;
  const float* bias_values;
};

// What a captured decode step is valid for: any batch of at most `rows` rows of one token and one
// sample each, whatever its adapters and their ranks up to the bounds. A batch packed for a shape
// has its tables at addresses and its counts at values that depend on the shape alone; rows past
// its own are padding, as kernel_api.hpp describes it.
struct DecodeShape {
  int32_t rows = 0;
  int32_t table_stride = 0;   // pages of one sequence
  int32_t max_lora_rank = 0;  // 0: no row has an adapter
  bool has_epilogue = false;
  uint32_t lora_modules = 0;
  bool has_pieces = false;    // some segment goes in pieces
  int32_t long_segments = 0;  // most segments that do not

  bool operator==(const DecodeShape&) const = default;
};

// Room for a shape's entries and logit biases; batches that need more have no shape.
inline constexpr int32_t kEntriesARow = 2;
inline constexpr int32_t kMaxShapeBiases = 1024;

// Batches of fewer tokens have no pieces: their segments are so few that each is cut over many
// blocks instead.
inline constexpr int32_t kLeastPieceTokens = 32;

// The smallest shape of the ladder that covers `rows`, or none: only rows of one token that sample
// and want no logits have one.
std::optional<DecodeShape> decode_shape(std::span<const RowInput> rows, int32_t max_rows);

// Whether a step recorded for `wide` serves batches of `shape` too: of as many rows, with room for
// all else. Base steps and those with adapters do not serve each other.
bool covers(const DecodeShape& wide, const DecodeShape& shape);

// Of two shapes that cover the same, the one whose step costs less.
bool is_narrower(const DecodeShape& a, const DecodeShape& b);

// The largest lora_rank of common_shapes().
inline constexpr int32_t kMostCommonRank = 64;

// The shapes that most traffic has, the commonest first: every step of the ladder of rows, contexts
// of up to 128 pages (or `max_pages`), the base alone and adapters of `lora_modules` with ranks of
// up to 16 and 64. Other adapters are covered by those, if their ranks are.
std::vector<DecodeShape> common_shapes(int32_t max_rows, int32_t max_pages, uint32_t lora_modules);

// Room for a block that holds any batch of any shape of up to so many rows, pages a sequence and
// kMostCommonRank is measured with this one.
DecodeShape widest_shape(int32_t max_rows, int32_t max_pages, uint32_t lora_modules);

// At most as much as a batch has of each, as far as is known before its pages are taken.
struct BatchBounds {
  int64_t tokens = 0, rows = 0, outputs = 0, biases = 0;
  int64_t entries = 0, adapter_pages = 0, rank_pieces = 0;  // summed over the rows' adapters
  int64_t table_stride = 0;                                 // most pages of a row
};

// Pieces of one adapter's shrink, of kPieceRanks ranks.
inline int64_t rank_pieces(int32_t lora_rank) {
  return (lora_rank + kernels::kPieceRanks - 1) / kernels::kPieceRanks;
}

// The pinned block a batch is packed into and its twin on the device. Grows, never shrinks; a step
// in flight owns its block, so growing never touches memory that a copy reads.
class BatchStaging {
 public:
  // lora_parts: ranks that share each adapter's lora_rank.
  explicit BatchStaging(std::shared_ptr<device::Device> device, int32_t lora_parts = 1)
      : device_(std::move(device)), lora_parts_(lora_parts) {}

  // So that pack() of any batch within the bounds allocates nothing, nor pack_shape() into a target
  // of up to `shape_bytes`. kOutOfMemory leaves what there is.
  void make_room(const BatchBounds& bounds, uint64_t shape_bytes);

  // Packs `rows` and enqueues the one copy on `stream`. Rows are reordered so that equal adapter
  // lists are neighbours; out_outputs is in the order of `rows`.
  Batch pack(std::span<const RowInput> rows, int32_t tokens_per_page, int32_t modules_a_layer,
             device::Stream& stream, std::vector<RowOutput>& out_outputs);

  // The same for a shape, into `target` on the device, which all steps of the stream share. False
  // if `target` is too small, with out_bytes what it must hold; then nothing was enqueued.
  bool pack_shape(std::span<const RowInput> rows, const DecodeShape& shape, int32_t tokens_per_page,
                  int32_t modules_a_layer, device::Stream& stream, const device::Buffer& target,
                  std::vector<RowOutput>& out_outputs, Batch& out_batch, uint64_t& out_bytes);

 private:
  struct Layout;
  class Writer;

  // Sorts rows into segments: those of many rows, rows without adapters, those of few rows.
  void sort_rows(std::span<const RowInput> rows);
  // least_tokens: those that the batch will be padded to.
  Layout measure(std::span<const RowInput> rows, int64_t least_tokens = 0) const;
  void reserve(uint64_t pinned_bytes, uint64_t device_bytes);
  int64_t write(std::span<const RowInput> rows, Layout& layout, int32_t tokens_per_page,
                std::vector<RowOutput>& out_outputs);
  static Batch device_view(const uint8_t* base, const Layout& layout, int32_t modules_a_layer,
                           int64_t t_floats);

  std::shared_ptr<device::Device> device_;
  int32_t lora_parts_;
  device::Buffer pinned_;
  device::Buffer on_device_;
  std::vector<int32_t> order_;  // packed row -> input row
  std::vector<int32_t> sorted_;
  std::vector<kernels::LoraPiece> pieces_;
};

}  // namespace slora::batch
