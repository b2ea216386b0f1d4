// The C ABI's promises about wrong calls: each refusal has its status and one line with value and
// limit, and leaves the engine as it was, with every page accounted for.
#include <gtest/gtest.h>

#include <thread>

#include "support/demo.hpp"

namespace slora::test {
namespace {

class Abi : public testing::Test {
 protected:
  static slora_engine_options options() {
    slora_engine_options options = SLORA_ENGINE_OPTIONS_INIT;
    options.pool_bytes = (4u << 20) / ranks_under_test().tp_size;
    options.max_sequences = 4;
    options.max_batch_tokens = 64;
    options.max_batch_rows = 3;
    options.check_every_step = 1;
    return options;
  }

  Abi()
      : model_(load_model(demo_path("base"), SLORA_DTYPE_F32)),
        engine_(create_engine(model_.get(), options())) {}

  void TearDown() override {
    if (!engine_) return;
    EXPECT_EQ(slora_engine_check(engine_.get(), &error_), SLORA_OK) << error_.message;
  }

  int32_t create(uint64_t id, std::vector<int32_t> prompt,
                 std::vector<slora_adapter_weight> adapters = {},
                 slora_sampling_options sampling = SLORA_SAMPLING_OPTIONS_INIT,
                 uint32_t max_tokens = 0) {
    slora_sequence_options sequence = SLORA_SEQUENCE_OPTIONS_INIT;
    sequence.sequence_id = id;
    sequence.prompt_tokens = prompt.data();
    sequence.num_prompt_tokens = static_cast<uint32_t>(prompt.size());
    sequence.adapters = adapters.data();
    sequence.num_adapters = static_cast<uint32_t>(adapters.size());
    sequence.sampling = &sampling;
    sequence.max_tokens = max_tokens;
    return slora_sequence_create(engine_.get(), &sequence, &error_);
  }

  int32_t submit(std::vector<slora_plan_row> rows) {
    slora_plan plan = SLORA_PLAN_INIT;
    plan.rows = rows.data();
    plan.num_rows = static_cast<uint32_t>(rows.size());
    return slora_engine_submit(engine_.get(), &plan, &error_);
  }

  int32_t collect() {
    result_ = SLORA_STEP_RESULT_INIT;
    result_.rows = rows_;
    result_.rows_capacity = 8;
    result_.events = events_;
    result_.events_capacity = 64;
    return slora_engine_collect(engine_.get(), &result_, &error_);
  }

  slora_sequence_info info(uint64_t id) {
    slora_sequence_info out = SLORA_SEQUENCE_INFO_INIT;
    EXPECT_EQ(slora_sequence_get_info(engine_.get(), id, &out, &error_), SLORA_OK)
        << error_.message;
    return out;
  }

  void expect_refused(int32_t status, int32_t expected, const std::string& message) {
    EXPECT_EQ(status, expected);
    EXPECT_STREQ(error_.message, message.c_str());
    EXPECT_EQ(error_.status, expected);
  }

