// Ranks that are lost or that disagree: one clear error in time, on every rank, and nothing hangs.
#include <atomic>
#include <chrono>

#include "command.hpp"
#include "rank_answer.hpp"
#include "rank_group.hpp"

namespace slora::engine::test {
namespace {

using core::Status;
using model::LoraSharding;

ModelOptions tiny_model(int32_t tp_size) {
  return host_model("tiny-models/llama-mha", tp_size, LoraSharding::kAligned);
}

// The status and message of what `body` throws.
template <typename Body>
core::Error failure_of(Body&& body) {
  try {
    body();
  } catch (const core::Error& failure) {
    return failure;
  }
  return core::Error(Status::kOk, "nothing failed");
}

// Steps until one fails.
core::Error run_until_failure(RankGroup& ranks) {
  return failure_of([&] {
    ranks.create(1, {1, 2, 3});
    for (uint32_t token = 0;; ++token)
      ranks.step({{1, token == 0 ? 3u : 1u, token == 0 ? 0 : token + 2, true, false}});
  });
}

TEST(Followers, ARankThatGivesUpPoisonsTheEngineAndIsNamed) {
  RankGroup ranks(tiny_model(2), small_engine(), [](Engine&, comm::Group& group) {
    std::vector<uint8_t> message;
    for (int i = 0; i < 2; ++i) group.await_message(message, 0);  // a sequence and its step
    core::fail(Status::kInternal, "the card fell out");
  });
  const core::Error failure = run_until_failure(ranks);
  EXPECT_EQ(failure.status(), Status::kRankLost);
  EXPECT_NE(std::string(failure.what()).find("rank 1"), std::string::npos) << failure.what();
  EXPECT_NE(std::string(failure.what()).find("the card fell out"), std::string::npos)
      << failure.what();
  const core::Error later = failure_of([&] { ranks.create(2, {1}); });
  EXPECT_EQ(later.status(), Status::kRankLost);
}

TEST(Followers, ARankThatStallsIsLostWithinTheTimeLimit) {
  comm::GroupOptions limits;
  limits.time_limit_ms = 300;
  std::atomic<bool> may_end{false};
  RankGroup ranks(
      tiny_model(2), small_engine(),
      [&may_end](Engine&, comm::Group&) {
        while (!may_end.load()) std::this_thread::sleep_for(std::chrono::milliseconds(5));
      },
      limits);
  const auto begin = std::chrono::steady_clock::now();
  const core::Error failure = run_until_failure(ranks);
  const auto taken = std::chrono::steady_clock::now() - begin;
  may_end.store(true);
  EXPECT_EQ(failure.status(), Status::kRankLost);
  EXPECT_NE(std::string(failure.what()).find("rank 1"), std::string::npos) << failure.what();
  EXPECT_LT(taken, std::chrono::seconds(10));
}

// The step that fails is not the last in flight; the one after it uses what goes with the engine.
// Seen by the sanitizers.
TEST(Followers, StepsInFlightEndBeforeTheirEngine) {
  RankGroup ranks(tiny_model(2), small_engine(), [](Engine&, comm::Group& group) {
    std::vector<uint8_t> message;
    for (int i = 0; i < 3; ++i) group.await_message(message, 0);  // a sequence and two steps
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    core::fail(Status::kInternal, "the card fell out");
  });
  ranks.create(1, {1, 2, 3});
  EXPECT_EQ(ranks.engine->submit(std::vector<PlanRow>{{1, 3, 0, true, false}}, {}), Status::kOk);
  EXPECT_EQ(ranks.engine->submit(std::vector<PlanRow>{{1, 1, 3, true, false}}, {}), Status::kOk);
  ranks.engine.reset();
}

// A rank that does not make the changes that rank 0 makes says so, with both answers.
TEST(Followers, ARankThatDisagreesIsFatalAndNamesBoth) {
  RankGroup ranks(tiny_model(2), small_engine(), [](Engine& engine, comm::Group& group) {
    // A sequence that rank 0 does not know of.
    const std::vector<int32_t> prompt = {1, 2, 3};
    SequenceOptions options;
    options.sequence_id = 99;
    options.prompt_tokens = prompt.data();
    options.num_prompt_tokens = 3;
    engine.create_sequence(options);
    follow(engine, group);
  });
  const core::Error failure = failure_of([&] {
    ranks.create(99, {4, 5, 6});
    for (;;) ranks.step({{99, 3, 0, true, false}});
  });
  EXPECT_TRUE(failure.status() == Status::kRankLost || failure.status() == Status::kInternal);
  ranks.engine.reset();
  ranks.join();
  EXPECT_NE(ranks.failure_of_rank_1.find("sequence 99 exists already"), std::string::npos)
      << ranks.failure_of_rank_1;
}

TEST(Followers, PoolsThatDifferAreFatalAndNameBoth) {
  RankGroup ranks(tiny_model(2), small_engine());
  ranks.create(1, {1, 2, 3});
  // Rank 1's pool is full; a message says that rank 0's is not.
  Command submit{.kind = CommandKind::kSubmit};
  submit.rows = {{1, 3, 0, true, false}};
  submit.free_pages = 7;
  std::vector<uint8_t> message = encode(submit);
  ranks.group->broadcast_message(message, 0);
  const core::Error failure = failure_of([&] {
    for (;;) ranks.step({{1, 3, 0, true, false}});
  });
  EXPECT_EQ(failure.status(), Status::kRankLost);
  ranks.engine.reset();
  ranks.join();
  EXPECT_NE(ranks.failure_of_rank_1.find("free pages where rank 0 has 7"), std::string::npos)
      << ranks.failure_of_rank_1;
  EXPECT_NE(ranks.failure_of_rank_1.find("rank 1 of 2"), std::string::npos);
}

// An adapter that one rank alone cannot load is loaded on none, and the engine runs on.
TEST(Followers, AnAdapterThatOneRankAloneCannotLoadIsLoadedOnNone) {
  RankGroup ranks(tiny_model(2), small_engine(), [](Engine& engine, comm::Group& group) {
    std::vector<uint8_t> message;
    group.await_message(message, 0);  // the first load
    ASSERT_EQ(decode(message).kind, CommandKind::kBeginLoad);
    group.await_message(message, 0);
    ASSERT_EQ(decode(message).kind, CommandKind::kEndLoad);
    RankAnswer answer;
    answer.fail(Status::kOutOfMemory, "no memory for an adapter image of 12 bytes");
    exchange_answers(group, answer);
    follow(engine, group);
  });
  AdapterOptions options;
  options.synthetic_lora_rank = 4;
  const core::Error failure = failure_of([&] { ranks.engine->load_adapter(options, nullptr); });
  EXPECT_EQ(failure.status(), Status::kOutOfMemory);
  EXPECT_STREQ(failure.what(), "rank 1 of 2: no memory for an adapter image of 12 bytes");
  EXPECT_EQ(ranks.engine->counters().host_adapters, 0u);
  EXPECT_EQ(ranks.engine->counters().host_adapter_bytes, 0u);
  const auto adapter = ranks.engine->load_adapter(options, nullptr);
  ranks.create(1, {1, 2, 3}, {adapter->id});
  ranks.step({{1, 3, 0, true, false}});
  ranks.engine->unload_adapter(adapter);
}

// Rank 0 lets its recordings go when buffers grow for a step, and that step may be deferred: all
// ranks hear of it, or the next step would be a recording's on one of them and a plain one's on the
// others.
TEST(Followers, ADeferredStepThatMadeBuffersGrowLeavesAllRanksWithTheSameRecordings) {
  EngineOptions options = small_engine();
  options.pool_bytes = 512u << 10;
  options.recording = RecordingMode::kOnUse;
  comm::GroupOptions limits;
  limits.time_limit_ms = 5000;
  RankGroup ranks(tiny_model(2), options, {}, limits);
  ranks.create(1, {1, 2, 3});
  ranks.step({{1, 3, 0, true, false}});
  auto decode = [&ranks, token = 3u]() mutable { ranks.step({{1, 1, token++, true, false}}); };
  for (int i = 0; i < 3; ++i) decode();
  ASSERT_EQ(ranks.engine->counters().recordings.count, 1u);

  std::vector<uint64_t> adapter_ids;
  for (uint32_t i = 0; i < 4; ++i) {
    AdapterOptions adapter;
    adapter.synthetic_lora_rank = 64;
    adapter.synthetic_seed = i;
    adapter.synthetic_modules = 0x7f;
    adapter_ids.push_back(ranks.engine->load_adapter(adapter, nullptr)->id);
  }
  ranks.create(2, {4, 5}, adapter_ids);
  EXPECT_EQ(ranks.engine->submit(std::vector<PlanRow>{{2, 2, 0, true, false}}, {}),
            Status::kDeferredAdapter);
  EXPECT_EQ(ranks.engine->counters().recordings.count, 0u);
  for (int i = 0; i < 4; ++i) decode();
  EXPECT_EQ(ranks.engine->counters().recordings.count, 1u);
}

}  // namespace
}  // namespace slora::engine::test
