// Which recorded step serves a batch: few shapes, each a bound on many batches.
#include <algorithm>
#include <bit>
#include <tuple>
#include <vector>

#include "segments.hpp"
#include "slora/batch/batch.hpp"

namespace slora::batch {
namespace {

constexpr int32_t kLeastTableStride = 64;
constexpr int32_t kLeastLongSegments = 8;
// Of a page of 16 tokens: 2,048 tokens.
constexpr int32_t kMostCommonStride = 128;

// Rows are rounded up by at most an eighth beyond eight: a matmul bound by reading W takes hardly
// longer. From some 256 rows on it is bound by arithmetic, and each row counts: by a sixteenth.
int32_t ladder_rows(int32_t rows) {
  int32_t step = 1;
  while (step * (step < 32 ? 8 : 16) < rows) step *= 2;
  return (rows + step - 1) / step * step;
}

int32_t power_of_two_above(int32_t value, int32_t least) {
  while (least < value) least *= 2;
  return least;
}

// Which kinds of segment a batch of one token a row has.
void count_segments(std::span<const RowInput> rows, DecodeShape& shape) {
  std::vector<const RowInput*> sorted;
  for (const RowInput& row : rows) {
    if (!row.adapters.empty()) sorted.push_back(&row);
  }
  std::sort(sorted.begin(), sorted.end(), [](const RowInput* a, const RowInput* b) {
    return compare_adapters(a->adapters, b->adapters) < 0;
  });
  for (size_t begin = 0, end; begin < sorted.size(); begin = end) {
    end = begin + 1;
    while (end < sorted.size() &&
           compare_adapters(sorted[begin]->adapters, sorted[end]->adapters) == 0)
      ++end;
    if (is_short(static_cast<int64_t>(end - begin))) {
      shape.has_pieces = true;
    } else {
      ++shape.long_segments;
    }
  }
  if (shape.long_segments > 0)
    shape.long_segments =
        std::min(power_of_two_above(shape.long_segments, kLeastLongSegments), shape.rows);
}

// Of a batch of adapters: segments of both kinds.
DecodeShape with_adapters(DecodeShape shape, int32_t lora_rank, uint32_t lora_modules) {
  shape.max_lora_rank = lora_rank;
  shape.lora_modules = lora_modules;
  if (shape.rows >= kLeastPieceTokens) {
    shape.has_pieces = true;
    shape.long_segments = std::min(kLeastLongSegments, shape.rows);
  }
  return shape;
}

}  // namespace

bool covers(const DecodeShape& wide, const DecodeShape& shape) {
  return wide.rows == shape.rows && (wide.max_lora_rank > 0) == (shape.max_lora_rank > 0) &&
         wide.table_stride >= shape.table_stride && wide.max_lora_rank >= shape.max_lora_rank &&
         wide.has_epilogue >= shape.has_epilogue &&
         (shape.lora_modules & ~wide.lora_modules) == 0 && wide.has_pieces >= shape.has_pieces &&
         wide.long_segments >= shape.long_segments;
}

bool is_narrower(const DecodeShape& a, const DecodeShape& b) {
  const auto cost = [](const DecodeShape& shape) {
    return std::tuple(std::popcount(shape.lora_modules), shape.has_epilogue, shape.max_lora_rank,
                      shape.table_stride, shape.long_segments, shape.has_pieces);
  };
  return cost(a) < cost(b);
}

std::vector<DecodeShape> common_shapes(int32_t max_rows, int32_t max_pages, uint32_t lora_modules) {
  const int32_t most_stride =
      std::min(power_of_two_above(max_pages, kLeastTableStride), kMostCommonStride);
  std::vector<DecodeShape> shapes;
  for (int32_t stride = kLeastTableStride; stride <= most_stride; stride *= 2) {
    for (const int32_t lora_rank : {0, 16, kMostCommonRank}) {
      for (int32_t rows = 0; rows < max_rows;) {
        DecodeShape shape;
        shape.rows = rows = std::min(ladder_rows(rows + 1), max_rows);
        shape.table_stride = stride;
        shapes.push_back(lora_rank == 0 ? shape : with_adapters(shape, lora_rank, lora_modules));
      }
    }
  }
  return shapes;
}

DecodeShape widest_shape(int32_t max_rows, int32_t max_pages, uint32_t lora_modules) {
  DecodeShape shape;
  shape.rows = max_rows;
  shape.table_stride = power_of_two_above(max_pages, kLeastTableStride);
  return with_adapters(shape, kMostCommonRank, lora_modules);
}

std::optional<DecodeShape> decode_shape(std::span<const RowInput> rows, int32_t max_rows) {
  DecodeShape shape;
  size_t entries = 0, biases = 0;
  int32_t longest = 1;
  for (const RowInput& row : rows) {
    if (row.num_tokens != 1 || !row.wants_sample || row.wants_logits) return std::nullopt;
    longest = std::max(longest, static_cast<int32_t>(row.pages.size()));
    biases += row.bias_tokens.size();
    entries += row.adapters.size();
    for (const AdapterUse& use : row.adapters) {
      if (use.wide) return std::nullopt;
      // Ranks of one octave share a graph.
      shape.max_lora_rank = std::max(shape.max_lora_rank, power_of_two_above(use.max_lora_rank, 8));
      shape.has_epilogue |= use.has_epilogue;
      shape.lora_modules |= use.module_mask;
    }
  }
  shape.rows = std::min(ladder_rows(static_cast<int32_t>(rows.size())), max_rows);
  if (shape.max_lora_rank > 0 && shape.rows >= kLeastPieceTokens) count_segments(rows, shape);
  shape.table_stride = power_of_two_above(longest, kLeastTableStride);
  if (entries > static_cast<size_t>(shape.rows) * kEntriesARow || biases > kMaxShapeBiases)
    return std::nullopt;
  return shape;
}

}  // namespace slora::batch
