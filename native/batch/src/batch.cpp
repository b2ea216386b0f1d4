// Packing: measure, lay out one block, fill it, copy it once.
//
// Everything a step tells the device goes through this block, so a step costs one host-to-device
// copy of metadata whatever its mix, and on CUDA the same addresses serve a captured graph.
#include "slora/batch/batch.hpp"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "slora/core/check.hpp"

namespace slora::batch {
namespace {

// Negative, zero or positive, like memcmp; lists that are equal make one segment.
int compare_adapters(std::span<const AdapterUse> a, std::span<const AdapterUse> b) {
  if (a.size() != b.size()) return a.size() < b.size() ? -1 : 1;
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i].adapter_id != b[i].adapter_id) return a[i].adapter_id < b[i].adapter_id ? -1 : 1;
    if (a[i].weight != b[i].weight) return a[i].weight < b[i].weight ? -1 : 1;
  }
  return 0;
}

}  // namespace

// Counts and byte offsets of every table in the block.
struct BatchStaging::Layout {
  int64_t tokens = 0, rows = 0, outputs = 0, samples = 0, biases = 0;
  int64_t segments = 0, entries = 0, adapter_pages = 0, table_stride = 0;
  uint64_t token_slot, token_position, token_page, row_offsets, page_table, output_rows,
      segment_begin, segment_end, entry_offsets, entry_list, adapter_refs, lora_pages, sample_rows,
      bias_tokens, bias_values;
  uint64_t bytes = 0;

  uint64_t take(int64_t count, size_t element_bytes) {
    const uint64_t offset = bytes;
    // 64: every table starts on a cache line of its own and may be read with aligned vector loads.
    bytes = (bytes + static_cast<uint64_t>(count) * element_bytes + 63) / 64 * 64;
    return offset;
  }

