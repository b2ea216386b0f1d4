// Which recorded step serves a batch: few shapes, each a bound on many batches.
#include <algorithm>
#include <vector>

#include "segments.hpp"
#include "slora/batch/batch.hpp"

namespace slora::batch {
namespace {

// Rows are rounded up by at most an eighth beyond eight: a matmul's time grows by less.
int32_t ladder_rows(int32_t rows) {
  int32_t step = 1;
  while (step * 8 < rows) step *= 2;
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
    shape.long_segments = std::min(power_of_two_above(shape.long_segments, 8), shape.rows);
}

}  // namespace

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
  shape.table_stride = power_of_two_above(longest, 64);
  if (entries > static_cast<size_t>(shape.rows) * kEntriesARow || biases > kMaxShapeBiases)
    return std::nullopt;
  return shape;
}

}  // namespace slora::batch
