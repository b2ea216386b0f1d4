// The counts, against numbers worked out by hand from the ring formulas.
#include "slora/comm/recording_group.hpp"

#include "group_test.hpp"
#include "slora/comm/thread_group.hpp"

namespace slora::comm::test {
namespace {

TEST(RecordingGroup, CountsByTheRingFormulas) {
  auto inner = make_thread_groups(4);
  std::vector<std::unique_ptr<Group>> groups;
  for (auto& group : inner) groups.push_back(std::make_unique<RecordingGroup>(std::move(group)));
  std::vector<GroupTraffic> traffic(4);
  const auto thrown = on_all_ranks(groups, [&](Group& group) {
    RankDevice rank;
    std::vector<float> data(1000, 1.0f), gathered(4000);
    void* const stream = rank.stream.handle();
    group.all_reduce(stream, data.data(), 1000, DType::kF32);
    group.all_reduce(stream, data.data(), 600, DType::kBF16);
    group.all_gather(stream, data.data(), gathered.data(), 4000);
    group.broadcast(stream, data.data(), 800, 1);
    std::vector<uint8_t> message(10);
    group.broadcast_message(message, 2);
    group.barrier();
    rank.stream.synchronize();
    EXPECT_EQ(gathered[3999], 4.0f);  // the inner group did the work
    traffic[static_cast<size_t>(group.tp_rank())] = static_cast<RecordingGroup&>(group).traffic();
  });
  for (const std::string& line : thrown) EXPECT_EQ(line, "");
  for (size_t rank = 0; rank < 4; ++rank) {
    const GroupTraffic& seen = traffic[rank];
    EXPECT_EQ(seen.all_reduce.calls, 2u);
    EXPECT_EQ(seen.all_reduce.elements, 1600u);
    EXPECT_EQ(seen.all_reduce.bytes, 5200u);
    EXPECT_EQ(seen.all_reduce.sent_bytes, 7800u);  // 2 * 3/4 * 5200
    EXPECT_EQ(seen.all_gather.calls, 1u);
    EXPECT_EQ(seen.all_gather.sent_bytes, 12000u);  // 3 * 4000
    EXPECT_EQ(seen.broadcast.sent_bytes, 600u);     // 3/4 * 800
    EXPECT_EQ(seen.messages.calls, 2u);
    EXPECT_EQ(seen.messages.bytes, rank == 2 ? 10u : 0u);
  }
  auto& first = static_cast<RecordingGroup&>(*groups[0]);
  first.reset();
  EXPECT_EQ(first.traffic().all_reduce.calls, 0u);
  EXPECT_EQ(first.traffic().messages.calls, 0u);
}

}  // namespace
}  // namespace slora::comm::test
