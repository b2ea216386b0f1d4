// Packing: measure, lay out one block, fill it, copy it once.
//
// Everything a step tells the device goes through this block, so a step costs one host-to-device
// copy of metadata whatever its mix, and on CUDA the same addresses serve a captured graph.
#include "slora/batch/batch.hpp"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "segments.hpp"
#include "slora/core/check.hpp"

namespace slora::batch {

// Counts and byte offsets of every table in the block.
struct BatchStaging::Layout {
  int64_t tokens = 0, rows = 0, outputs = 0, samples = 0, biases = 0;
  int64_t segments = 0, entries = 0, adapter_pages = 0, table_stride = 0;
  int32_t max_row_tokens = 0, max_context = 0, max_segment_tokens = 0, max_lora_rank = 0;
  int64_t long_rows = 0, long_tokens = 0;  // rows of more than one token
  int64_t shrink_pieces = 0, expand_pieces = 0, long_segments = 0, long_segment_tokens = 0;
  uint64_t token_slot, token_position, token_page, row_offsets, page_table, output_rows,
      segment_begin, segment_end, segment_output_begin, segment_output_end, entry_offsets,
      entry_list, adapter_refs, lora_pages, sample_rows, bias_tokens, bias_values, num_pieces,
      shrink_list, expand_list;
  uint64_t bytes = 0;
  // What the batch itself fills; the counts above are room, and more of it for a shape.
  int64_t used_tokens = 0, used_outputs = 0, used_entries = 0, used_samples = 0;
  bool has_epilogue = false, has_wide = false, has_shape = false;
  uint32_t lora_modules = 0;
  int64_t share_floats = 0, whole_floats = 0;

  uint64_t take(int64_t count, size_t element_bytes) {
    const uint64_t offset = bytes;
    // 64: every table starts on a cache line of its own and may be read with aligned vector loads.
    bytes = (bytes + static_cast<uint64_t>(count) * element_bytes + 63) / 64 * 64;
    return offset;
  }

  // Room for any batch of the shape.
  void widen(const DecodeShape& shape) {
    tokens = rows = outputs = samples = segments = shape.rows;
    entries = int64_t{shape.rows} * kEntriesARow;
    biases = kMaxShapeBiases;
    table_stride = shape.table_stride;
    max_row_tokens = 1;
    max_context = 0;  // not known: page_table_stride pages
    max_segment_tokens = shape.rows;
    max_lora_rank = shape.max_lora_rank;
    has_epilogue = shape.has_epilogue;
    lora_modules = shape.lora_modules;
    if (shape.max_lora_rank == 0) segments = 0;
    shrink_pieces = shape.has_pieces ? entries * rank_pieces(shape.max_lora_rank) : 0;
    expand_pieces = shape.has_pieces ? segments : 0;
    long_segments = shape.long_segments;
    long_segment_tokens = shape.rows;
    // They are all there are: a launch for fewer segments holds fewer blocks without work.
    if (!shape.has_pieces && shape.long_segments > 0) segments = shape.long_segments;
    has_shape = true;
  }

  // Of one fused module, in a share of `parts`; of a shape, what any batch of it may need.
  int64_t room_of_shape(int32_t parts) const {
    return entries * ((max_lora_rank + parts - 1) / parts);
  }

