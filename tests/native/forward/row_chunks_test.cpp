// Chunks cover the rows once and in order, are as long as asked for, and no more than there may be.
#include "slora/forward/row_chunks.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace slora::forward {
namespace {

std::vector<int32_t> lengths(const RowChunks& chunks) {
  std::vector<int32_t> result;
  for (int32_t i = 0; i < chunks.count(); ++i) result.push_back(chunks[i].count);
  return result;
}

TEST(RowChunks, CoverEveryRowOnceInOrder) {
  for (const int32_t min_rows : {1, 2, 3, 8, 64, 100, 1024, 1 << 30}) {
    for (int32_t num_rows = 1; num_rows < 5000; num_rows += num_rows < 300 ? 1 : 37) {
      const RowChunks chunks(num_rows, min_rows);
      ASSERT_LE(chunks.count(), RowChunks::kMaxChunks);
      int32_t next = 0;
      for (int32_t i = 0; i < chunks.count(); ++i) {
        ASSERT_EQ(chunks[i].begin, next) << num_rows << " rows, " << min_rows;
        ASSERT_GT(chunks[i].count, 0) << num_rows << " rows, " << min_rows;
        next += chunks[i].count;
      }
      ASSERT_EQ(next, num_rows);
    }
  }
}

TEST(RowChunks, AreSeveralFromTwiceTheLeastOn) {
  EXPECT_EQ(lengths(RowChunks(8192, 1024)), (std::vector<int32_t>{2048, 2048, 2048, 2048}));
  EXPECT_EQ(lengths(RowChunks(4096, 1024)), (std::vector<int32_t>{1024, 1024, 1024, 1024}));
  EXPECT_EQ(lengths(RowChunks(3072, 1024)), (std::vector<int32_t>{1024, 1024, 1024}));
  EXPECT_EQ(lengths(RowChunks(2048, 1024)), (std::vector<int32_t>{1024, 1024}));
  EXPECT_EQ(lengths(RowChunks(2047, 1024)), (std::vector<int32_t>{2047}));
  // Rounded up to 64 rows, so that the last is shorter.
  EXPECT_EQ(lengths(RowChunks(2100, 1024)), (std::vector<int32_t>{1088, 1012}));
  EXPECT_EQ(lengths(RowChunks(20, 8)), (std::vector<int32_t>{16, 4}));
  EXPECT_EQ(lengths(RowChunks(5, 1)), (std::vector<int32_t>{2, 2, 1}));
}

TEST(RowChunks, AreOneWhereNoneAreAskedFor) {
  EXPECT_EQ(lengths(RowChunks(8192, 0)), std::vector<int32_t>{8192});
  EXPECT_EQ(lengths(RowChunks(8192)), std::vector<int32_t>{8192});
  EXPECT_FALSE(RowChunks(8192).are_several());
}

}  // namespace
}  // namespace slora::forward
