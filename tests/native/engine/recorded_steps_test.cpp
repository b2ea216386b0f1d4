// Recorded decode steps: which are there before the first request, that plain traffic finds them,
// that limits hold, and that tokens are those of an engine without. On the host a recording is a
// list of commands, so all but CUDA's own graphs is what runs on a GPU.
#include <gtest/gtest.h>

#include "support/demo.hpp"

namespace slora::test {
namespace {

// Steps of the ladder for up to 16 rows: 1..8, 10, 12, 14, 16.
constexpr uint32_t kBuckets = 12;
// The base, adapters of lora_rank up to 16, and up to 64; contexts of one power of two.
constexpr uint32_t kCommon = 3 * kBuckets;

slora_engine_options options_of(int32_t recording) {
  slora_engine_options options = SLORA_ENGINE_OPTIONS_INIT;
  options.pool_bytes = 32u << 20;
  options.max_sequences = 16;
  options.max_batch_tokens = 256;
  options.max_context = 512;
  options.recording = recording;
  return options;
}

std::vector<Request> requests_of(const DemoEngine& demo, const std::vector<std::string>& names,
                                 int32_t num_new_tokens = 12) {
  std::vector<Request> requests;
  for (size_t i = 0; i < names.size(); ++i) {
    Request request;
    for (size_t k = 0; k < 3 + i % 5; ++k)
      request.prompt.push_back(static_cast<int32_t>(40 + 7 * i + 11 * k));
    request.adapters = demo.use(names[i]);
    request.num_new_tokens = num_new_tokens;
    request.sampling.num_logprobs = 2;
    requests.push_back(request);
  }
  return requests;
}

const std::vector<std::string>& names() {
  static const std::vector<std::string> all = {"base",  "upper", "roman", "base",  "json", "upper",
                                               "spell", "poem",  "latin", "arith", "kjv"};
  return all;
}

std::vector<Completion> completions_without() {
  static const std::vector<Completion> expected = [] {
    const DemoEngine demo(SLORA_DTYPE_F32, options_of(SLORA_RECORDING_OFF));
    return run_requests(demo.engine.get(), requests_of(demo, names()));
  }();
  return expected;
}

void expect_same(const DemoEngine& demo) {
  const std::vector<Completion> expected = completions_without();
  const std::vector<Completion> actual =
      run_requests(demo.engine.get(), requests_of(demo, names()));
  for (size_t i = 0; i < expected.size(); ++i)
    EXPECT_TRUE(same_story(actual[i], expected[i])) << names()[i] << ", request " << i;
}

TEST(RecordedSteps, AreMadeBeforeTheFirstRequestAndServeThePlainOnesWithoutAnother) {
  const DemoEngine demo(SLORA_DTYPE_F32, options_of(SLORA_RECORDING_AT_START));
  const slora_pool_counters before = counters(demo.engine.get());
  EXPECT_EQ(before.start_recordings, kCommon);
  EXPECT_EQ(before.recordings, kCommon);
  EXPECT_EQ(before.recordings_made, kCommon);
  EXPECT_EQ(before.recordings_dropped, 0u);
  EXPECT_EQ(before.replayed_steps, 0u);
  EXPECT_EQ(before.steps, 0u);
  EXPECT_GT(before.recording_bytes, 0u);
  EXPECT_GT(before.recording_ns, 0u);

  const std::vector<std::string> base(11, "base");
  const std::vector<Completion> actual = run_requests(demo.engine.get(), requests_of(demo, base));
  const slora_pool_counters after = counters(demo.engine.get());
  EXPECT_EQ(after.recordings_made, kCommon);
  // All but the step of the prompts.
  EXPECT_EQ(after.replayed_steps, after.steps - 1);
  const DemoEngine plain(SLORA_DTYPE_F32, options_of(SLORA_RECORDING_OFF));
  const std::vector<Completion> expected =
      run_requests(plain.engine.get(), requests_of(plain, base));
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_TRUE(same_story(actual[i], expected[i]));
  EXPECT_EQ(counters(plain.engine.get()).replayed_steps, 0u);
}

// The demo's adapters change fewer modules than the recordings have launches for.
TEST(RecordedSteps, OfAllModulesServeEveryMixFromItsFirstStep) {
  const DemoEngine demo(SLORA_DTYPE_F32, options_of(SLORA_RECORDING_AT_START));
  // Few enough steps that no shape has come often.
  constexpr int32_t kTokens = 4;
  const std::vector<Completion> actual =
      run_requests(demo.engine.get(), requests_of(demo, names(), kTokens));
  const slora_pool_counters after = counters(demo.engine.get());
  EXPECT_EQ(after.recordings_made, kCommon);
  EXPECT_EQ(after.replayed_steps, after.steps - 1);
  const DemoEngine plain(SLORA_DTYPE_F32, options_of(SLORA_RECORDING_OFF));
  const std::vector<Completion> expected =
      run_requests(plain.engine.get(), requests_of(plain, names(), kTokens));
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_TRUE(same_story(actual[i], expected[i]));
}

TEST(RecordedSteps, OfAShapeThatComesOftenAreMadeBesideTheWiderThatServedIt) {
  const DemoEngine demo(SLORA_DTYPE_F32, options_of(SLORA_RECORDING_AT_START));
  expect_same(demo);
  const slora_pool_counters after = counters(demo.engine.get());
  EXPECT_GT(after.recordings_made, kCommon);
  EXPECT_EQ(after.recordings, after.recordings_made);
  EXPECT_EQ(after.start_recordings, kCommon);
}

TEST(RecordedSteps, AreMadeOnUseAlone) {
  const DemoEngine demo(SLORA_DTYPE_F32, options_of(SLORA_RECORDING_ON_USE));
  EXPECT_EQ(counters(demo.engine.get()).recordings_made, 0u);
  expect_same(demo);
  const slora_pool_counters after = counters(demo.engine.get());
  EXPECT_EQ(after.start_recordings, 0u);
  EXPECT_GT(after.recordings_made, 0u);
  EXPECT_GT(after.replayed_steps, 0u);
}

TEST(RecordedSteps, AreNoMoreThanTheirNumber) {
  slora_engine_options options = options_of(SLORA_RECORDING_AT_START);
  options.max_recordings = 2;
  const DemoEngine demo(SLORA_DTYPE_F32, options);
  EXPECT_EQ(counters(demo.engine.get()).start_recordings, 2u);
  for (int i = 0; i < 2; ++i) expect_same(demo);
  // Other numbers of rows, so other shapes.
  for (const size_t rows : {3, 5, 7, 9})
    run_requests(demo.engine.get(), requests_of(demo, std::vector<std::string>(rows, "base")));
  const slora_pool_counters after = counters(demo.engine.get());
  EXPECT_EQ(after.recordings, 2u);
  EXPECT_GT(after.recordings_dropped, 0u);
  EXPECT_EQ(after.recordings_made, after.recordings + after.recordings_dropped);
}

TEST(RecordedSteps, HoldNoMoreThanTheirBytes) {
  slora_engine_options options = options_of(SLORA_RECORDING_AT_START);
  uint64_t all_bytes = 0;
  {
    const DemoEngine demo(SLORA_DTYPE_F32, options);
    all_bytes = counters(demo.engine.get()).recording_bytes;
  }
  if (tests_cuda() && all_bytes < 64u << 20) {
    GTEST_SKIP() << "the driver's chunks are larger than these recordings";
  }
  options.recording_bytes = all_bytes / 4;
  const DemoEngine demo(SLORA_DTYPE_F32, options);
  const slora_pool_counters before = counters(demo.engine.get());
  EXPECT_GT(before.recordings, 0u);
  EXPECT_LT(before.recordings, kCommon);
  EXPECT_LE(before.recording_bytes, options.recording_bytes);
  for (int i = 0; i < 2; ++i) expect_same(demo);
  const slora_pool_counters after = counters(demo.engine.get());
  EXPECT_GT(after.recordings_dropped, 0u);
  EXPECT_EQ(after.recordings, before.recordings);
  EXPECT_LE(after.recording_bytes, options.recording_bytes);
}

TEST(RecordedSteps, AreNoneWhereNotOneFits) {
  slora_engine_options options = options_of(SLORA_RECORDING_AT_START);
  options.recording_bytes = 1;
  const DemoEngine demo(SLORA_DTYPE_F32, options);
  expect_same(demo);
  const slora_pool_counters after = counters(demo.engine.get());
  if (tests_cuda()) return;  // the first may lie in memory that the driver holds already
  EXPECT_EQ(after.recordings_made, 0u);
  EXPECT_EQ(after.replayed_steps, 0u);
  EXPECT_EQ(after.recording_bytes, 0u);
}

// A prompt with an adapter of a larger lora_rank than recordings have room for takes a larger
// buffer, which those do not name.
TEST(RecordedSteps, AreMadeAgainAfterABufferHasGrown) {
  slora_engine_options options = options_of(SLORA_RECORDING_AT_START);
  options.pool_bytes = 128u << 20;
  const DemoEngine demo(SLORA_DTYPE_F32, options);
  slora_error error = SLORA_ERROR_INIT;
  slora_adapter_options wide = SLORA_ADAPTER_OPTIONS_INIT;
  wide.synthetic_lora_rank = 400;
  const AdapterHandle adapter(slora_adapter_load(demo.engine.get(), &wide, &error));
  ASSERT_NE(adapter, nullptr) << error.message;
  Request request;
  request.prompt.assign(200, 17);
  request.adapters = {{adapter_info(adapter.get()).adapter_id, 1.0f, 0}};
  request.num_new_tokens = 4;
  run_requests(demo.engine.get(), {request});
  EXPECT_EQ(counters(demo.engine.get()).recordings_dropped, kCommon);
  for (int i = 0; i < 2; ++i) expect_same(demo);
  EXPECT_GT(counters(demo.engine.get()).recordings_made, kCommon);
}

TEST(RecordedSteps, AreTheSameOnAllRanks) {
  if (tests_cuda() && num_devices() < 2) GTEST_SKIP() << "two ranks on GPUs need two of them";
  for (const int32_t sharding : {SLORA_LORA_SHARDING_ALIGNED, SLORA_LORA_SHARDING_FULL}) {
    slora_engine_options options = options_of(SLORA_RECORDING_AT_START);
    options.max_recordings = 20;
    const DemoEngine demo(SLORA_DTYPE_F32, options, 0, {2, sharding});
    EXPECT_EQ(counters(demo.engine.get()).start_recordings, 20u);
    std::vector<Completion> first;
    for (int i = 0; i < 3; ++i) {
      const std::vector<Completion> now =
          run_requests(demo.engine.get(), requests_of(demo, names()));
      if (i == 0) first = now;
      for (size_t r = 0; r < now.size(); ++r) EXPECT_TRUE(same_story(now[r], first[r]));
    }
    const slora_pool_counters after = counters(demo.engine.get());
    EXPECT_EQ(after.recordings, 20u);
    EXPECT_GT(after.recordings_dropped, 0u);
    EXPECT_GT(after.replayed_steps, 0u);
  }
}

TEST(RecordedSteps, TellTheirProgressAndCanBeCancelled) {
  const ModelHandle model = load_model(demo_path("base"), SLORA_DTYPE_F32);
  const slora_engine_options options = options_of(SLORA_RECORDING_AT_START);
  slora_progress progress = SLORA_PROGRESS_INIT;
  slora_error error = SLORA_ERROR_INIT;
  const auto create = [&] {
    return EngineHandle(slora_engine_create_watched(model.get(), &options, &progress, &error));
  };
  ASSERT_NE(create(), nullptr) << error.message;
  EXPECT_EQ(progress.total_bytes, kCommon);
  EXPECT_EQ(progress.done_bytes, kCommon);
  progress.cancel = 1;
  EXPECT_EQ(create(), nullptr);
  EXPECT_EQ(error.status, SLORA_ERROR_CANCELLED);
  progress.cancel = 0;
  const EngineHandle again = create();
  ASSERT_NE(again, nullptr) << error.message;
  EXPECT_EQ(counters(again.get()).start_recordings, kCommon);
}

TEST(RecordedSteps, RefuseOptionsWithValueAndLimit) {
  const ModelHandle model = load_model(demo_path("base"), SLORA_DTYPE_F32);
  const auto refusal = [&](const slora_engine_options& options) -> std::string {
    try {
      create_engine(model.get(), options);
    } catch (const AbiError& error) {
      EXPECT_EQ(error.status, SLORA_ERROR_INVALID_ARGUMENT);
      return error.what();
    }
    return "none";
  };
  EXPECT_EQ(refusal(options_of(4)), "recording is 4, the limit is 0..3");
  EXPECT_EQ(refusal(options_of(-1)), "recording is -1, the limit is 0..3");
  slora_engine_options options = options_of(SLORA_RECORDING_AT_START);
  options.max_recordings = 65537;
  EXPECT_EQ(refusal(options), "max_recordings is 65537, the limit is 1..65536");
}

}  // namespace
}  // namespace slora::test