  void place() {
    token_slot = take(tokens, 4);
    token_position = take(tokens, 4);
    token_page = take(tokens, 4);
    row_offsets = take(rows + 1, 4);
    output_rows = take(outputs, 4);
    segment_begin = take(segments, 4);
    segment_end = take(segments, 4);
    segment_output_begin = take(segments, 4);
    segment_output_end = take(segments, 4);
    entry_offsets = take(segments + 1, 4);
    entry_list = take(entries, sizeof(kernels::LoraEntry));
    adapter_refs = take(entries, sizeof(kernels::LoraAdapterRef));
    num_pieces = take(2, 4);
    shrink_list = take(shrink_pieces, sizeof(kernels::LoraPiece));
    expand_list = take(expand_pieces, sizeof(kernels::LoraPiece));
    sample_rows = take(samples, sizeof(kernels::SampleRow));
    bias_tokens = take(biases, 4);
    bias_values = take(biases, 4);
    page_table = take(rows * table_stride, 4);
    // Last: its length is no part of a shape.
    lora_pages = take(adapter_pages, 4);
  }
};

void BatchStaging::sort_rows(std::span<const RowInput> rows) {
  order_.resize(rows.size());
  std::iota(order_.begin(), order_.end(), 0);
  // By index on ties: insertion order without std::stable_sort's allocation.
  std::sort(order_.begin(), order_.end(), [rows](int32_t a, int32_t b) {
    const int order = compare_adapters(rows[static_cast<size_t>(a)].adapters,
                                       rows[static_cast<size_t>(b)].adapters);
    return order != 0 ? order < 0 : a < b;
  });

  // 0, 1, 2: segments of many rows, no adapters, segments of few.
  sorted_.swap(order_);
  order_.clear();
  for (int pass = 0; pass < 3; ++pass) {
    for (size_t begin = 0, end; begin < sorted_.size(); begin = end) {
      const RowInput& first = rows[static_cast<size_t>(sorted_[begin])];
      int64_t tokens = 0;
      for (end = begin; end < sorted_.size(); ++end) {
        const RowInput& row = rows[static_cast<size_t>(sorted_[end])];
        if (compare_adapters(first.adapters, row.adapters) != 0) break;
        tokens += row.num_tokens;
      }
      const int kind = first.adapters.empty() ? 1 : is_short(tokens) ? 2 : 0;
      if (kind == pass)
        order_.insert(order_.end(), sorted_.begin() + static_cast<std::ptrdiff_t>(begin),
                      sorted_.begin() + static_cast<std::ptrdiff_t>(end));
    }
  }
}

BatchStaging::Layout BatchStaging::measure(std::span<const RowInput> rows,
                                           int64_t least_tokens) const {
  Layout layout;
  layout.rows = static_cast<int64_t>(rows.size());
  const RowInput* previous = nullptr;
  int32_t segment_tokens = 0;
  const auto end_segment = [&] {
    if (!previous || previous->adapters.empty()) return;
    if (!is_short(segment_tokens)) {
      ++layout.long_segments;
      layout.long_segment_tokens += segment_tokens;
      return;
    }
    ++layout.expand_pieces;
    for (const AdapterUse& use : previous->adapters)
      layout.shrink_pieces += rank_pieces(use.max_lora_rank);
  };
  for (const int32_t row_idx : order_) {
    const RowInput& row = rows[static_cast<size_t>(row_idx)];
    layout.tokens += row.num_tokens;
    layout.max_row_tokens = std::max(layout.max_row_tokens, row.num_tokens);
    layout.max_context = std::max(layout.max_context, row.first_token + row.num_tokens);
    if (row.num_tokens > 1) {
      ++layout.long_rows;
      layout.long_tokens += row.num_tokens;
    }
    layout.outputs += row.wants_logits ? row.num_tokens : (row.wants_sample ? 1 : 0);
    if (row.wants_sample) {
      ++layout.samples;
      layout.biases += static_cast<int64_t>(row.bias_tokens.size());
    }
    layout.table_stride = std::max(layout.table_stride, static_cast<int64_t>(row.pages.size()));
    const bool begins_segment =
        !previous || compare_adapters(previous->adapters, row.adapters) != 0;
    if (begins_segment) end_segment();
    segment_tokens = begins_segment ? row.num_tokens : segment_tokens + row.num_tokens;
    if (!row.adapters.empty())
      layout.max_segment_tokens = std::max(layout.max_segment_tokens, segment_tokens);
    if (begins_segment && !row.adapters.empty()) {
      ++layout.segments;
      layout.entries += static_cast<int64_t>(row.adapters.size());
      for (const AdapterUse& use : row.adapters) {
        layout.adapter_pages += static_cast<int64_t>(use.pages->size());
        layout.max_lora_rank = std::max(layout.max_lora_rank, use.max_lora_rank);
        layout.has_epilogue |= use.has_epilogue;
        layout.lora_modules |= use.module_mask;
        layout.has_wide |= use.wide != nullptr;
      }
    }
    previous = &row;
  }
  end_segment();
  if (std::max(layout.tokens, least_tokens) < kLeastPieceTokens) {
    layout.shrink_pieces = layout.expand_pieces = 0;
    layout.long_segments = -1;
  }
  layout.used_tokens = layout.tokens;
  layout.used_outputs = layout.outputs;
  layout.used_entries = layout.entries;
  layout.used_samples = layout.samples;
  return layout;
}

void BatchStaging::reserve(uint64_t pinned_bytes, uint64_t device_bytes) {
  const auto ensure = [this](device::Buffer& buffer, device::MemoryKind kind, uint64_t bytes) {
    if (buffer.bytes() < bytes)
      buffer = device::Buffer(device_, kind, std::max<uint64_t>(bytes + bytes / 2, 1 << 16));
  };
  ensure(pinned_, device::MemoryKind::kPinned, pinned_bytes);
  ensure(on_device_, device::MemoryKind::kDevice, device_bytes);
}

void BatchStaging::make_room(const BatchBounds& bounds, uint64_t shape_bytes) {
  Layout layout;
  layout.tokens = bounds.tokens;
  layout.rows = layout.samples = layout.segments = layout.expand_pieces = bounds.rows;
  layout.outputs = bounds.outputs;
  layout.biases = bounds.biases;
  layout.entries = bounds.entries;
  layout.adapter_pages = bounds.adapter_pages;
  layout.shrink_pieces = bounds.rank_pieces;
  layout.table_stride = bounds.table_stride;
  layout.place();
  reserve(std::max(layout.bytes, shape_bytes), layout.bytes);
}

// Host addresses of the tables in the pinned block, and how far each is filled.
class BatchStaging::Writer {
 public:
  Writer(uint8_t* block, const Layout& layout, int32_t tokens_per_page,
         std::vector<kernels::LoraPiece>& pieces)
      : block_(block), layout_(layout), tokens_per_page_(tokens_per_page), pieces_(pieces) {
    ints(layout_.entry_offsets)[0] = 0;
  }

