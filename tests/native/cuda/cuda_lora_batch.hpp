// A LoRA batch of a CUDA test as the kernels' tables name it: adapters of given ranks in pages,
// segments of rows, the pieces of short segments, and the bounds that shape launches.
#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include "cuda_test.hpp"

namespace slora::kernels {

inline constexpr int32_t kLayers = 2;
inline constexpr int32_t kLayer = 1;

// Modules that share an input of in_dim and have out_dims of their own.
struct Geometry {
  int64_t in_dim;
  std::vector<int64_t> out_dims;
  int64_t page_elems;
};

// ranks[adapter][module]
using Ranks = std::vector<std::vector<int32_t>>;

struct Segment {
  int32_t gap;  // rows before it that belong to no segment
  int32_t rows;
  std::vector<std::pair<int32_t, float>> entries;  // adapter, weight
};

// What launches are shaped by; more than the batch needs where a graph covers others.
struct Bounds {
  int32_t num_segments = 0;
  int32_t num_tokens = 0;
  int32_t max_segment_tokens = 0;
  int32_t max_lora_rank = 0;
};

// The tables of one batch on the host.
struct Tables {
  std::vector<int32_t> begin, end, entry_offsets;
  std::vector<LoraEntry> entries;
  // Of short segments, if the batch has pieces.
  std::vector<LoraPiece> shrink_pieces, expand_pieces;
  int32_t num_long_segments = -1, num_long_tokens = 0;
  int32_t num_tokens = 0;
  int64_t t_floats = 0;
  Bounds bounds;
};

// Adapters packed into shuffled pages, on the host and on the device.
struct Adapters {
  Geometry geometry;
  DType dtype;
  Ranks ranks;
  std::vector<std::vector<core::LoraModule>> modules;
  std::vector<LoraAdapterRef> refs, device_refs;
  std::vector<int32_t> pages;
  std::vector<uint8_t> slice;
  std::vector<device::Buffer> device_modules;
  device::Buffer on_device_refs, device_pages, device_slice;
  int64_t width = 0;
};

// An adapter's modules of all layers, run after run as the packer lays them; returns its pages.
inline int32_t layout(const Geometry& geometry, const std::vector<int32_t>& ranks,
                      std::vector<core::LoraModule>& modules) {
  core::PagePosition cursor{0, 0};
  const auto place = [&](int64_t row_elems, int32_t rank) {
    const core::PagePosition begin = core::run_begin(cursor, row_elems, geometry.page_elems);
    cursor = core::run_end(begin, row_elems, rank, geometry.page_elems);
    return begin;
  };
  for (int32_t layer = 0; layer < kLayers; ++layer) {
    for (size_t j = 0; j < geometry.out_dims.size(); ++j) {
      core::LoraModule module{ranks[j], 0.5f + static_cast<float>(j), {0, 0}, {0, 0}};
      if (ranks[j] > 0) {
        module.a = place(geometry.in_dim, ranks[j]);
        module.b = place(geometry.out_dims[j], ranks[j]);
      }
      modules.push_back(module);
    }
  }
  return cursor.page + 1;
}

inline int32_t largest_rank(const Adapters& adapters, int32_t adapter) {
  const std::vector<int32_t>& ranks = adapters.ranks[static_cast<size_t>(adapter)];
  return *std::max_element(ranks.begin(), ranks.end());
}

// The tables of the segments, one after another, with `rows_after` rows of no segment behind them.
inline Tables tables_of(const Adapters& adapters, const std::vector<Segment>& segments,
                        int32_t rows_after, Bounds bounds = {}) {
  Tables tables;
  tables.bounds = bounds;
  tables.entry_offsets.push_back(0);
  const auto num_fused = static_cast<int64_t>(adapters.geometry.out_dims.size());
  int32_t row = 0;
  for (const Segment& segment : segments) {
    row += segment.gap;
    tables.begin.push_back(row);
    row += segment.rows;
    tables.end.push_back(row);
    tables.bounds.max_segment_tokens = std::max(tables.bounds.max_segment_tokens, segment.rows);
    for (const auto& [adapter, weight] : segment.entries) {
      const int32_t largest = largest_rank(adapters, adapter);
      tables.entries.push_back({adapter, weight, tables.t_floats, largest, 0});
      tables.t_floats += num_fused * segment.rows * largest;
      tables.bounds.max_lora_rank = std::max(tables.bounds.max_lora_rank, largest);
    }
    tables.entry_offsets.push_back(static_cast<int32_t>(tables.entries.size()));
  }
  tables.num_tokens = row + rows_after;
  tables.bounds.num_tokens = std::max(tables.bounds.num_tokens, tables.num_tokens);
  // Segments past the batch's own are empty.
  while (static_cast<int32_t>(tables.begin.size()) < tables.bounds.num_segments) {
    tables.begin.push_back(tables.num_tokens);
    tables.end.push_back(tables.num_tokens);
    tables.entry_offsets.push_back(tables.entry_offsets.back());
  }
  tables.bounds.num_segments = static_cast<int32_t>(tables.begin.size());
  return tables;
}

// Adds the pieces of segments of few rows; knows_long: segments of more rows come first, and how
// many there are is told.
inline void add_pieces(const Adapters& adapters, Tables& tables, bool knows_long) {
  if (knows_long) tables.num_long_segments = 0;
  for (size_t g = 0; g < tables.begin.size(); ++g) {
    const int32_t rows = tables.end[g] - tables.begin[g];
    if (rows == 0) continue;
    if (rows > kPieceTokens) {
      if (!knows_long) continue;
      ASSERT_EQ(tables.num_long_segments++, static_cast<int32_t>(g));
      tables.num_long_tokens = tables.end[g];
      continue;
    }
    for (int32_t e = tables.entry_offsets[g]; e < tables.entry_offsets[g + 1]; ++e) {
      const LoraEntry& entry = tables.entries[static_cast<size_t>(e)];
      const LoraAdapterRef& ref = adapters.device_refs[static_cast<size_t>(entry.adapter_idx)];
      LoraPiece piece{ref.modules,
                      entry.t_offset,
                      ref.page_offset,
                      entry.t_stride,
                      entry.weight,
                      tables.begin[g],
                      rows,
                      0,
                      e,
                      e + 1};
      for (; piece.rank_begin < entry.t_stride; piece.rank_begin += kPieceRanks)
        tables.shrink_pieces.push_back(piece);
      if (e > tables.entry_offsets[g]) continue;
      piece.rank_begin = 0;
      piece.entry_end = tables.entry_offsets[g + 1];
      tables.expand_pieces.push_back(piece);
    }
  }
}

inline bool is_in_segment(const Tables& tables, int32_t row) {
  for (size_t g = 0; g < tables.begin.size(); ++g) {
    if (row >= tables.begin[g] && row < tables.end[g]) return true;
  }
  return false;
}

// Ranks of six adapters of up to three modules.
inline const Ranks kMixed = {{1, 3, 8},    {16, 0, 13}, {64, 64, 64},
                             {128, 33, 5}, {0, 0, 0},   {8, 8, 8}};

inline std::vector<int64_t> first_of(const std::vector<int64_t>& dims, int32_t count) {
  return {dims.begin(), dims.begin() + count};
}

inline Ranks first_of(const Ranks& ranks, int32_t count) {
  Ranks cut;
  for (const std::vector<int32_t>& rank : ranks)
    cut.push_back({rank.begin(), rank.begin() + count});
  return cut;
}

}  // namespace slora::kernels
