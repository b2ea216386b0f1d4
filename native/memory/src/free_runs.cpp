// Descends the tree to find, then marks leaves and joins their ancestors again, level by level.
#include "slora/memory/free_runs.hpp"

#include <algorithm>
#include <bit>

#include "slora/core/check.hpp"

namespace slora::memory {

FreeRuns::FreeRuns(int32_t num_pages)
    : num_leaves_(std::bit_ceil(static_cast<size_t>(std::max(num_pages, 1)))),
      num_free_(0),
      nodes_(2 * num_leaves_) {
  if (num_pages > 0) mark(0, num_pages, true);
}

FreeRuns::Node FreeRuns::joined(const Node& left, const Node& right, int32_t half) {
  return {left.first == half ? half + right.first : left.first,
          right.last == half ? half + left.last : right.last,
          std::max({left.longest, right.longest, left.last + right.first})};
}

void FreeRuns::mark(int32_t begin, int32_t count, bool is_free) {
  const int32_t value = is_free ? 1 : 0;
  size_t low = leaf(begin), high = leaf(begin + count - 1);
  for (size_t i = low; i <= high; ++i) {
    SLORA_CHECK(nodes_[i].longest != value);
    nodes_[i] = {value, value, value};
  }
  num_free_ += is_free ? count : -count;
  for (int32_t half = 1; low > 1; half *= 2) {
    low /= 2;
    high /= 2;
    for (size_t i = low; i <= high; ++i)
      nodes_[i] = joined(nodes_[2 * i], nodes_[2 * i + 1], half);
  }
}

int32_t FreeRuns::take_lowest() {
  SLORA_CHECK(num_free_ > 0);
  size_t i = 1;
  while (i < num_leaves_) i = nodes_[2 * i].longest > 0 ? 2 * i : 2 * i + 1;
  const auto page = static_cast<int32_t>(i - num_leaves_);
  mark(page, 1, false);
  return page;
}

int32_t FreeRuns::take_run(int32_t count) {
  SLORA_CHECK(count >= 1 && count <= longest());
  size_t i = 1;
  int32_t begin = 0;
  auto size = static_cast<int32_t>(num_leaves_);
  for (;;) {
    // Of one page: the leaf itself, whose left half is nothing.
    if (size == 1) break;
    const Node& left = nodes_[2 * i];
    const Node& right = nodes_[2 * i + 1];
    size /= 2;
    if (right.longest >= count) {
      i = 2 * i + 1;
      begin += size;
    } else if (left.last + right.first >= count) {
      begin += size + right.first - count;
      break;
    } else {
      i = 2 * i;
    }
  }
  mark(begin, count, false);
  return begin;
}

void FreeRuns::put(int32_t page) { mark(page, 1, true); }

bool FreeRuns::is_consistent() const {
  int32_t half = static_cast<int32_t>(num_leaves_) / 2;
  for (size_t level = 1; level < num_leaves_; level *= 2, half /= 2) {
    for (size_t i = level; i < 2 * level; ++i)
      if (!(nodes_[i] == joined(nodes_[2 * i], nodes_[2 * i + 1], half))) return false;
  }
  return true;
}

}  // namespace slora::memory
