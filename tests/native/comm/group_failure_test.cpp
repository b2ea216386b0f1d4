// What every group does when a rank stalls, leaves, gives up or does something else: it ends in
// time with one line that names the rank, and stays broken.
#include <chrono>

#include "group_test.hpp"
#include "slora/comm/thread_group.hpp"

namespace slora::comm::test {
namespace {

using Clock = std::chrono::steady_clock;
using ::testing::Test;

constexpr int32_t kLimitMs = 300;

std::vector<std::unique_ptr<Group>> impatient_groups(int32_t size) {
  GroupOptions options;
  options.time_limit_ms = kLimitMs;
  return make_thread_groups(size, options);
}

std::string line_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const core::Error& failure) {
    EXPECT_EQ(failure.status(), core::Status::kRankLost);
    return failure.what();
  }
  return "";
}

void sum_ones(Group& group, RankDevice& rank) {
  std::vector<float> data(10, 1.0f);
  group.all_reduce(rank.stream.handle(), data.data(), 10, DType::kF32);
  rank.stream.synchronize();
}

TEST(Failure, AStalledRankIsNamedWhereTheStreamIsWaitedFor) {
  auto groups = impatient_groups(3);
  const auto begin = Clock::now();
  const auto thrown = on_all_ranks(groups, [](Group& group) {
    RankDevice rank;
    sum_ones(group, rank);
    if (group.tp_rank() != 2) sum_ones(group, rank);
  });
  const std::string line =
      "rank 2 of 3 did not come to all_reduce 2 (10 f32) within the time limit of 300 ms";
  EXPECT_EQ(thrown, (std::vector<std::string>{line, line, ""}));
  EXPECT_LT(Clock::now() - begin, std::chrono::milliseconds(10 * kLimitMs));
}

TEST(Failure, AnEventBehindTheCollectiveTellsItToo) {
  auto groups = impatient_groups(2);
  RankDevice rank;
  device::Event event(rank.device);
  std::vector<float> data(10, 1.0f);
  groups[0]->all_reduce(rank.stream.handle(), data.data(), 10, DType::kF32);
  event.record(rank.stream);
  EXPECT_NE(line_of([&] { event.synchronize(); }).find("rank 1 of 2"), std::string::npos);
  // And a stream that waits for that event.
  RankDevice other;
  other.stream.wait(event);
  EXPECT_NE(line_of([&] { other.stream.synchronize(); }).find("rank 1 of 2"), std::string::npos);
}

TEST(Failure, ABrokenGroupFailsAtOnceEverywhere) {
  auto groups = impatient_groups(3);
  groups[1]->abort("no memory left");
  const std::string line = "rank 1 of 3 gave up: no memory left";
  const auto begin = Clock::now();
  for (const auto& group : groups) {
    RankDevice rank;
    std::vector<uint8_t> message;
    EXPECT_EQ(line_of([&] { group->check(); }), line);
    EXPECT_EQ(line_of([&] { sum_ones(*group, rank); }), line);
    EXPECT_EQ(line_of([&] { group->barrier(); }), line);
    EXPECT_EQ(line_of([&] { group->broadcast_message(message, 0); }), line);
    EXPECT_EQ(line_of([&] { group->all_gather_messages(message); }), line);
  }
  EXPECT_LT(Clock::now() - begin, std::chrono::milliseconds(kLimitMs));
}

TEST(Failure, AnAbortWakesWhoWaits) {
  GroupOptions patient;
  patient.time_limit_ms = 60'000;
  auto groups = make_thread_groups(4, patient);
  const auto begin = Clock::now();
  const auto thrown = on_all_ranks(groups, [](Group& group) {
    RankDevice rank;
    std::vector<uint8_t> message;
    switch (group.tp_rank()) {
      case 0:
        return sum_ones(group, rank);
      case 1:
      case 2:
        return group.await_message(message, 3);
      default:
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
        group.abort("told to");
    }
  });
  const std::string line = "rank 3 of 4 gave up: told to";
  EXPECT_EQ(thrown, (std::vector<std::string>{line, line, line, ""}));
  EXPECT_LT(Clock::now() - begin, std::chrono::seconds(5));
}