  void add(const RowInput& row, RowOutput& out) {
    ints(layout_.row_offsets)[rows_] = tokens_;
    std::memcpy(ints(layout_.page_table) + rows_ * layout_.table_stride, row.pages.data(),
                row.pages.size_bytes());
    add_tokens(row);
    add_to_segment(row);
    ++rows_;
    tokens_ += row.num_tokens;
    add_outputs(row, out);
    if (!row.adapters.empty()) ints(layout_.segment_output_end)[segments_ - 1] = outputs_;
    if (row.wants_sample) add_sample(row, out);
  }

  // Places the intermediate of every entry; returns its size in floats.
  int64_t finish(int32_t lora_parts, int64_t& out_share_floats) {
    ints(layout_.row_offsets)[rows_] = tokens_;
    SLORA_CHECK(tokens_ == layout_.used_tokens && outputs_ == layout_.used_outputs &&
                entries_ == layout_.used_entries && samples_ == layout_.used_samples);
    int64_t t_floats = 0;
    int64_t share_floats = 0;
    for (int32_t g = 0; g < segments_; ++g) {
      const int64_t rows = ints(layout_.segment_end)[g] - ints(layout_.segment_begin)[g];
      for (int32_t e = ints(layout_.entry_offsets)[g]; e < ints(layout_.entry_offsets)[g + 1];
           ++e) {
        kernels::LoraEntry& entry = at<kernels::LoraEntry>(layout_.entry_list)[e];
        entry.t_offset = t_floats;
        entry.gather_offset = static_cast<int32_t>(share_floats);
        t_floats += rows * kernels::kMaxFusedModules * entry.t_stride;
        share_floats += rows * ((entry.t_stride + lora_parts - 1) / lora_parts);
      }
    }
    if (layout_.expand_pieces > 0) {
      write_pieces(true);
      write_pieces(false);
    }
    out_share_floats = share_floats;
    pad();
    return t_floats;
  }

