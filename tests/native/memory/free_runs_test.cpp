// Free runs against a plain array of flags.
#include "slora/memory/free_runs.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "slora/core/status.hpp"
#include "slora/memory/page_pool.hpp"

namespace slora::memory {
namespace {

// The plainest answer to each question.
struct Flags {
  explicit Flags(int32_t num_pages) : free(static_cast<size_t>(num_pages), true) {}
  int32_t size() const { return static_cast<int32_t>(free.size()); }
  bool is_free(int32_t page) const { return free[static_cast<size_t>(page)]; }
  int32_t run_at(int32_t begin) const {
    int32_t length = 0;
    while (begin + length < size() && is_free(begin + length)) ++length;
    return length;
  }
  int32_t longest() const {
    int32_t best = 0;
    for (int32_t page = 0; page < size(); ++page) best = std::max(best, run_at(page));
    return best;
  }
  int32_t lowest() const {
    int32_t page = 0;
    while (!is_free(page)) ++page;
    return page;
  }
  int32_t highest_run(int32_t count) const {
    int32_t begin = size() - count;
    while (run_at(begin) < count) --begin;
    return begin;
  }
  void set(int32_t begin, int32_t count, bool value) {
    for (int32_t i = 0; i < count; ++i) free[static_cast<size_t>(begin + i)] = value;
  }
  std::vector<bool> free;
};

TEST(FreeRuns, AnswersAsAnArrayOfFlagsDoes) {
  std::mt19937 random(31103285);
  for (const int32_t num_pages : {1, 2, 3, 8, 61, 64, 200}) {
    FreeRuns runs(num_pages);
    Flags flags(num_pages);
    for (int step = 0; step < 4000; ++step) {
      const auto page = static_cast<int32_t>(random() % static_cast<uint32_t>(num_pages));
      const int32_t longest = flags.longest();
      ASSERT_EQ(runs.longest(), longest);
      if (random() % 2 && !flags.is_free(page)) {
        runs.put(page);
        flags.set(page, 1, true);
      } else if (longest > 0 && random() % 3 == 0) {
        const int32_t expected = flags.lowest();
        ASSERT_EQ(runs.take_lowest(), expected);
        flags.set(expected, 1, false);
      } else if (longest > 0) {
        const auto count = 1 + static_cast<int32_t>(random() % static_cast<uint32_t>(longest));
        const int32_t expected = flags.highest_run(count);
        ASSERT_EQ(runs.take_run(count), expected);
        flags.set(expected, count, false);
      }
      ASSERT_TRUE(runs.is_consistent());
    }
    for (int32_t page = 0; page < num_pages; ++page)
      ASSERT_EQ(runs.is_free(page), flags.is_free(page));
  }
}

TEST(FreeRuns, RefusesWhatIsNotThere) {
  FreeRuns runs(5);
  EXPECT_THROW(runs.take_run(6), core::Error);
  EXPECT_THROW(runs.take_run(0), core::Error);
  EXPECT_THROW(runs.put(2), core::Error);
  EXPECT_EQ(runs.take_run(5), 0);
  EXPECT_THROW(runs.take_lowest(), core::Error);
}

int32_t num_runs(const std::vector<int32_t>& pages) {
  int32_t runs = pages.empty() ? 0 : 1;
  for (size_t i = 1; i < pages.size(); ++i) runs += pages[i] != pages[i - 1] + 1;
  return runs;
}

TEST(PagePool, GivesAdaptersRunsAndKvTheOtherEnd) {
  PagePool pool(32);
  std::vector<int32_t> kv(8), adapter(16);
  ASSERT_TRUE(pool.try_acquire(PageOwner::kKv, kv));
  ASSERT_TRUE(pool.try_acquire(PageOwner::kAdapter, adapter));
  EXPECT_EQ(kv.front(), 0);
  EXPECT_EQ(kv.back(), 7);
  EXPECT_EQ(adapter.front(), 16);
  EXPECT_EQ(num_runs(adapter), 1);
  // Holes of one page at 0, 2, 4, 6 and the run 8..15: ten pages take the run and two holes.
  for (int32_t page : {0, 2, 4, 6}) pool.release(page);
  std::vector<int32_t> scattered(10);
  ASSERT_TRUE(pool.try_acquire(PageOwner::kAdapter, scattered));
  EXPECT_TRUE(std::is_sorted(scattered.begin(), scattered.end()));
  EXPECT_EQ(num_runs(scattered), 3);
}

}  // namespace
}  // namespace slora::memory
