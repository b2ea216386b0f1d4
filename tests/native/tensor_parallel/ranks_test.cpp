// A model over several ranks against the same model on one: logits, greedy tokens, mixed batches of
// all adapters under pressure; and what is refused.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>

#include "support/demo.hpp"

namespace slora::test {
namespace {

// fp32 over another order of sums.
constexpr double kNear = 1e-4;

slora_engine_options roomy() {
  slora_engine_options options = SLORA_ENGINE_OPTIONS_INIT;
  options.pool_bytes = 128u << 20;
  options.max_sequences = 64;
  options.max_batch_tokens = 512;
  return options;
}

slora_engine_options cramped(const Ranks& ranks) {
  slora_engine_options options = SLORA_ENGINE_OPTIONS_INIT;
  options.pool_bytes = cramped_pool_bytes(ranks);
  options.max_sequences = 24;
  options.max_batch_tokens = 96;
  options.max_batch_rows = 12;
  options.check_every_step = 1;
  return options;
}

std::vector<Request> requests_of_all(const DemoEngine& demo) {
  std::vector<std::string> names = demo_adapter_names();
  names.push_back("base");
  std::vector<Request> requests;
  for (const std::string& name : names) {
    const auto golden = read_json(demo_path("goldens/" + name + ".json"));
    for (size_t i = 0; i < 2; ++i) {
      Request request;
      request.prompt = golden["cases"][i]["ids"].get<std::vector<int32_t>>();
      request.adapters = demo.use(name);
      request.num_new_tokens = 12;
      request.wants_logits = i == 0;
      request.sampling.num_logprobs = 2;
      requests.push_back(request);
    }
  }
  return requests;
}

// Equal but for the order of sums: from a token on whose two best were closer than kNear, each may
// tell its own story.
void expect_near(const Completion& got, const Completion& want) {
  ASSERT_EQ(got.logits.size(), want.logits.size());
  double worst = 0;
  for (size_t i = 0; i < want.logits.size(); ++i)
    worst = std::max(worst, std::fabs(double{got.logits[i]} - want.logits[i]));
  EXPECT_LE(worst, kNear);
  ASSERT_EQ(got.tokens.size(), want.tokens.size());
  for (size_t t = 0; t < want.tokens.size(); ++t) {
    if (got.tokens[t] != want.tokens[t]) {
      EXPECT_LT(want.top[t][0].logprob - want.top[t][1].logprob, kNear) << "token " << t;
      return;
    }
    EXPECT_NEAR(got.logprobs[t], want.logprobs[t], kNear) << "token " << t;
  }
}

class OverRanks : public testing::TestWithParam<Ranks> {};

TEST_P(OverRanks, MixedBatchesOfEighteenAdaptersUnderPressureMeetOneRank) {
  const DemoEngine one(SLORA_DTYPE_F32, roomy(), 1, Ranks{});
  const DemoEngine several(SLORA_DTYPE_F32, cramped(GetParam()), 2, GetParam());
  const std::vector<Completion> expected = run_requests(one.engine.get(), requests_of_all(one));
  const std::vector<Request> requests = requests_of_all(several);
  std::mt19937 chaos(7);
  RunStatistics total;
  for (int round = 0; round < 3; ++round) {
    RunStatistics statistics;
    const std::vector<Completion> completions =
        run_requests(several.engine.get(), requests, {&chaos, 0.1}, &statistics);
    for (size_t i = 0; i < requests.size(); ++i) {
      SCOPED_TRACE("round " + std::to_string(round) + ", request " + std::to_string(i));
      expect_near(completions[i], expected[i]);
    }
    total.preemptions += statistics.preemptions;
    total.run_ahead_steps += statistics.run_ahead_steps;
    total.deferred_pages += statistics.deferred_pages + statistics.deferred_adapters;
  }
  const slora_pool_counters after = counters(several.engine.get());
  EXPECT_GT(total.preemptions, 20u);
  EXPECT_GT(total.run_ahead_steps, 20u);
  EXPECT_GT(total.deferred_pages, 5u);
  EXPECT_GT(after.adapter_evictions, 20u);
  EXPECT_EQ(after.kv_pages, 0u);
  EXPECT_EQ(after.free_pages + after.adapter_pages, after.total_pages);
}

// Sampled tokens depend on the seed and the request alone, on several ranks too.
TEST_P(OverRanks, SampledTokensAreTheSameAloneAndMixedBitwise) {
  const DemoEngine several(SLORA_DTYPE_F32, cramped(GetParam()), 2, GetParam());
  std::vector<Request> requests = requests_of_all(several);
  std::mt19937 random(3);
  for (Request& request : requests) {
    request.wants_logits = false;
    request.sampling.temperature = 0.9f;
    request.sampling.top_p = 0.95f;
    request.sampling.repetition_penalty = 1.1f;
    request.sampling.seed = random();
  }
  std::vector<Completion> alone;
  for (const Request& request : requests)
    alone.push_back(run_requests(several.engine.get(), {request})[0]);
  std::mt19937 chaos(11);
  const std::vector<Completion> mixed = run_requests(several.engine.get(), requests, {&chaos, 0.1});
  for (size_t i = 0; i < requests.size(); ++i) EXPECT_TRUE(mixed[i] == alone[i]) << "request " << i;
}

slora_model_options synthetic_options(const std::string& path, const Ranks& ranks) {
  slora_model_options options = SLORA_MODEL_OPTIONS_INIT;
  options.backend = SLORA_BACKEND_HOST;
  options.path = path.data();
  options.path_bytes = path.size();
  options.compute_dtype = SLORA_DTYPE_F32;
  options.num_threads = 2;
  options.synthetic = 1;
  options.synthetic_seed = 17;
  options.tp_size = ranks.tp_size;
  options.lora_sharding = ranks.lora_sharding;
  return options;
}

// Random weights and adapters are the same numbers however many ranks hold them; lora_rank 5 does
// not divide by the ranks.
TEST_P(OverRanks, SyntheticModelsAndAdaptersAreTheSame) {
  for (const char* folder : {"demo-model/base", "tiny-models/qwen2", "tiny-models/phi3"}) {
    SCOPED_TRACE(folder);
    const std::string path = std::string(SLORA_ASSETS) + "/" + folder;
    std::vector<Completion> completions;
    for (const Ranks& ranks : {Ranks{}, GetParam()}) {
      slora_error error = SLORA_ERROR_INIT;
      const slora_model_options options = synthetic_options(path, ranks);
      const ModelHandle model(slora_model_load(&options, &error));
      ASSERT_TRUE(model) << error.message;
      const EngineHandle engine = create_engine(model.get(), roomy());
      std::vector<AdapterHandle> adapters;
      Request request;
      request.prompt = {1, 5, 9, 200, 31, 4, 77};
      request.num_new_tokens = 6;
      request.wants_logits = true;
      request.sampling.num_logprobs = 2;
      for (const uint32_t lora_rank : {5u, 1u}) {
        slora_adapter_options adapter = SLORA_ADAPTER_OPTIONS_INIT;
        adapter.synthetic_lora_rank = lora_rank;
        adapter.synthetic_seed = lora_rank;
        adapters.emplace_back(slora_adapter_load(engine.get(), &adapter, &error));
        ASSERT_TRUE(adapters.back()) << error.message;
        request.adapters.push_back({adapter_info(adapters.back().get()).adapter_id, 0.7f, 0});
      }
      completions.push_back(run_requests(engine.get(), {request})[0]);
    }
    expect_near(completions[1], completions[0]);
  }
}

TEST_P(OverRanks, InfoDescribesTheWholeModel) {
  const ModelHandle one = load_model(demo_path("base"), SLORA_DTYPE_F32, 2, Ranks{});
  const ModelHandle several = load_model(demo_path("base"), SLORA_DTYPE_F32, 2, GetParam());
  slora_error error = SLORA_ERROR_INIT;
  slora_model_info whole = SLORA_MODEL_INFO_INIT, parts = SLORA_MODEL_INFO_INIT;
  expect_done(slora_model_get_info(one.get(), &whole, &error), error);
  expect_done(slora_model_get_info(several.get(), &parts, &error), error);
  EXPECT_EQ(parts.tp_size, GetParam().tp_size);
  EXPECT_EQ(parts.lora_sharding, GetParam().lora_sharding);
  EXPECT_EQ(parts.num_heads, whole.num_heads);
  EXPECT_EQ(parts.num_kv_heads, whole.num_kv_heads);
  EXPECT_EQ(parts.intermediate_size, whole.intermediate_size);
  EXPECT_EQ(parts.vocab_size, whole.vocab_size);
  EXPECT_EQ(parts.num_parameters, whole.num_parameters);
  // No matrix of this model is replicated; the host packs columns in blocks, so parts may round up.
  EXPECT_GE(parts.weight_bytes, whole.weight_bytes);
  EXPECT_LE(parts.weight_bytes, whole.weight_bytes * 11 / 10);
}

TEST_P(OverRanks, AnAdapterThatFailsLeavesAllRanksAsTheyWere) {
  const DemoEngine several(SLORA_DTYPE_F32, roomy(), 2, GetParam());
  const Request request = requests_of_all(several)[0];
  const Completion before = run_requests(several.engine.get(), {request})[0];
  const slora_pool_counters held = counters(several.engine.get());
  const std::string folder = testing::TempDir() + "/slora_tp_bad_adapter";
  std::filesystem::remove_all(folder);
  std::filesystem::copy(demo_path("adapters/roman"), folder);
  std::ofstream(folder + "/adapter_model.safetensors") << "no tensors";
  EXPECT_THROW(load_adapter(several.engine.get(), folder), AbiError);
  EXPECT_THROW(load_adapter(several.engine.get(), folder + "/nowhere"), AbiError);
  std::filesystem::remove_all(folder);
  const slora_pool_counters after = counters(several.engine.get());
  EXPECT_EQ(after.host_adapters, held.host_adapters);
  EXPECT_EQ(after.host_adapter_bytes, held.host_adapter_bytes);
  const AdapterHandle good = load_adapter(several.engine.get(), demo_path("adapters/roman"));
  EXPECT_TRUE(run_requests(several.engine.get(), {request})[0] == before);
}

TEST_P(OverRanks, AnEngineThatOneRankCannotMakeIsMadeOnNone) {
  const ModelHandle model = load_model(demo_path("base"), SLORA_DTYPE_F32, 2, GetParam());
  slora_engine_options options = roomy();
  options.pool_bytes = 1;
  EXPECT_THROW(create_engine(model.get(), options), AbiError);
  options.pool_bytes = uint64_t{1} << 60;
  EXPECT_THROW(create_engine(model.get(), options), AbiError);
  // A failure leaves the model free for the next; an engine does not.
  const EngineHandle engine = create_engine(model.get(), roomy());
  try {
    create_engine(model.get(), roomy());
    ADD_FAILURE() << "a second engine was made";
  } catch (const AbiError& error) {
    EXPECT_EQ(error.status, SLORA_ERROR_WRONG_STATE);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Ranks, OverRanks,
    testing::Values(Ranks{2, SLORA_LORA_SHARDING_ALIGNED}, Ranks{2, SLORA_LORA_SHARDING_FULL},
                    Ranks{4, SLORA_LORA_SHARDING_ALIGNED}, Ranks{4, SLORA_LORA_SHARDING_FULL}),
    [](const auto& param_info) {
      return std::to_string(param_info.param.tp_size) +
             (param_info.param.lora_sharding == SLORA_LORA_SHARDING_FULL ? "_full" : "_aligned");
    });

struct Refusal {
  const char* folder;
  uint32_t tp_size;
  int32_t status;
  const char* words;
};

TEST(Ranks, SizesThatCannotBeAreRefusedInOneLine) {
  const Refusal refusals[] = {
      {"demo-model/base", 3, SLORA_ERROR_UNSUPPORTED,
       "tp_size is 3, which does not divide the model's 8 attention heads"},
      {"demo-model/base", 65, SLORA_ERROR_INVALID_ARGUMENT, "tp_size is 65, the limit is 1..64"},
      {"tiny-models/llama-mha", 8, SLORA_ERROR_UNSUPPORTED,
       "tp_size is 8, which does not divide the model's 4 attention heads"},
  };
  for (const Refusal& refusal : refusals) {
    try {
      load_model(std::string(SLORA_ASSETS) + "/" + refusal.folder, SLORA_DTYPE_F32, 1,
                 Ranks{refusal.tp_size, 0});
      ADD_FAILURE() << refusal.words;
    } catch (const AbiError& error) {
      EXPECT_EQ(error.status, refusal.status);
      EXPECT_STREQ(error.what(), refusal.words);
    }
  }
}

TEST(Ranks, OptionsThatContradictAreRefused) {
  const std::string path = demo_path("base");
  slora_error error = SLORA_ERROR_INIT;
  slora_model_options options = synthetic_options(path, {2, 2});
  EXPECT_EQ(slora_model_load(&options, &error), nullptr);
  EXPECT_STREQ(error.message, "lora_sharding is 2, the limit is 0..1");
  options = synthetic_options(path, {2, 0});
  const int32_t devices[] = {0, 0, 0};
  options.tp_devices = devices;
  options.num_tp_devices = 3;
  EXPECT_EQ(slora_model_load(&options, &error), nullptr);
  EXPECT_STREQ(error.message, "num_tp_devices is 3, which is neither 0 nor tp_size 2");
  options.num_tp_devices = 2;
  options.tp_devices = nullptr;
  EXPECT_EQ(slora_model_load(&options, &error), nullptr);
  EXPECT_STREQ(error.message, "tp_devices is null");
}

// Stops a load after its first piece.
TEST(Ranks, ALoadIsCancelledOnAllOfThem) {
  slora_progress progress = SLORA_PROGRESS_INIT;
  progress.cancel = 1;
  const std::string path = demo_path("base");
  slora_model_options options = synthetic_options(path, {4, 0});
  options.progress = &progress;
  slora_error error = SLORA_ERROR_INIT;
  EXPECT_EQ(slora_model_load(&options, &error), nullptr);
  EXPECT_EQ(error.status, SLORA_ERROR_CANCELLED);
}

}  // namespace
}  // namespace slora::test