 private:
  void write_pieces(bool is_shrink) {
    pieces_.clear();
    for (int32_t g = 0; g < segments_; ++g) {
      const int32_t begin = ints(layout_.segment_begin)[g];
      const int32_t rows = ints(layout_.segment_end)[g] - begin;
      if (!is_short(rows)) continue;
      const int32_t entry_begin = ints(layout_.entry_offsets)[g];
      const int32_t entry_end = ints(layout_.entry_offsets)[g + 1];
      for (int32_t e = entry_begin; e < (is_shrink ? entry_end : entry_begin + 1); ++e) {
        const kernels::LoraEntry& entry = at<kernels::LoraEntry>(layout_.entry_list)[e];
        const kernels::LoraAdapterRef& ref =
            at<kernels::LoraAdapterRef>(layout_.adapter_refs)[entry.adapter_idx];
        for (int32_t r = 0; r < (is_shrink ? entry.t_stride : 1); r += kernels::kPieceRanks)
          pieces_.push_back({ref.modules, entry.t_offset, ref.page_offset, entry.t_stride,
                             entry.weight, begin, rows, r, is_shrink ? e : entry_begin,
                             is_shrink ? e + 1 : entry_end});
      }
    }
    // Blocks take pieces in turn: the short ones at the end even out who is done when.
    std::sort(pieces_.begin(), pieces_.end(),
              [](const kernels::LoraPiece& a, const kernels::LoraPiece& b) {
                const int32_t a_ranks = a.t_stride - a.rank_begin;
                const int32_t b_ranks = b.t_stride - b.rank_begin;
                return a_ranks != b_ranks ? a_ranks > b_ranks : a.t_offset < b.t_offset;
              });
    SLORA_CHECK(static_cast<int64_t>(pieces_.size()) <=
                (is_shrink ? layout_.shrink_pieces : layout_.expand_pieces));
    ints(layout_.num_pieces)[is_shrink ? 0 : 1] = static_cast<int32_t>(pieces_.size());
    std::copy(pieces_.begin(), pieces_.end(),
              at<kernels::LoraPiece>(is_shrink ? layout_.shrink_list : layout_.expand_list));
  }

  // Rows, segments and samples past the batch's own.
  void pad() {
    for (int64_t i = tokens_; i < layout_.tokens; ++i) {
      ints(layout_.token_slot)[i] = ints(layout_.token_position)[i] = 0;
      ints(layout_.token_page)[i] = -1;
    }
    for (int64_t i = rows_; i < layout_.rows; ++i) ints(layout_.row_offsets)[i + 1] = tokens_;
    for (int64_t i = outputs_; i < layout_.outputs; ++i)
      ints(layout_.output_rows)[i] = static_cast<int32_t>(i);
    for (int64_t g = segments_; g < layout_.segments; ++g) {
      ints(layout_.segment_begin)[g] = ints(layout_.segment_end)[g] = 0;
      ints(layout_.segment_output_begin)[g] = ints(layout_.segment_output_end)[g] = 0;
      ints(layout_.entry_offsets)[g + 1] = entries_;
    }
    for (int64_t i = samples_; i < layout_.samples; ++i) {
      at<kernels::SampleRow>(layout_.sample_rows)[i] = {};
      at<kernels::SampleRow>(layout_.sample_rows)[i].logits_row = -1;
    }
  }

  template <typename T>
  T* at(uint64_t offset) const {
    return reinterpret_cast<T*>(block_ + offset);
  }
  int32_t* ints(uint64_t offset) const { return at<int32_t>(offset); }

  void add_tokens(const RowInput& row) {
    for (int32_t i = 0; i < row.num_tokens; ++i) {
      const int32_t position = row.first_token + i;
      ints(layout_.token_slot)[tokens_ + i] = row.history_slot;
      ints(layout_.token_position)[tokens_ + i] = position;
      ints(layout_.token_page)[tokens_ + i] =
          row.pages[static_cast<size_t>(position / tokens_per_page_)];
    }
  }

  void add_to_segment(const RowInput& row) {
    const bool begins_segment =
        !previous_ || compare_adapters(previous_->adapters, row.adapters) != 0;
    previous_ = &row;
    if (row.adapters.empty()) return;
    if (begins_segment) {
      ints(layout_.segment_begin)[segments_] = tokens_;
      ints(layout_.segment_output_begin)[segments_] = outputs_;
      for (const AdapterUse& use : row.adapters) add_entry(use);
      ints(layout_.entry_offsets)[++segments_] = entries_;
    }
    ints(layout_.segment_end)[segments_ - 1] = tokens_ + row.num_tokens;
  }

