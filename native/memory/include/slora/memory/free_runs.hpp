// Which pages are free, by runs of neighbours: a tree whose every node knows the free run at its
// two ends and the longest inside. Taking or returning a page costs O(log pages), a run of n pages
// O(n + log pages), without allocation.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace slora::memory {

class FreeRuns {
 public:
  // All free.
  explicit FreeRuns(int32_t num_pages);

  int32_t num_free() const { return num_free_; }
  // Pages of the longest free run; 0 if none is free.
  int32_t longest() const { return nodes_[1].longest; }
  bool is_free(int32_t page) const { return nodes_[leaf(page)].longest == 1; }

  // The lowest free page. At least one must be free.
  int32_t take_lowest();
  // The first page of `count` free neighbours, those with the highest ids; `count` must be in
  // 1..longest().
  int32_t take_run(int32_t count);
  // Takes one free page.
  void take(int32_t page) { mark(page, 1, false); }
  // Gives back a page that is not free.
  void put(int32_t page);

  // Every node says what its children say.
  bool is_consistent() const;

 private:
  struct Node {
    int32_t first = 0;    // free pages from the left end on
    int32_t last = 0;     // up to the right end
    int32_t longest = 0;  // anywhere
    bool operator==(const Node&) const = default;
  };

  size_t leaf(int32_t page) const { return num_leaves_ + static_cast<size_t>(page); }
  static Node joined(const Node& left, const Node& right, int32_t half);
  void mark(int32_t begin, int32_t count, bool is_free);

  size_t num_leaves_;  // a power of two; leaves past num_pages are never free
  int32_t num_free_;
  std::vector<Node>
      nodes_;  // [2 * num_leaves_], the root is 1, the children of i are 2i and 2i + 1
};

}  // namespace slora::memory
