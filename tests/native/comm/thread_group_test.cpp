// Ranks as threads: every operation against plain references, for all dtypes, odd sizes and group
// sizes.
#include "slora/comm/thread_group.hpp"

#include <atomic>

#include "group_test.hpp"

namespace slora::comm::test {
namespace {

class ThreadGroups : public ::testing::TestWithParam<int32_t> {};

TEST_P(ThreadGroups, SumAllSizesOfAllDtypes) {
  // Around the edges of what a rank sums alone (8192) and of a piece (4096 bytes here).
  GroupOptions options;
  options.piece_bytes = 64 << 10;
  auto groups = make_thread_groups(GetParam(), options);
  const auto thrown = on_all_ranks(groups, [&](Group& group) {
    RankDevice rank;
    uint32_t number = 0;
    for (const int64_t count : {0, 1, 2, 3, 5, 511, 513, 8191, 8192, 8193, 16385, 32771, 100003}) {
      for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
        std::vector<uint8_t> data = stored(operand(1, ++number, group.tp_rank(), count), dtype);
        group.all_reduce(rank.stream.handle(), data.data(), count, dtype);
        rank.stream.synchronize();
        ASSERT_NO_FATAL_FAILURE(expect_sum(data, 1, number, GetParam(), count, dtype));
      }
    }
  });
  for (const std::string& line : thrown) EXPECT_EQ(line, "");
}

TEST_P(ThreadGroups, RunTwoThousandRandomOperations) {
  for (const uint64_t piece_bytes : {64u, 1000u, 1u << 20}) {
    GroupOptions options;
    options.piece_bytes = piece_bytes;
    auto groups = make_thread_groups(GetParam(), options);
    const auto thrown = on_all_ranks(groups, [&](Group& group) {
      RankDevice rank;
      run_random_program(group, rank, static_cast<uint32_t>(piece_bytes),
                         piece_bytes == 64 ? 200 : 2000);
    });
    for (const std::string& line : thrown) EXPECT_EQ(line, "");
  }
}

TEST_P(ThreadGroups, GiveTheSameBitsWhateverThePieces) {
  std::vector<std::vector<uint8_t>> results;
  for (const uint64_t piece_bytes : {64u, 4096u, 1u << 20}) {
    GroupOptions options;
    options.piece_bytes = piece_bytes;
    auto groups = make_thread_groups(GetParam(), options);
    std::vector<std::vector<uint8_t>> by_rank(groups.size());
    on_all_ranks(groups, [&](Group& group) {
      RankDevice rank;
      auto& data = by_rank[static_cast<size_t>(group.tp_rank())];
      data = stored(operand(5, 0, group.tp_rank(), 20011), DType::kF32);
      group.all_reduce(rank.stream.handle(), data.data(), 20011, DType::kF32);
      rank.stream.synchronize();
    });
    results.insert(results.end(), by_rank.begin(), by_rank.end());
  }
  // Added one after another, as a reader would write it.
  std::vector<float> want = operand(5, 0, 0, 20011);
  for (int32_t rank = 1; rank < GetParam(); ++rank) {
    const std::vector<float> next = operand(5, 0, rank, 20011);
    for (size_t i = 0; i < want.size(); ++i) want[i] += next[i];
  }
  for (const auto& result : results) EXPECT_TRUE(result == stored(want, DType::kF32));
}

TEST_P(ThreadGroups, EnqueueWithoutWaitingForTheOthers) {
  auto groups = make_thread_groups(GetParam());
  std::atomic<int32_t> num_enqueued{0};
  const auto thrown = on_all_ranks(groups, [&](Group& group) {
    RankDevice rank;
    std::vector<float> data(100, 1.0f);
    for (int i = 0; i < 20; ++i)
      group.all_reduce(rank.stream.handle(), data.data(), 100, DType::kF32);
    // Each rank gets here although no rank has begun to wait for its stream.
    num_enqueued.fetch_add(1);
    while (num_enqueued.load() < group.size()) std::this_thread::yield();
    rank.stream.synchronize();
    EXPECT_EQ(data[99], static_cast<float>(std::pow(group.size(), 20)));
  });
  for (const std::string& line : thrown) EXPECT_EQ(line, "");
}

INSTANTIATE_TEST_SUITE_P(Sizes, ThreadGroups, ::testing::Values(1, 2, 3, 4, 5));

TEST(SoloGroup, ChangesNothing) {
  const std::unique_ptr<Group> group = make_solo_group(*device::host_device_api());
  RankDevice rank;
  run_random_program(*group, rank, 3, 500);
}

TEST(GroupOptions, OutsideTheirLimitsAreRefused) {
  const auto message_of = [](int32_t size, GroupOptions options) {
    try {
      make_thread_groups(size, options);
    } catch (const core::Error& failure) {
      EXPECT_EQ(failure.status(), core::Status::kInvalidArgument);
      return std::string(failure.what());
    }
    return std::string("accepted");
  };
  EXPECT_EQ(message_of(0, {}), "the tensor-parallel size is 0, the limit is 1..64");
  EXPECT_EQ(message_of(65, {}), "the tensor-parallel size is 65, the limit is 1..64");
  EXPECT_EQ(message_of(2, {0, 64}), "the time limit of a group is 0 ms, the limit is 1..86400000");
  EXPECT_EQ(message_of(2, {1, 0}), "piece_bytes is 0, the limit is 1..1073741824");
}

}  // namespace
}  // namespace slora::comm::test
