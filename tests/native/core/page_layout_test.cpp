// The layout's promises, checked by brute force: rows do not overlap, short rows never straddle,
// nothing is skipped but what a short row could not use.
#include "slora/core/page_layout.hpp"

#include <gtest/gtest.h>

namespace slora::core {
namespace {

int64_t linear(PagePosition position, int64_t page_elems) {
  return position.page * page_elems + position.offset;
}

TEST(PageLayout, RowsFollowEachOtherWithoutOverlapOrStraddling) {
  for (int64_t page_elems : {7, 16, 64, 100}) {
    for (int64_t row_elems = 1; row_elems <= 3 * page_elems; ++row_elems) {
      for (int32_t offset : {0, 3, 6}) {
        const PagePosition begin = run_begin({2, offset}, row_elems, page_elems);
        int64_t free_from = linear({2, offset}, page_elems);
        for (int64_t row = 0; row < 20; ++row) {
          const PagePosition position = row_position(begin, row_elems, row, page_elems);
          const int64_t start = linear(position, page_elems);
          ASSERT_GE(start, free_from);
          ASSERT_LT(position.offset, page_elems);
          if (row_elems <= page_elems) {
            ASSERT_LE(position.offset + row_elems, page_elems) << "a short row straddles";
            ASSERT_LT(start - free_from, row_elems) << "a row that fitted was moved on";
          } else {
            ASSERT_EQ(start, free_from) << "a long row must follow at once";
          }
          free_from = start + row_elems;
          ASSERT_EQ(linear(run_end(begin, row_elems, row + 1, page_elems), page_elems), free_from);
        }
      }
    }
  }
}

}  // namespace
}  // namespace slora::core
