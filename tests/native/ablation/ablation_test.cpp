// Experiments give the demo model's goldens, in every mode, and refuse what they cannot compute. On
// CUDA with SLORA_TEST_BACKEND=cuda.
#include "slora/ablation/experiment.hpp"

#include <gtest/gtest.h>

#include <random>

#include "split_memory.hpp"
#include "support/demo.hpp"

namespace slora::test {
namespace {

using nlohmann::json;

constexpr int32_t kTokens = 12;
// Two logits closer than this may be ordered either way by another order of sums.
constexpr double kMargin = 5e-4;

slora_engine_options sizes(uint64_t pool_bytes) {
  slora_engine_options options = SLORA_ENGINE_OPTIONS_INIT;
  options.pool_bytes = pool_bytes;
  options.max_sequences = 16;
  options.max_batch_tokens = 256;
  options.check_every_step = 1;
  return options;
}

struct Case {
  std::string adapter;
  Request request;
  std::vector<int32_t> expected;  // up to the first choice that is too close to call
};

std::vector<Case> golden_cases(const DemoEngine& demo, const std::vector<std::string>& names) {
  std::vector<Case> cases;
  for (const std::string& name : names) {
    const json golden = read_json(demo_path("goldens/" + name + ".json"));
    for (size_t i = 0; i < 2; ++i) {
      const json& entry = golden["cases"][i];
      Case made{name, {}, {}};
      made.request.prompt = entry["ids"].get<std::vector<int32_t>>();
      made.request.adapters = demo.use(name);
      made.request.num_new_tokens = kTokens;
      for (int32_t t = 0; t < kTokens; ++t) {
        if (entry["greedy"]["margins_top1_top2"][static_cast<size_t>(t)] < kMargin) break;
        made.expected.push_back(entry["greedy"]["ids"][static_cast<size_t>(t)]);
      }
      cases.push_back(std::move(made));
    }
  }
  return cases;
}

void expect_goldens(const DemoEngine& demo, const std::vector<Case>& cases) {
  std::vector<Request> requests;
  for (const Case& each : cases) requests.push_back(each.request);
  const std::vector<Completion> completions = run_requests(demo.engine.get(), requests);
  size_t compared = 0;
  for (size_t i = 0; i < cases.size(); ++i) {
    const std::vector<int32_t>& expected = cases[i].expected;
    ASSERT_GE(completions[i].tokens.size(), expected.size());
    EXPECT_TRUE(std::equal(expected.begin(), expected.end(), completions[i].tokens.begin()))
        << cases[i].adapter << " case " << i;
    compared += expected.size();
  }
  EXPECT_GT(compared, cases.size() * 3) << "the margins leave too little to compare";
}

std::vector<std::string> some_names() {
  return {"base", "poem", "json", "upper", "arith", "latin"};
}

TEST(Ablation, PaddedLoraGivesTheGoldensInOneMixedBatch) {
  slora_engine_options options = sizes(64u << 20);
  options.experiment_lora = SLORA_EXPERIMENT_LORA_PADDED;
  const DemoEngine demo(SLORA_DTYPE_F32, options, 2);
  expect_goldens(demo, golden_cases(demo, some_names()));
}

TEST(Ablation, MergedAdaptersGiveTheGoldensOneAfterAnotherAndTheBaseComesBack) {
  const ModelHandle model = load_model(demo_path("base"), SLORA_DTYPE_F32, 2);
  slora_engine_options options = sizes(64u << 20);
  options.experiment_lora = SLORA_EXPERIMENT_LORA_MERGED;
  DemoEngine demo(SLORA_DTYPE_F32, options, 2);
  for (const std::string name : {"poem", "arith", "base", "arith", "upper"}) {
    expect_goldens(demo, golden_cases(demo, {name}));
    if (testing::Test::HasFailure()) FAIL() << name;
  }
  // Rows of two adapters in one plan are refused, and nothing changes.
  std::vector<Case> mixed = golden_cases(demo, {"poem", "json"});
  EXPECT_THROW(expect_goldens(demo, mixed), AbiError);
  // The last was merged: another engine on the model finds the original bits.
  demo.adapters.clear();
  demo.engine.reset();
  demo.engine = create_engine(demo.model.get(), sizes(64u << 20));
  expect_goldens(demo, golden_cases(demo, {"base"}));
}

TEST(Ablation, SplitMemoryGivesTheGoldensWithFewerAdaptersThanRequests) {
  slora_engine_options options = sizes(16u << 20);
  options.experiment_memory = SLORA_EXPERIMENT_MEMORY_SPLIT;
  options.experiment_concurrency = 4;
  options.experiment_mean_adapter_bytes = 1536 << 10;
  const DemoEngine demo(SLORA_DTYPE_F32, options, 2);
  const slora_pool_counters before = counters(demo.engine.get());
  EXPECT_EQ(before.free_pages + before.kv_pages + before.adapter_pages, before.total_pages);
  for (int round = 0; round < 2; ++round) {
    for (const std::string& name : some_names()) expect_goldens(demo, golden_cases(demo, {name}));
    expect_goldens(demo, golden_cases(demo, {"base", "poem", "json"}));
  }
  const slora_pool_counters after = counters(demo.engine.get());
  EXPECT_EQ(after.adapter_pages, before.adapter_pages) << "the region is fixed";
  EXPECT_EQ(after.evictable_pages, 0u);
  EXPECT_GT(after.adapter_evictions, 0u);
}

TEST(Ablation, RefusesWhatItCannotCompute) {
  const ModelHandle model = load_model(demo_path("base"), SLORA_DTYPE_F32, 1);
  const auto refused = [&](slora_engine_options options, const char* name) {
    slora_error error = SLORA_ERROR_INIT;
    EXPECT_EQ(slora_engine_create(model.get(), &options, &error), nullptr);
    EXPECT_EQ(error.status, SLORA_ERROR_INVALID_ARGUMENT);
    EXPECT_NE(std::string(error.message).find(name), std::string::npos) << error.message;
  };
  slora_engine_options options = sizes(16u << 20);
  options.experiment_lora = 3;
  refused(options, "experiment_lora is 3");
  options.experiment_lora = 0;
  options.experiment_memory = -1;
  refused(options, "experiment_memory is -1");
  options.experiment_memory = SLORA_EXPERIMENT_MEMORY_SPLIT;
  refused(options, "mean_adapter_bytes");

  options.experiment_memory = 0;
  for (const int32_t lora : {SLORA_EXPERIMENT_LORA_PADDED, SLORA_EXPERIMENT_LORA_MERGED}) {
    options.experiment_lora = lora;
    const DemoEngine demo(SLORA_DTYPE_F32, options, 1);
    Case two = golden_cases(demo, {"poem"}).front();
    two.request.adapters.push_back(demo.use("json").front());
    try {
      run_requests(demo.engine.get(), {two.request});
      FAIL() << "two adapters of one sequence";
    } catch (const AbiError& error) {
      EXPECT_EQ(error.status, SLORA_ERROR_UNSUPPORTED);
    }
  }
}

// First fit in one piece, and neither area lends to the other.
TEST(SplitPlacement, KeepsItsAreasApartAndAdaptersInOnePiece) {
  using memory::PageOwner;
  const auto placement = ablation::split_placement(20, 8);
  std::vector<int32_t> kv(12), one(1), adapter(3);
  ASSERT_TRUE(placement->try_take(PageOwner::kKv, kv));
  EXPECT_EQ(kv.front(), 0);
  EXPECT_EQ(kv.back(), 11);
  EXPECT_FALSE(placement->try_take(PageOwner::kKv, one)) << "KV took the adapters' region";
  ASSERT_TRUE(placement->try_take(PageOwner::kAdapter, adapter));
  for (size_t i = 1; i < adapter.size(); ++i) EXPECT_EQ(adapter[i], adapter[i - 1] + 1);
  std::vector<int32_t> second(3), third(3);
  ASSERT_TRUE(placement->try_take(PageOwner::kAdapter, second));
  // Five pages are free, the longest piece is three.
  placement->put(adapter[0]);
  placement->put(adapter[1]);
  placement->put(adapter[2]);
  std::vector<int32_t> four(4);
  EXPECT_EQ(placement->num_free(), 5);
  EXPECT_FALSE(placement->try_take(PageOwner::kAdapter, four)) << "in two pieces";
  EXPECT_TRUE(placement->try_take(PageOwner::kAdapter, third));
  EXPECT_TRUE(placement->is_consistent());
}

}  // namespace
}  // namespace slora::test