  ModelHandle model_;
  EngineHandle engine_;
  slora_error error_ = SLORA_ERROR_INIT;
  slora_step_result result_ = SLORA_STEP_RESULT_INIT;
  slora_row_result rows_[8];
  slora_residency_event events_[64];
};

TEST_F(Abi, RefusesSequencesWithValueAndLimit) {
  expect_refused(create(0, {1}), SLORA_ERROR_INVALID_ARGUMENT,
                 "sequence_id is 0, which names no sequence");
  expect_refused(create(1, {}), SLORA_ERROR_INVALID_ARGUMENT,
                 "num_prompt_tokens is 0, the limit is 1..512");
  expect_refused(create(1, std::vector<int32_t>(513, 1)), SLORA_ERROR_INVALID_ARGUMENT,
                 "num_prompt_tokens is 513, the limit is 1..512");
  expect_refused(create(1, {1, 4096}), SLORA_ERROR_INVALID_ARGUMENT,
                 "prompt token 1 is 4096, the limit is 0..4095");
  expect_refused(create(1, {-1}), SLORA_ERROR_INVALID_ARGUMENT,
                 "prompt token 0 is -1, the limit is 0..4095");
  expect_refused(create(1, {1, 2, 3}, {}, SLORA_SAMPLING_OPTIONS_INIT, 2),
                 SLORA_ERROR_INVALID_ARGUMENT, "max_tokens is 2, the limit is 3..512");
  expect_refused(create(1, {1}, {{77, 1.0f, 0}}), SLORA_ERROR_NOT_FOUND, "there is no adapter 77");
  expect_refused(create(1, {1}, {{77, NAN, 0}}), SLORA_ERROR_INVALID_ARGUMENT,
                 "adapters[0].weight is nan, not finite");
  ASSERT_EQ(create(1, {1}), SLORA_OK);
  expect_refused(create(1, {1}), SLORA_ERROR_ALREADY_EXISTS, "sequence 1 exists already");
  EXPECT_EQ(create(2, {1}), SLORA_OK);
  EXPECT_EQ(create(3, {1}), SLORA_OK);
  EXPECT_EQ(create(4, {1}), SLORA_OK);
  EXPECT_EQ(create(5, {1}), SLORA_DEFERRED_SLOTS);
  EXPECT_EQ(slora_sequence_release(engine_.get(), 4, &error_), SLORA_OK);
  EXPECT_EQ(create(5, {1}), SLORA_OK);
}

TEST_F(Abi, RefusesSamplingOptionsWithValueAndLimit) {
  auto refused = [&](auto change, const char* message) {
    slora_sampling_options sampling = SLORA_SAMPLING_OPTIONS_INIT;
    change(sampling);
    expect_refused(create(1, {1}, {}, sampling), SLORA_ERROR_INVALID_ARGUMENT, message);
  };
  refused([](auto& s) { s.temperature = -1; },
          "sampling.temperature is -1, the limit is [0, 1e+06]");
  refused([](auto& s) { s.temperature = NAN; },
          "sampling.temperature is nan, the limit is [0, 1e+06]");
  refused([](auto& s) { s.top_k = -3; }, "sampling.top_k is -3, the limit is 0 and above");
  refused([](auto& s) { s.top_p = 0; }, "sampling.top_p is 0, the limit is (0, 1]");
  refused([](auto& s) { s.min_p = 2; }, "sampling.min_p is 2, the limit is [0, 1]");
  refused([](auto& s) { s.typical_p = 1.5f; }, "sampling.typical_p is 1.5, the limit is (0, 1]");
  refused([](auto& s) { s.repetition_penalty = 0; },
          "sampling.repetition_penalty is 0, the limit is (0, 1e+06]");
  refused([](auto& s) { s.presence_penalty = 3; },
          "sampling.presence_penalty is 3, the limit is [-2, 2]");
  refused([](auto& s) { s.frequency_penalty = -3; },
          "sampling.frequency_penalty is -3, the limit is [-2, 2]");
  refused([](auto& s) { s.num_logprobs = 21; }, "sampling.num_logprobs is 21, the limit is 20");
  refused([](auto& s) { s.num_logit_bias = 1; }, "sampling.logit_bias is null");
  const slora_logit_bias outside{4096, 1.0f}, infinite{1, INFINITY};
  refused([&](auto& s) { s.logit_bias = &outside, s.num_logit_bias = 1; },
          "sampling.logit_bias names token 4096, the limit is 0..4095");
  refused([&](auto& s) { s.logit_bias = &infinite, s.num_logit_bias = 1; },
          "sampling.logit_bias[0].bias is inf, not finite");
}

TEST_F(Abi, RefusesPlansThatContradictTheEngineAndChangesNothing) {
  ASSERT_EQ(create(1, {1, 2, 3, 4, 5}), SLORA_OK);
  ASSERT_EQ(create(2, std::vector<int32_t>(60, 7)), SLORA_OK);
  ASSERT_EQ(create(3, {9}, {}, SLORA_SAMPLING_OPTIONS_INIT, 1), SLORA_OK);
  const int32_t bad = SLORA_ERROR_INVALID_PLAN;
  expect_refused(submit({}), bad, "num_rows is 0, the limit is 1..3");
  expect_refused(submit({{9, 1, 0, 0, 0}}), SLORA_ERROR_NOT_FOUND, "there is no sequence 9");
  expect_refused(submit({{1, 1, 0, 0, 0}, {1, 1, 1, 0, 0}}), bad,
                 "row 1 (sequence 1): the sequence is named twice");
  expect_refused(submit({{1, 1, 2, 0, 0}}), bad,
                 "row 0 (sequence 1): first_token is 2, the engine has computed 0");
  expect_refused(submit({{1, 6, 0, 0, 0}}), bad,
                 "row 0 (sequence 1): num_tokens is 6, the limit is 1..5");
  expect_refused(submit({{1, 0, 0, 0, 0}}), bad,
                 "row 0 (sequence 1): num_tokens is 0, the limit is 1..5");
  expect_refused(submit({{1, 3, 0, SLORA_ROW_SAMPLE, 0}}), bad,
                 "row 0 (sequence 1): samples after token 3 of 5 that are not computed");
  expect_refused(submit({{3, 1, 0, SLORA_ROW_SAMPLE, 0}}), bad,
                 "row 0 (sequence 3): samples beyond max_tokens, which is 1");
  expect_refused(submit({{1, 5, 0, 4, 0}}), bad,
                 "row 0: flags are 4 (reserved 0), known are 1 and 2");
  expect_refused(submit({{1, 5, 0, 0, 0}, {2, 60, 0, 0, 0}}), bad,
                 "the plan has 65 tokens, the limit is 64");
  EXPECT_EQ(info(1).num_computed, 0u);
  EXPECT_EQ(counters(engine_.get()).kv_pages, 0u);
  EXPECT_EQ(collect(), SLORA_NOTHING_IN_FLIGHT);

  ASSERT_EQ(submit({{1, 5, 0, SLORA_ROW_SAMPLE, 0}}), SLORA_OK) << error_.message;
  ASSERT_EQ(submit({{1, 1, 5, SLORA_ROW_SAMPLE, 0}}), SLORA_OK)
      << "run-ahead on the token that is being sampled";
  EXPECT_EQ(submit({{1, 1, 6, SLORA_ROW_SAMPLE, 0}}), SLORA_DEFERRED_STEP);
  expect_refused(slora_sequence_preempt(engine_.get(), 1, &error_), SLORA_ERROR_WRONG_STATE,
                 "sequence 1 is named by 2 steps in flight; collect them before it is preempted");
  result_.rows_capacity = 0;
  slora_step_result tiny = SLORA_STEP_RESULT_INIT;
  expect_refused(slora_engine_collect(engine_.get(), &tiny, &error_), SLORA_ERROR_INVALID_ARGUMENT,
                 "rows_capacity is 0, the step needs 1");
  EXPECT_EQ(collect(), SLORA_OK);
  EXPECT_EQ(collect(), SLORA_OK);
  EXPECT_EQ(info(1).num_tokens, 7u);
}

TEST_F(Abi, DropsRowsOfSequencesReleasedInFlightAndFreesTheirPagesAtTheCollect) {
  ASSERT_EQ(create(1, std::vector<int32_t>(40, 5)), SLORA_OK);
  ASSERT_EQ(submit({{1, 40, 0, SLORA_ROW_SAMPLE, 0}}), SLORA_OK);
  ASSERT_EQ(slora_sequence_release(engine_.get(), 1, &error_), SLORA_OK);
  EXPECT_EQ(slora_sequence_release(engine_.get(), 1, &error_), SLORA_ERROR_NOT_FOUND);
  EXPECT_EQ(counters(engine_.get()).kv_pages, 3u) << "pages of a step in flight must stay";
  ASSERT_EQ(collect(), SLORA_OK);
  EXPECT_EQ(rows_[0].flags, static_cast<uint32_t>(SLORA_ROW_RESULT_DROPPED));
  EXPECT_EQ(rows_[0].token_id, -1);
  EXPECT_EQ(counters(engine_.get()).kv_pages, 0u);
}

TEST_F(Abi, DefersPlansThatDoNotFitAndRunsThemAfterAPreemption) {
  // The pool of 4 MiB has 32 pages of 128 KiB; 16 tokens a page. Each of several ranks has as many
  // of its own, smaller ones.
  ASSERT_EQ(geometry(engine_.get()).num_pages, 32u);
  ASSERT_EQ(create(1, std::vector<int32_t>(500, 5)), SLORA_OK);
  ASSERT_EQ(create(2, std::vector<int32_t>(64, 6)), SLORA_OK);
  for (uint32_t first = 0; first < 448; first += 64) {
    ASSERT_EQ(submit({{1, 64, first, 0, 0}}), SLORA_OK);
    ASSERT_EQ(collect(), SLORA_OK);
  }
  EXPECT_EQ(counters(engine_.get()).free_pages, 4u);
  EXPECT_EQ(submit({{2, 63, 0, 0, 0}, {1, 1, 448, 0, 0}}), SLORA_DEFERRED_PAGES);
  EXPECT_EQ(info(2).num_pages, 0u);
  ASSERT_EQ(slora_sequence_preempt(engine_.get(), 1, &error_), SLORA_OK);
  EXPECT_EQ(info(1).num_computed, 0u);
  EXPECT_EQ(submit({{2, 63, 0, 0, 0}, {1, 1, 0, 0, 0}}), SLORA_OK);
  EXPECT_EQ(collect(), SLORA_OK);
}

TEST_F(Abi, KeepsTheRevisionASequenceBeganWithWhenItsAdapterIsUnloaded) {
  AdapterHandle adapter = load_adapter(engine_.get(), demo_path("adapters/sentiment"));
  const uint64_t id = adapter_info(adapter.get()).adapter_id;
  const auto pages = adapter_info(adapter.get()).num_pages;
  ASSERT_EQ(create(1, {1, 2, 3}, {{id, 1.0f, 0}}), SLORA_OK);
  adapter.reset();
  expect_refused(create(2, {1}, {{id, 1.0f, 0}}), SLORA_ERROR_NOT_FOUND,
                 "there is no adapter " + std::to_string(id));
  ASSERT_EQ(submit({{1, 3, 0, SLORA_ROW_SAMPLE, 0}}), SLORA_OK);
  EXPECT_EQ(counters(engine_.get()).adapter_pages, pages);
  ASSERT_EQ(slora_sequence_release(engine_.get(), 1, &error_), SLORA_OK);
  EXPECT_EQ(counters(engine_.get()).adapter_pages, pages) << "a step in flight reads them";
  ASSERT_EQ(collect(), SLORA_OK);
  const slora_pool_counters after = counters(engine_.get());
  EXPECT_EQ(after.adapter_pages, 0u);
  EXPECT_EQ(after.host_adapters, 0u);
  EXPECT_EQ(after.host_adapter_bytes, 0u);
}

TEST_F(Abi, ReportsResidencyEventsAndHonoursPins) {
  AdapterHandle pinned = load_adapter(engine_.get(), demo_path("adapters/poem"));
  AdapterHandle loose = load_adapter(engine_.get(), demo_path("adapters/sentiment"));
  ASSERT_EQ(slora_adapter_set_pinned(pinned.get(), 1, &error_), SLORA_OK);
  const uint64_t ids[] = {adapter_info(pinned.get()).adapter_id,
                          adapter_info(loose.get()).adapter_id};
  ASSERT_EQ(create(1, std::vector<int32_t>(500, 5)), SLORA_OK);
  slora_plan plan = SLORA_PLAN_INIT;
  const slora_plan_row row{1, 1, 0, 0, 0};
  plan.rows = &row;
  plan.num_rows = 1;
  plan.prefetch_adapter_ids = ids;
  plan.num_prefetch = 2;
  ASSERT_EQ(slora_engine_submit(engine_.get(), &plan, &error_), SLORA_OK);
  ASSERT_EQ(collect(), SLORA_OK);
  uint32_t first = 1;
  std::vector<std::pair<uint64_t, int32_t>> events;
  int32_t status = SLORA_OK;
  // Fill the pool with KV until nothing is left: the loose adapter goes, the pinned one stays.
  while (first + 16 <= 500) {
    status = submit({{1, 16, first, 0, 0}});
    if (status != SLORA_OK) break;
    ASSERT_EQ(collect(), SLORA_OK);
    for (uint64_t i = 0; i < result_.num_events; ++i)
      events.emplace_back(events_[i].adapter_id, events_[i].kind);
    first += 16;
  }
  EXPECT_EQ(status, SLORA_DEFERRED_PAGES);
  EXPECT_EQ(adapter_info(pinned.get()).residency, SLORA_RESIDENCY_DEVICE);
  EXPECT_EQ(adapter_info(loose.get()).residency, SLORA_RESIDENCY_HOST);
  EXPECT_EQ(std::count(events.begin(), events.end(),
                       std::make_pair(ids[1], int32_t{SLORA_RESIDENCY_EVICTED})),
            1);
  EXPECT_EQ(std::count(events.begin(), events.end(),
                       std::make_pair(ids[0], int32_t{SLORA_RESIDENCY_EVICTED})),
            0);
}

TEST_F(Abi, RefusesWhatTheHostAdapterBudgetDoesNotHold) {
  slora_engine_options small = options();
  small.pool_bytes = 64u << 20;
  // The image of arith takes 5 MiB: the budget holds it, and not with another beside it.
  small.host_adapter_bytes = (5u << 20) / ranks_under_test().tp_size;
  engine_.reset();
  engine_ = create_engine(model_.get(), small);
  AdapterHandle first = load_adapter(engine_.get(), demo_path("adapters/poem"));
  EXPECT_THROW(
      {
        try {
          load_adapter(engine_.get(), demo_path("adapters/arith"));
        } catch (const AbiError& failure) {
          EXPECT_EQ(failure.status, SLORA_ERROR_OUT_OF_MEMORY);
          EXPECT_NE(std::string(failure.what())
                        .find("host adapter budget of " + std::to_string(small.host_adapter_bytes)),
                    std::string::npos)
              << failure.what();
          throw;
        }
      },
      AbiError);
  EXPECT_EQ(counters(engine_.get()).host_adapters, 1u);

  // What no unloading can make room for is not to be tried again.
  first.reset();
  small.host_adapter_bytes = (1u << 20) / ranks_under_test().tp_size;
  engine_.reset();
  engine_ = create_engine(model_.get(), small);
  try {
    load_adapter(engine_.get(), demo_path("adapters/arith"));
    ADD_FAILURE() << "an image larger than the whole budget was taken";
  } catch (const AbiError& failure) {
    EXPECT_EQ(failure.status, SLORA_ERROR_UNSUPPORTED) << failure.what();
    EXPECT_NE(std::string(failure.what())
                  .find("host adapter budget is " + std::to_string(small.host_adapter_bytes)),
              std::string::npos)
        << failure.what();
  }
  EXPECT_EQ(counters(engine_.get()).host_adapters, 0u);
}

TEST_F(Abi, AnyOrderOfDestructionIsLegal) {
  AdapterHandle adapter = load_adapter(engine_.get(), demo_path("adapters/poem"));
  ASSERT_EQ(create(1, {1, 2, 3}), SLORA_OK);
  ASSERT_EQ(submit({{1, 3, 0, SLORA_ROW_SAMPLE, 0}}), SLORA_OK);
  model_.reset();
  engine_.reset();
  EXPECT_EQ(adapter_info(adapter.get()).residency, SLORA_RESIDENCY_HOST);
}

TEST_F(Abi, LoadsAndUnloadsAdaptersFromOtherThreadsWhileStepsRun) {
  ASSERT_EQ(create(1, {1, 2, 3}), SLORA_OK);
  std::thread loader([&] {
    for (int i = 0; i < 30; ++i) load_adapter(engine_.get(), demo_path("adapters/poem"));
  });
  uint32_t first = 0;
  for (int i = 0; i < 60; ++i) {
    ASSERT_EQ(submit({{1, first == 0 ? 3u : 1u, first, SLORA_ROW_SAMPLE, 0}}), SLORA_OK);
    ASSERT_EQ(collect(), SLORA_OK);
    first = info(1).num_computed;
  }
  loader.join();
  EXPECT_EQ(counters(engine_.get()).host_adapters, 0u);
}

TEST_F(Abi, RefusesStructsOfTheWrongSize) {
  slora_plan plan = SLORA_PLAN_INIT;
  plan.struct_size = 3;
  expect_refused(
      slora_engine_submit(engine_.get(), &plan, &error_), SLORA_ERROR_STRUCT_SIZE,
      "plan.struct_size is 3, this library knows 32 (set it with the struct's INIT macro)");
  struct {
    slora_plan plan;
    uint64_t later_field;
  } longer{SLORA_PLAN_INIT, 1};
  longer.plan.struct_size = sizeof longer;
  expect_refused(slora_engine_submit(engine_.get(), &longer.plan, &error_), SLORA_ERROR_STRUCT_SIZE,
                 "plan.struct_size is 40, this library knows 32 and byte 32 is not zero");
  longer.later_field = 0;
  expect_refused(slora_engine_submit(engine_.get(), &longer.plan, &error_),
                 SLORA_ERROR_INVALID_PLAN, "num_rows is 0, the limit is 1..3");
}

TEST(AbiModel, RefusesModelsWithOneClearLine) {
  auto refused = [](const std::string& path, int32_t status, const char* part) {
    try {
      load_model(path, SLORA_DTYPE_F32);
      ADD_FAILURE() << path << " was accepted";
    } catch (const AbiError& failure) {
      EXPECT_EQ(failure.status, status) << failure.what();
      EXPECT_NE(std::string(failure.what()).find(part), std::string::npos) << failure.what();
      EXPECT_EQ(std::string(failure.what()).find('\n'), std::string::npos);
    }
  };
  refused("/nowhere/at/all", SLORA_ERROR_IO, "/nowhere/at/all");
  refused(std::string("a\0b", 3), SLORA_ERROR_INVALID_ARGUMENT, "zero byte");
  refused("\xff\xfe", SLORA_ERROR_INVALID_ARGUMENT, "not UTF-8");
  slora_error error = SLORA_ERROR_INIT;
  EXPECT_EQ(slora_model_load(nullptr, &error), nullptr);
  EXPECT_STREQ(error.message, "options is null");
  EXPECT_EQ(slora_model_load(nullptr, nullptr), nullptr) << "the error record may be null";
}

TEST(AbiModel, CanBeCancelledByTheCaller) {
  const std::string path = demo_path("base");
  slora_error error = SLORA_ERROR_INIT;
  slora_progress progress = SLORA_PROGRESS_INIT;
  progress.cancel = 1;
  slora_model_options options = SLORA_MODEL_OPTIONS_INIT;
  options.backend = SLORA_BACKEND_HOST;
  options.path = path.data();
  options.path_bytes = path.size();
  options.progress = &progress;
  EXPECT_EQ(slora_model_load(&options, &error), nullptr);
  EXPECT_EQ(error.status, SLORA_ERROR_CANCELLED) << error.message;
  progress.cancel = 0;
  ModelHandle model(slora_model_load(&options, &error));
  ASSERT_NE(model, nullptr) << error.message;
  EXPECT_EQ(progress.done_bytes, progress.total_bytes);
  EXPECT_GT(progress.total_bytes, 10u << 20);
}

TEST(AbiBackend, SaysWhyCudaIsNotAvailable) {
  slora_error error = SLORA_ERROR_INIT;
  slora_backend_info info = SLORA_BACKEND_INFO_INIT;
  ASSERT_EQ(slora_backend_probe(SLORA_BACKEND_HOST, &info, &error), SLORA_OK) << error.message;
  EXPECT_EQ(info.backend, SLORA_BACKEND_HOST);
  EXPECT_GE(info.num_threads, 1);
  EXPECT_EQ(slora_backend_probe(7, &info, &error), SLORA_ERROR_INVALID_ARGUMENT);
  setenv("SLORA_CUDA_PLUGIN", "/nowhere/libslora_cuda.so", 1);
  EXPECT_EQ(slora_backend_probe(SLORA_BACKEND_CUDA, &info, &error), SLORA_ERROR_BACKEND);
  EXPECT_NE(
      std::string(error.message).find("/nowhere/libslora_cuda.so: cannot open shared object file"),
      std::string::npos)
      << error.message;
  unsetenv("SLORA_CUDA_PLUGIN");
}

}  // namespace
}  // namespace slora::test