TEST(Failure, ARankThatDoesNotComeToAMessageIsNamed) {
  for (int kind = 0; kind < 3; ++kind) {
    auto groups = impatient_groups(3);
    const auto thrown = on_all_ranks(groups, [&](Group& group) {
      std::vector<uint8_t> message;
      if (group.tp_rank() == 1) return;
      if (kind == 0) group.barrier();
      if (kind == 1) group.broadcast_message(message, 1);
      if (kind == 2) group.all_gather_messages(message);
    });
    for (const int rank : {0, 2}) {
      EXPECT_EQ(thrown[static_cast<size_t>(rank)].find("rank 1 of 3 did not come to "), 0u)
          << thrown[static_cast<size_t>(rank)];
    }
  }
}

TEST(Failure, AwaitingAMessageHasNoTimeLimit) {
  auto groups = impatient_groups(2);
  const auto thrown = on_all_ranks(groups, [](Group& group) {
    std::vector<uint8_t> message{7};
    if (group.tp_rank() == 0) {
      std::this_thread::sleep_for(std::chrono::milliseconds(2 * kLimitMs));
      group.broadcast_message(message, 0);
    } else {
      message.clear();
      group.await_message(message, 0);
      EXPECT_EQ(message, std::vector<uint8_t>{7});
    }
  });
  EXPECT_EQ(thrown, (std::vector<std::string>{"", ""}));
}

TEST(Failure, WhoStillNeedsARankThatLeftLearnsIt) {
  for (int kind = 0; kind < 3; ++kind) {
    GroupOptions patient;
    patient.time_limit_ms = 60'000;
    auto groups = make_thread_groups(2, patient);
    std::string line;
    std::thread waiting([&, group = groups[0].get()] {
      line = line_of([&] {
        RankDevice rank;
        std::vector<uint8_t> message;
        if (kind == 0) sum_ones(*group, rank);
        if (kind == 1) group->barrier();
        if (kind == 2) group->await_message(message, 1);
      });
    });
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    groups[1].reset();
    waiting.join();
    EXPECT_EQ(line.find("rank 1 of 2 left the group before "), 0u) << line;
  }
}

TEST(Failure, LeavingAfterTheLastOperationIsNone) {
  auto groups = impatient_groups(2);
  RankDevice first, second;
  std::vector<float> a(5, 1.0f), b(5, 2.0f);
  groups[1]->all_reduce(second.stream.handle(), b.data(), 5, DType::kF32);
  groups[1].reset();
  groups[0]->all_reduce(first.stream.handle(), a.data(), 5, DType::kF32);
  first.stream.synchronize();
  second.stream.synchronize();
  EXPECT_EQ(a[4], 3.0f);
  EXPECT_EQ(b[4], 3.0f);
}

TEST(Failure, DifferentOperationsAreToldApart) {
  auto groups = impatient_groups(2);
  const auto thrown = on_all_ranks(groups, [](Group& group) {
    RankDevice rank;
    std::vector<float> data(10);
    const int64_t count = group.tp_rank() == 0 ? 10 : 9;
    group.all_reduce(rank.stream.handle(), data.data(), count, DType::kF32);
    rank.stream.synchronize();
  });
  for (const std::string& line : thrown)
    EXPECT_NE(line.find("came for another operation"), std::string::npos) << line;

  groups = impatient_groups(2);
  const auto messages = on_all_ranks(groups, [](Group& group) {
    std::vector<uint8_t> message;
    if (group.tp_rank() == 0) group.barrier();
    if (group.tp_rank() == 1) group.broadcast_message(message, 0);
  });
  for (const std::string& line : messages)
    EXPECT_NE(line.find(" where others called "), std::string::npos) << line;
}

}  // namespace
}  // namespace slora::comm::test
