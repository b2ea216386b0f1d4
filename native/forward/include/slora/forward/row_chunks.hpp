// How a batch's rows are cut into chunks: from their number alone, so that every rank cuts alike.
#pragma once

#include <algorithm>
#include <cstdint>

namespace slora::forward {

struct RowRange {
  int32_t begin = 0;
  int32_t count = 0;
};

class RowChunks {
 public:
  // More chunks hide little more of a sum (all but the first is hidden), and each costs a launch of
  // the collective and of the matmul.
  static constexpr int32_t kMaxChunks = 4;
  // Chunks begin at multiples of this many rows, so that few tiles of a matmul are cut short.
  static constexpr int32_t kRowStep = 64;

  // All rows are one chunk.
  explicit RowChunks(int32_t num_rows = 0) : num_rows_(num_rows), rows_a_chunk_(num_rows) {}
  // As many chunks of equal length (but for the last, and at most kMaxChunks) as have at least
  // `min_rows` rows on average; one where there are not enough rows for two. 0: one.
  RowChunks(int32_t num_rows, int32_t min_rows) : RowChunks(num_rows) {
    if (min_rows <= 0 || num_rows / min_rows < 2) return;
    const int32_t wanted = std::min(kMaxChunks, num_rows / min_rows);
    const int32_t step = std::min(kRowStep, min_rows);
    rows_a_chunk_ = ((num_rows + wanted - 1) / wanted + step - 1) / step * step;
    count_ = (num_rows + rows_a_chunk_ - 1) / rows_a_chunk_;
  }

  int32_t count() const { return count_; }
  bool are_several() const { return count_ > 1; }
  RowRange operator[](int32_t idx) const {
    const int32_t begin = idx * rows_a_chunk_;
    return {begin, std::min(rows_a_chunk_, num_rows_ - begin)};
  }

 private:
  int32_t num_rows_;
  int32_t rows_a_chunk_;
  int32_t count_ = 1;
};

}  // namespace slora::forward