  void add_entry(const AdapterUse& use) {
    at<kernels::LoraEntry>(layout_.entry_list)[entries_] = {entries_, use.weight, 0,
                                                            use.max_lora_rank, 0};
    at<kernels::LoraAdapterRef>(layout_.adapter_refs)[entries_] = {use.modules, adapter_pages_, 0,
                                                                   use.wide};
    std::copy(use.pages->begin(), use.pages->end(), ints(layout_.lora_pages) + adapter_pages_);
    adapter_pages_ += static_cast<int32_t>(use.pages->size());
    ++entries_;
  }

  // tokens_ is past the row's last token here.
  void add_outputs(const RowInput& row, RowOutput& out) {
    if (row.wants_logits) {
      out.logits_begin = outputs_;
      out.num_logits = row.num_tokens;
      for (int32_t i = row.num_tokens; i > 0; --i)
        ints(layout_.output_rows)[outputs_++] = tokens_ - i;
    } else if (row.wants_sample) {
      ints(layout_.output_rows)[outputs_++] = tokens_ - 1;
    }
  }

  void add_sample(const RowInput& row, RowOutput& out) {
    out.sample_idx = samples_;
    kernels::SampleRow& sampling = at<kernels::SampleRow>(layout_.sample_rows)[samples_++];
    sampling = row.sampling;
    sampling.logits_row = outputs_ - 1;
    sampling.bias_offset = biases_;
    sampling.num_bias = static_cast<int32_t>(row.bias_tokens.size());
    std::copy(row.bias_tokens.begin(), row.bias_tokens.end(), ints(layout_.bias_tokens) + biases_);
    std::copy(row.bias_values.begin(), row.bias_values.end(),
              at<float>(layout_.bias_values) + biases_);
    biases_ += sampling.num_bias;
  }