  void place() {
    token_slot = take(tokens, 4);
    token_position = take(tokens, 4);
    token_page = take(tokens, 4);
    row_offsets = take(rows + 1, 4);
    page_table = take(rows * table_stride, 4);
    output_rows = take(outputs, 4);
    segment_begin = take(segments, 4);
    segment_end = take(segments, 4);
    entry_offsets = take(segments + 1, 4);
    entry_list = take(entries, sizeof(kernels::LoraEntry));
    adapter_refs = take(entries, sizeof(kernels::LoraAdapterRef));
    lora_pages = take(adapter_pages, 4);
    sample_rows = take(samples, sizeof(kernels::SampleRow));
    bias_tokens = take(biases, 4);
    bias_values = take(biases, 4);
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
}

BatchStaging::Layout BatchStaging::measure(std::span<const RowInput> rows) const {
  Layout layout;
  layout.rows = static_cast<int64_t>(rows.size());
  const RowInput* previous = nullptr;
  for (const int32_t row_idx : order_) {
    const RowInput& row = rows[static_cast<size_t>(row_idx)];
    layout.tokens += row.num_tokens;
    layout.outputs += row.wants_logits ? row.num_tokens : (row.wants_sample ? 1 : 0);
    if (row.wants_sample) {
      ++layout.samples;
      layout.biases += static_cast<int64_t>(row.bias_tokens.size());
    }
    layout.table_stride = std::max(layout.table_stride, static_cast<int64_t>(row.pages.size()));
    const bool begins_segment =
        !previous || compare_adapters(previous->adapters, row.adapters) != 0;
    if (begins_segment && !row.adapters.empty()) {
      ++layout.segments;
      layout.entries += static_cast<int64_t>(row.adapters.size());
      for (const AdapterUse& use : row.adapters)
        layout.adapter_pages += static_cast<int64_t>(use.pages->size());
    }
    previous = &row;
  }
  layout.place();
  return layout;
}

void BatchStaging::reserve(uint64_t bytes) {
  if (pinned_.bytes() >= bytes) return;
  const uint64_t grown = std::max<uint64_t>(bytes + bytes / 2, 1 << 16);
  pinned_ = device::Buffer(device_, device::MemoryKind::kPinned, grown);
  on_device_ = device::Buffer(device_, device::MemoryKind::kDevice, grown);
}

Batch BatchStaging::pack(std::span<const RowInput> rows, int32_t tokens_per_page,
                         int32_t modules_a_layer, device::Stream& stream,
                         std::vector<RowOutput>& out_outputs) {
  sort_rows(rows);
  const Layout layout = measure(rows);
  reserve(layout.bytes);
  uint8_t* const block = pinned_.data();
  auto ints = [block](uint64_t offset) { return reinterpret_cast<int32_t*>(block + offset); };
  int32_t* const token_slot = ints(layout.token_slot);
  int32_t* const token_position = ints(layout.token_position);
  int32_t* const token_page = ints(layout.token_page);
  int32_t* const row_offsets = ints(layout.row_offsets);
  int32_t* const page_table = ints(layout.page_table);
  int32_t* const output_rows = ints(layout.output_rows);
  int32_t* const segment_begin = ints(layout.segment_begin);
  int32_t* const segment_end = ints(layout.segment_end);
  int32_t* const entry_offsets = ints(layout.entry_offsets);
  auto* const entries = reinterpret_cast<kernels::LoraEntry*>(block + layout.entry_list);
  auto* const adapter_refs =
      reinterpret_cast<kernels::LoraAdapterRef*>(block + layout.adapter_refs);
  int32_t* const lora_pages = ints(layout.lora_pages);
  auto* const sample_rows = reinterpret_cast<kernels::SampleRow*>(block + layout.sample_rows);
  int32_t* const bias_tokens = ints(layout.bias_tokens);
  auto* const bias_values = reinterpret_cast<float*>(block + layout.bias_values);

  out_outputs.assign(rows.size(), RowOutput{-1, 0, 0});
  int32_t token = 0, output = 0, sample = 0, bias = 0, segment = -1, entry = 0, lora_page = 0;
  const RowInput* previous = nullptr;
  entry_offsets[0] = 0;
  for (size_t packed = 0; packed < order_.size(); ++packed) {
    const RowInput& row = rows[static_cast<size_t>(order_[packed])];
    RowOutput& result = out_outputs[static_cast<size_t>(order_[packed])];
    row_offsets[packed] = token;
    std::memcpy(page_table + static_cast<int64_t>(packed) * layout.table_stride, row.pages.data(),
                row.pages.size_bytes());

    const bool begins_segment =
        !previous || compare_adapters(previous->adapters, row.adapters) != 0;
    previous = &row;
    if (!row.adapters.empty()) {
      if (begins_segment) {
        segment_begin[++segment] = token;
        for (const AdapterUse& use : row.adapters) {
          entries[entry] = {entry, use.weight, 0, use.max_lora_rank, 0};
          adapter_refs[entry] = {use.modules, lora_page, 0};
          std::memcpy(lora_pages + lora_page, use.pages->data(),
                      use.pages->size() * sizeof(int32_t));
          lora_page += static_cast<int32_t>(use.pages->size());
          ++entry;
        }
        entry_offsets[segment + 1] = entry;
      }
      segment_end[segment] = token + row.num_tokens;
    }

    for (int32_t i = 0; i < row.num_tokens; ++i) {
      const int32_t position = row.first_token + i;
      token_slot[token + i] = row.history_slot;
      token_position[token + i] = position;
      token_page[token + i] = row.pages[static_cast<size_t>(position / tokens_per_page)];
    }
    token += row.num_tokens;

    if (row.wants_logits) {
      result.logits_begin = output;
      result.num_logits = row.num_tokens;
      for (int32_t i = 0; i < row.num_tokens; ++i)
        output_rows[output++] = token - row.num_tokens + i;
    } else if (row.wants_sample) {
      output_rows[output++] = token - 1;
    }
    if (row.wants_sample) {
      result.sample_idx = sample;
      kernels::SampleRow& sampling = sample_rows[sample++];
      sampling = row.sampling;
      sampling.logits_row = output - 1;
      sampling.bias_offset = bias;
      sampling.num_bias = static_cast<int32_t>(row.bias_tokens.size());
      std::copy(row.bias_tokens.begin(), row.bias_tokens.end(), bias_tokens + bias);
      std::copy(row.bias_values.begin(), row.bias_values.end(), bias_values + bias);
      bias += sampling.num_bias;
    }
  }
  row_offsets[rows.size()] = token;
  SLORA_CHECK(token == layout.tokens && output == layout.outputs && entry == layout.entries);

  int64_t t_floats = 0;
  for (int32_t g = 0; g <= segment; ++g) {
    for (int32_t e = entry_offsets[g]; e < entry_offsets[g + 1]; ++e) {
      entries[e].t_offset = t_floats;
      t_floats += int64_t{segment_end[g] - segment_begin[g]} * kernels::kMaxFusedModules *
                  entries[e].t_stride;
    }
  }

  stream.copy(on_device_.data(), block, layout.bytes);
  const uint8_t* const base = on_device_.data();
  auto device_ints = [base](uint64_t offset) {
    return reinterpret_cast<const int32_t*>(base + offset);
  };
  Batch batch{};
  batch.num_tokens = token;
  batch.num_rows = static_cast<int32_t>(rows.size());
  batch.num_outputs = output;
  batch.num_samples = sample;
  batch.outputs_are_all_tokens = output == token;
  batch.token_slot = device_ints(layout.token_slot);
  batch.token_position = device_ints(layout.token_position);
  batch.token_page = device_ints(layout.token_page);
  batch.row_offsets = device_ints(layout.row_offsets);
  batch.page_table = device_ints(layout.page_table);
  batch.page_table_stride = layout.table_stride;
  batch.output_rows = device_ints(layout.output_rows);
  batch.lora.num_segments = segment + 1;
  batch.lora.num_modules = modules_a_layer;
  batch.lora.segment_begin = device_ints(layout.segment_begin);
  batch.lora.segment_end = device_ints(layout.segment_end);
  batch.lora.entry_offsets = device_ints(layout.entry_offsets);
  batch.lora.entries = reinterpret_cast<const kernels::LoraEntry*>(base + layout.entry_list);
  batch.lora.adapters =
      reinterpret_cast<const kernels::LoraAdapterRef*>(base + layout.adapter_refs);
  batch.lora.pages = device_ints(layout.lora_pages);
  batch.lora_t_floats = t_floats;
  batch.sample_rows = reinterpret_cast<const kernels::SampleRow*>(base + layout.sample_rows);
  batch.bias_tokens = device_ints(layout.bias_tokens);
  batch.bias_values = reinterpret_cast<const float*>(base + layout.bias_values);
  return batch;
}

}  // namespace slora::batch
