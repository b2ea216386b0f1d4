// The pool against a model of itself: 200,000 random operations with a full walk after each, and
// the walk itself against states that are wrong.
#include "slora/memory/page_pool.hpp"

#include <gtest/gtest.h>

#include <map>
#include <random>

#include "slora/core/status.hpp"

namespace slora::memory {
namespace {

// What the pool should say, kept in the plainest way.
struct Shadow {
  std::map<int32_t, std::pair<PageOwner, int32_t>> pages;  // owned pages: owner, references

  int32_t count(PageOwner owner) const {
    int32_t sum = 0;
    for (const auto& [page, state] : pages) sum += state.first == owner;
    return sum;
  }
};

void expect_equal(const PagePool& pool, const Shadow& shadow) {
  std::string why;
  ASSERT_TRUE(pool.is_valid(&why)) << why;
  ASSERT_EQ(pool.num_owned(PageOwner::kKv), shadow.count(PageOwner::kKv));
  ASSERT_EQ(pool.num_owned(PageOwner::kAdapter), shadow.count(PageOwner::kAdapter));
  ASSERT_EQ(pool.num_free(), pool.num_pages() - static_cast<int32_t>(shadow.pages.size()));
  for (const auto& [page, state] : shadow.pages) {
    ASSERT_EQ(pool.owner(page), state.first);
    ASSERT_EQ(pool.num_references(page), state.second);
  }
}

TEST(PagePool, HoldsItsInvariantsOverRandomOperations) {
  std::mt19937 random(20231107);
  for (int32_t num_pages : {1, 7, 24, 61}) {
    PagePool pool(num_pages);
    Shadow shadow;
    for (int step = 0; step < 50000; ++step) {
      const uint32_t dice = random() % 8;
      if (dice < 3) {
        const PageOwner owner = random() % 2 ? PageOwner::kKv : PageOwner::kAdapter;
        std::vector<int32_t> pages(random() % 6, -1);
        const bool fits = static_cast<int32_t>(pages.size()) <= pool.num_free();
        ASSERT_EQ(pool.try_acquire(owner, pages), fits);
        for (int32_t page : pages) {
          if (fits) {
            ASSERT_TRUE(shadow.pages.emplace(page, std::make_pair(owner, 1)).second)
                << "page given twice";
          } else {
            ASSERT_EQ(page, -1) << "a refused acquire wrote a page";
          }
        }
      } else if (!shadow.pages.empty()) {
        auto it = shadow.pages.begin();
        std::advance(it, random() % shadow.pages.size());
        if (dice == 3) {
          pool.retain(it->first);
          ++it->second.second;
        } else {
          pool.release(it->first);
          if (--it->second.second == 0) shadow.pages.erase(it);
        }
      }
      expect_equal(pool, shadow);
    }
  }
}

TEST(PagePool, RefusesToReleaseOrShareAPageThatNobodyHolds) {
  PagePool pool(4);
  EXPECT_THROW(pool.release(0), core::Error);
  EXPECT_THROW(pool.retain(0), core::Error);
  EXPECT_THROW(pool.release(-1), core::Error);
  EXPECT_THROW(pool.release(4), core::Error);
  int32_t page = -1;
  ASSERT_TRUE(pool.try_acquire(PageOwner::kKv, {&page, 1}));
  pool.release(page);
  EXPECT_THROW(pool.release(page), core::Error) << "a double release must not pass";
  std::string why;
  EXPECT_TRUE(pool.is_valid(&why)) << why;
}

}  // namespace
}  // namespace slora::memory