  uint8_t* block_;
  const Layout& layout_;
  int32_t tokens_per_page_;
  std::vector<kernels::LoraPiece>& pieces_;  // scratch
  const RowInput* previous_ = nullptr;
  int32_t rows_ = 0, tokens_ = 0, outputs_ = 0, samples_ = 0, biases_ = 0;
  int32_t segments_ = 0, entries_ = 0, adapter_pages_ = 0;
};

// The block's tables as kernels see them, at their addresses on the device.
Batch BatchStaging::device_view(const uint8_t* base, const Layout& layout, int32_t modules_a_layer,
                                int64_t t_floats) {
  auto ints = [base](uint64_t offset) { return reinterpret_cast<const int32_t*>(base + offset); };
  Batch batch{};
  batch.num_tokens = static_cast<int32_t>(layout.tokens);
  batch.num_rows = static_cast<int32_t>(layout.rows);
  batch.num_outputs = static_cast<int32_t>(layout.outputs);
  batch.num_samples = static_cast<int32_t>(layout.samples);
  batch.outputs_are_all_tokens = layout.outputs == layout.tokens;
  batch.token_slot = ints(layout.token_slot);
  batch.token_position = ints(layout.token_position);
  batch.token_page = ints(layout.token_page);
  batch.row_offsets = ints(layout.row_offsets);
  batch.page_table = ints(layout.page_table);
  batch.page_table_stride = layout.table_stride;
  batch.max_row_tokens = layout.max_row_tokens;
  batch.max_context = layout.max_context;
  batch.num_long_rows = static_cast<int32_t>(layout.long_rows);
  batch.num_long_tokens = static_cast<int32_t>(layout.long_tokens);
  batch.output_rows = ints(layout.output_rows);
  batch.lora.num_segments = static_cast<int32_t>(layout.segments);
  batch.lora.num_modules = modules_a_layer;
  batch.lora.segment_begin = ints(layout.segment_begin);
  batch.lora.segment_end = ints(layout.segment_end);
  batch.lora.entry_offsets = ints(layout.entry_offsets);
  batch.lora.entries = reinterpret_cast<const kernels::LoraEntry*>(base + layout.entry_list);
  batch.lora.adapters =
      reinterpret_cast<const kernels::LoraAdapterRef*>(base + layout.adapter_refs);
  batch.lora.pages = ints(layout.lora_pages);
  batch.lora.num_tokens = batch.num_tokens;
  batch.lora.max_segment_tokens = layout.max_segment_tokens;
  batch.lora.max_lora_rank = layout.max_lora_rank;
  if (layout.expand_pieces > 0) {
    batch.lora.shrink_pieces =
        reinterpret_cast<const kernels::LoraPiece*>(base + layout.shrink_list);
    batch.lora.expand_pieces =
        reinterpret_cast<const kernels::LoraPiece*>(base + layout.expand_list);
    batch.lora.num_pieces = ints(layout.num_pieces);
    batch.lora.max_shrink_pieces = static_cast<int32_t>(layout.shrink_pieces);
    batch.lora.max_expand_pieces = static_cast<int32_t>(layout.expand_pieces);
    batch.lora.num_long_segments = static_cast<int32_t>(layout.long_segments);
    batch.lora.num_long_tokens = static_cast<int32_t>(layout.long_segment_tokens);
  }
  batch.lora_t_floats = t_floats;
  batch.lora_share_floats = layout.share_floats;
  batch.lora_whole_floats = layout.whole_floats;
  batch.lora_modules = layout.lora_modules;
  batch.has_lora_epilogue = layout.has_epilogue;
  batch.has_wide_lora = layout.has_wide;
  batch.segment_output_begin = ints(layout.segment_output_begin);
  batch.segment_output_end = ints(layout.segment_output_end);
  batch.sample_rows = reinterpret_cast<const kernels::SampleRow*>(base + layout.sample_rows);
  batch.bias_tokens = ints(layout.bias_tokens);
  batch.bias_values = reinterpret_cast<const float*>(base + layout.bias_values);
  return batch;
}

int64_t BatchStaging::write(std::span<const RowInput> rows, Layout& layout, int32_t tokens_per_page,
                            std::vector<RowOutput>& out_outputs) {
  out_outputs.assign(rows.size(), RowOutput{-1, 0, 0});
  Writer writer(pinned_.data(), layout, tokens_per_page, pieces_);
  for (const int32_t row_idx : order_) {
    writer.add(rows[static_cast<size_t>(row_idx)], out_outputs[static_cast<size_t>(row_idx)]);
  }
  const int64_t t_floats = writer.finish(lora_parts_, layout.share_floats);
  layout.whole_floats = t_floats / kernels::kMaxFusedModules;
  if (layout.has_shape) {
    layout.share_floats = layout.room_of_shape(lora_parts_);
    layout.whole_floats = layout.room_of_shape(1);
  }
  return t_floats;
}

Batch BatchStaging::pack(std::span<const RowInput> rows, int32_t tokens_per_page,
                         int32_t modules_a_layer, device::Stream& stream,
                         std::vector<RowOutput>& out_outputs) {
  sort_rows(rows);
  Layout layout = measure(rows);
  layout.place();
  reserve(layout.bytes, layout.bytes);
  const int64_t t_floats = write(rows, layout, tokens_per_page, out_outputs);
  stream.copy(on_device_.data(), pinned_.data(), layout.bytes);
  return device_view(on_device_.data(), layout, modules_a_layer, t_floats);
}

bool BatchStaging::pack_shape(std::span<const RowInput> rows, const DecodeShape& shape,
                              int32_t tokens_per_page, int32_t modules_a_layer,
                              device::Stream& stream, const device::Buffer& target,
                              std::vector<RowOutput>& out_outputs, Batch& out_batch,
                              uint64_t& out_bytes) {
  sort_rows(rows);
  Layout layout = measure(rows, shape.rows);
  layout.widen(shape);
  layout.place();
  out_bytes = layout.bytes;
  if (target.bytes() < layout.bytes) return false;
  reserve(layout.bytes, 0);
  const int64_t t_floats = write(rows, layout, tokens_per_page, out_outputs);
  stream.copy(target.data(), pinned_.data(), layout.bytes);
  out_batch = device_view(target.data(), layout, modules_a_layer, t_floats);
  return true;
}

}  // namespace slora::batch
