// Sums in chunks, beside the matmuls of the chunks before: the bits of whole sums, the same bytes
// in more collectives, decode steps as ever, and a rank that is lost between two chunks.
#include <atomic>
#include <chrono>

#include "rank_group.hpp"

namespace slora::engine::test {
namespace {

using core::Status;
using model::LoraSharding;

EngineOptions overlapping(int32_t tokens) {
  EngineOptions options = small_engine();
  options.overlap_tokens = tokens;
  return options;
}

std::vector<int32_t> prompt_of(int32_t length, int32_t seed) {
  std::vector<int32_t> prompt;
  for (int32_t i = 0; i < length; ++i) prompt.push_back((seed * 37 + i * 101) % 300 + 1);
  return prompt;
}

// Logits and samples of a step.
struct Answer {
  std::vector<float> logits;
  std::vector<int32_t> tokens;
  bool operator==(const Answer&) const = default;
};

Answer answer_of(RankGroup& ranks, const std::vector<PlanRow>& rows) {
  EXPECT_EQ(ranks.engine->submit(rows, {}), Status::kOk);
  StepNeeds needs{};
  StepView view;
  EXPECT_TRUE(ranks.engine->await_oldest(&needs));
  ranks.engine->collect(view);
  Answer answer;
  const int64_t vocab = ranks.engine->model().config.vocab_size;
  for (const StepView::Row& row : view.rows) {
    answer.tokens.push_back(row.token_id);
    answer.logits.insert(answer.logits.end(), row.logits,
                         row.logits + row.num_logit_tokens * vocab);
  }
  ranks.engine->finish_collect();
  return answer;
}

struct Case {
  const char* folder;
  std::vector<const char*> adapters;  // of the folder; then a synthetic one whose rank is odd
};

// The norm between a sum and the residual is gemma2's, biases are qwen2's, norms of heads qwen3's;
// a factor and an offset are dora's.
const Case kCases[] = {{"tiny-models/gemma2", {"rslora-all-r8", "lora-qv-r4"}},
                       {"tiny-models/llama-mha", {"dora"}},
                       {"tiny-models/qwen2", {}},
                       {"tiny-models/qwen3", {}}};

struct OverlapRanks {
  int32_t tp_size;
  LoraSharding sharding;
};

class Overlap : public testing::TestWithParam<OverlapRanks> {
 protected:
  // A short prompt; then its next token beside prompts with every adapter, of 56 tokens in all;
  // then one token of each, which samples.
  std::vector<Answer> answers_of(const Case& each, int32_t overlap_tokens) {
    RankGroup ranks(host_model(each.folder, GetParam().tp_size, GetParam().sharding),
                    overlapping(overlap_tokens));
    std::vector<std::shared_ptr<adapter::Adapter>> adapters;
    for (const char* const name : each.adapters) {
      AdapterOptions options;
      options.path = std::string(SLORA_ASSETS) + "/" + each.folder + "/adapters/" + name;
      adapters.push_back(ranks.engine->load_adapter(options, nullptr));
    }
    AdapterOptions synthetic;
    synthetic.synthetic_lora_rank = 5;
    adapters.push_back(ranks.engine->load_adapter(synthetic, nullptr));
    ranks.create(1, prompt_of(7, 1));
    std::vector<Answer> answers = {answer_of(ranks, {{1, 7, 0, true, true}})};
    std::vector<PlanRow> prompts = {{1, 1, 7, true, true}}, decode = {{1, 1, 8, true, false}};
    const auto add = [&](uint32_t length, const std::vector<uint64_t>& ids) {
      const uint64_t id = prompts.size() + 1;
      ranks.create(id, prompt_of(static_cast<int32_t>(length), static_cast<int32_t>(id)), ids);
      prompts.push_back({id, length, 0, true, true});
      decode.push_back({id, 1, length, true, false});
    };
    const auto with_adapter = static_cast<uint32_t>(42 / adapters.size());
    for (const auto& adapter : adapters) add(with_adapter, {adapter->id});
    add(55 - with_adapter * static_cast<uint32_t>(adapters.size()), {});
    answers.push_back(answer_of(ranks, prompts));
    answers.push_back(answer_of(ranks, decode));
    for (const auto& adapter : adapters) ranks.engine->unload_adapter(adapter);
    return answers;
  }
};

TEST_P(Overlap, GivesTheBitsOfWholeSums) {
  for (const Case& each : kCases) {
    const std::vector<Answer> whole = answers_of(each, 0);
    ASSERT_EQ(whole[1].logits.size() % 56, 0u);
    ASSERT_FALSE(whole[1].logits.empty());
    for (const int32_t tokens : {1, 8, 16, 28}) {
      SCOPED_TRACE(std::string(each.folder) + ", " + std::to_string(tokens) + " tokens");
      EXPECT_TRUE(answers_of(each, tokens) == whole);
    }
  }
}

// o and down of each layer but the last's down in chunks, and the embedding; the same bytes.
TEST_P(Overlap, CutsSumsAndSendsTheSameBytes) {
  const ModelOptions model = host_model("demo-model/base", GetParam().tp_size, GetParam().sharding);
  constexpr uint64_t kLayers = 8;
  comm::GroupTraffic whole{};
  for (const int32_t tokens : {0, 21, 10, 5}) {
    SCOPED_TRACE(tokens);
    RankGroup ranks(model, overlapping(tokens));
    AdapterOptions options;
    options.synthetic_lora_rank = 8;
    const auto adapter = ranks.engine->load_adapter(options, nullptr);
    ranks.create(1, prompt_of(40, 1), {adapter->id});
    ranks.group->reset();
    ranks.step({{1, 40, 0, true, false}});
    const comm::GroupTraffic traffic = ranks.group->traffic();
    if (tokens == 0) whole = traffic;
    const uint64_t chunks = tokens == 10 || tokens == 5 ? 4 : 1;
    EXPECT_EQ(traffic.all_reduce.calls - whole.all_reduce.calls, 2 * kLayers * (chunks - 1));
    EXPECT_EQ(traffic.all_reduce.elements, whole.all_reduce.elements);
    EXPECT_EQ(traffic.all_reduce.bytes, whole.all_reduce.bytes);
    EXPECT_EQ(traffic.all_reduce.sent_bytes, whole.all_reduce.sent_bytes);
    EXPECT_EQ(traffic.all_gather.calls, whole.all_gather.calls);
    EXPECT_EQ(traffic.all_gather.bytes, whole.all_gather.bytes);
    ranks.engine->unload_adapter(adapter);
  }
}

TEST_P(Overlap, LeavesDecodeStepsAsTheyAre) {
  RankGroup ranks(host_model("demo-model/base", GetParam().tp_size, GetParam().sharding),
                  overlapping(1));
  std::vector<PlanRow> decode;
  for (uint64_t id = 1; id <= 8; ++id) {
    ranks.create(id, {1, 2, 3});
    ranks.step({{id, 3, 0, true, false}});
    decode.push_back({id, 1, 3, true, false});
  }
  ranks.group->reset();
  ranks.step(decode);
  EXPECT_EQ(ranks.group->traffic().all_reduce.calls, 2 * 8u + 1);
}

INSTANTIATE_TEST_SUITE_P(
    Ranks, Overlap,
    testing::Values(OverlapRanks{2, LoraSharding::kAligned}, OverlapRanks{2, LoraSharding::kFull},
                    OverlapRanks{4, LoraSharding::kAligned}, OverlapRanks{4, LoraSharding::kFull}),
    [](const auto& param_info) {
      return std::to_string(param_info.param.tp_size) +
             (param_info.param.sharding == LoraSharding::kFull ? "_full" : "_aligned");
    });

// Rank 1 takes part in `num_sums` chunks of the embedding's sum, then does what `then` does.
RankGroup::Rank rank_that_leaves(int num_sums, std::function<void()> then) {
  return [num_sums, then](Engine& engine, comm::Group& group) {
    std::vector<uint8_t> message;
    for (int i = 0; i < 2; ++i) group.await_message(message, 0);  // a sequence and its step
    const int64_t chunk = 8 * engine.model().config.hidden_size;
    const auto& device = engine.model().backend.device;
    const device::Buffer data(device, device::MemoryKind::kDevice,
                              static_cast<uint64_t>(chunk) * sizeof(float));
    device::Stream stream(device, device::StreamKind::kCompute);
    for (int i = 0; i < num_sums; ++i)
      group.all_reduce(stream.handle(), data.data(), chunk, core::DType::kF32);
    stream.synchronize();
    then();
  };
}

void expect_rank_1_is_lost(RankGroup& ranks, const std::string& words) {
  ranks.create(1, prompt_of(32, 1));
  const auto begin = std::chrono::steady_clock::now();
  try {
    for (;;) ranks.step({{1, 32, 0, true, false}});
    FAIL() << "the step ended";
  } catch (const core::Error& failure) {
    EXPECT_EQ(failure.status(), Status::kRankLost);
    EXPECT_NE(std::string(failure.what()).find("rank 1"), std::string::npos) << failure.what();
    EXPECT_NE(std::string(failure.what()).find(words), std::string::npos) << failure.what();
  }
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(10));
  ranks.engine.reset();
}

TEST(OverlapFailures, ARankThatGivesUpBetweenTwoChunksIsNamed) {
  for (const int num_sums : {0, 1, 3}) {
    RankGroup ranks(
        host_model("tiny-models/llama-mha", 2, LoraSharding::kAligned), overlapping(8),
        rank_that_leaves(num_sums, [] { core::fail(Status::kInternal, "the card fell out"); }));
    expect_rank_1_is_lost(ranks, "the card fell out");
  }
}

TEST(OverlapFailures, ARankThatStallsBetweenTwoChunksIsLostWithinTheTimeLimit) {
  comm::GroupOptions limits;
  limits.time_limit_ms = 300;
  std::atomic<bool> may_end{false};
  RankGroup ranks(host_model("tiny-models/llama-mha", 2, LoraSharding::kAligned), overlapping(8),
                  rank_that_leaves(2,
                                   [&may_end] {
                                     while (!may_end.load())
                                       std::this_thread::sleep_for(std::chrono::milliseconds(5));
                                   }),
                  limits);
  expect_rank_1_is_lost(ranks, "all_reduce");
  may_end.store(true);
}

}  // namespace
}  // namespace slora::engine::test
