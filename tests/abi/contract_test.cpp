// What the headers promise of every call, tried on the library through the C ABI alone: versions,
// struct sizes of older and newer callers, null arguments, and objects that outlive their parents.
// What the calls compute is tested elsewhere.

#include <gtest/gtest.h>
#include <slora/slora.h>

#include <cstddef>
#include <cstring>
#include <string>
#include <string_view>

namespace {

constexpr std::string_view kNoSuchModel = "/no/such/model";
constexpr uint32_t kTailBytes = 16;

// A struct as a newer caller has it: the one this library knows, and fields after it.
template <typename T>
struct Longer {
  T known;
  uint8_t tail[kTailBytes];

  explicit Longer(const T& value) : known(value), tail{} {
    known.struct_size = sizeof(T) + kTailBytes;
  }
};

slora_model_options model_options(std::string_view path) {
  slora_model_options options = SLORA_MODEL_OPTIONS_INIT;
  options.backend = SLORA_BACKEND_HOST;
  options.compute_dtype = SLORA_DTYPE_F32;
  options.num_threads = 1;
  options.path = path.data();
  options.path_bytes = path.size();
  return options;
}

// The status of a load that must fail: IO if the options were read, STRUCT_SIZE if they were not.
int32_t load_status(const slora_model_options* options) {
  slora_error error = SLORA_ERROR_INIT;
  EXPECT_EQ(slora_model_load(options, &error), nullptr);
  EXPECT_NE(error.message[0], '\0');
  return error.status;
}

TEST(Version, IsThatOfTheHeaders) {
  EXPECT_EQ(slora_abi_version(), SLORA_ABI_VERSION);
  EXPECT_NE(slora_build_info()[0], '\0');
}

TEST(Version, StatusesHaveTheirNames) {
  EXPECT_STREQ(slora_status_name(SLORA_OK), "SLORA_OK");
  EXPECT_STREQ(slora_status_name(SLORA_DEFERRED_PAGES), "SLORA_DEFERRED_PAGES");
  EXPECT_STREQ(slora_status_name(SLORA_NOTHING_IN_FLIGHT), "SLORA_NOTHING_IN_FLIGHT");
  EXPECT_STREQ(slora_status_name(SLORA_ERROR_INTERNAL), "SLORA_ERROR_INTERNAL");
  EXPECT_STREQ(slora_status_name(SLORA_ERROR_RANK_LOST), "SLORA_ERROR_RANK_LOST");
  EXPECT_STREQ(slora_status_name(-999), "SLORA_UNKNOWN_STATUS");
}

TEST(StructSize, AnOlderCallersOptionsAreRead) {
  slora_model_options options = model_options(kNoSuchModel);
  options.struct_size = offsetof(slora_model_options, progress);
  EXPECT_EQ(load_status(&options), SLORA_ERROR_IO);
}

TEST(StructSize, ANewerCallersOptionsAreReadIfTheirTailIsZero) {
  const Longer<slora_model_options> options(model_options(kNoSuchModel));
  EXPECT_EQ(load_status(&options.known), SLORA_ERROR_IO);
}

TEST(StructSize, ANonZeroTailIsRefused) {
  Longer<slora_model_options> options(model_options(kNoSuchModel));
  options.tail[kTailBytes - 1] = 1;
  EXPECT_EQ(load_status(&options.known), SLORA_ERROR_STRUCT_SIZE);
}

TEST(StructSize, TooSmallIsRefused) {
  slora_model_options options = model_options(kNoSuchModel);
  for (const uint32_t size : {0u, 3u}) {
    options.struct_size = size;
    EXPECT_EQ(load_status(&options), SLORA_ERROR_STRUCT_SIZE) << size;
  }
}

TEST(StructSize, AnOlderCallersInfoIsNotOverrun) {
  slora_backend_info info;
  std::memset(&info, 0x5A, sizeof(info));
  info.struct_size = offsetof(slora_backend_info, features);
  slora_error error = SLORA_ERROR_INIT;
  ASSERT_EQ(slora_backend_probe(SLORA_BACKEND_HOST, &info, &error), SLORA_OK) << error.message;
  EXPECT_EQ(info.backend, SLORA_BACKEND_HOST);
  for (const char byte : info.features) EXPECT_EQ(byte, 0x5A);
}

TEST(StructSize, ANewerCallersInfoIsFilledAsFarAsItIsKnown) {
  Longer<slora_backend_info> info(SLORA_BACKEND_INFO_INIT);
  slora_error error = SLORA_ERROR_INIT;
  ASSERT_EQ(slora_backend_probe(SLORA_BACKEND_HOST, &info.known, &error), SLORA_OK)
      << error.message;
  EXPECT_GT(info.known.num_threads, 0);
  EXPECT_EQ(info.known.struct_size, sizeof(slora_backend_info) + kTailBytes)
      << "the size is the caller's";
  for (const uint8_t byte : info.tail) EXPECT_EQ(byte, 0);
}

TEST(Null, DestroysAcceptIt) {
  slora_model_destroy(nullptr);
  slora_engine_destroy(nullptr);
  slora_adapter_unload(nullptr);
}

TEST(Null, ReceiversAndOptionsAreRefusedByName) {
  slora_error error = SLORA_ERROR_INIT;
  EXPECT_EQ(slora_engine_check(nullptr, &error), SLORA_ERROR_INVALID_ARGUMENT);
  EXPECT_EQ(slora_engine_submit(nullptr, nullptr, &error), SLORA_ERROR_INVALID_ARGUMENT);
  EXPECT_EQ(slora_adapter_set_pinned(nullptr, 1, &error), SLORA_ERROR_INVALID_ARGUMENT);
  EXPECT_EQ(slora_backend_probe(SLORA_BACKEND_HOST, nullptr, &error), SLORA_ERROR_INVALID_ARGUMENT);
  EXPECT_EQ(load_status(nullptr), SLORA_ERROR_INVALID_ARGUMENT);
}

TEST(Null, TheErrorRecordMayBeMissing) {
  const slora_model_options options = model_options(kNoSuchModel);
  EXPECT_EQ(slora_model_load(&options, nullptr), nullptr);
  EXPECT_EQ(slora_engine_check(nullptr, nullptr), SLORA_ERROR_INVALID_ARGUMENT);
}

TEST(Error, ASuccessLeavesTheRecordAlone) {
  slora_error error = SLORA_ERROR_INIT;
  error.status = 77;
  slora_backend_info info = SLORA_BACKEND_INFO_INIT;
  ASSERT_EQ(slora_backend_probe(SLORA_BACKEND_HOST, &info, &error), SLORA_OK);
  EXPECT_EQ(error.status, 77);
}

TEST(Error, TextNeedsNoZeroByteAndComesBackInTheMessage) {
  const std::string path = std::string(kNoSuchModel) + "XXXX";
  slora_model_options options = model_options(path);
  options.path_bytes = kNoSuchModel.size();
  slora_error error = SLORA_ERROR_INIT;
  EXPECT_EQ(slora_model_load(&options, &error), nullptr);
  EXPECT_NE(std::strstr(error.message, kNoSuchModel.data()), nullptr) << error.message;
  EXPECT_EQ(std::strstr(error.message, "XXXX"), nullptr) << error.message;
  EXPECT_NE(error.site[0], '\0');
}

// A tiny model with random weights, and an engine on it.
class LoadedEngine : public testing::Test {
 protected:
  void SetUp() override {
    slora_model_options options = model_options(SLORA_ASSETS "/tiny-models/llama-f32");
    options.synthetic = 1;
    model_ = slora_model_load(&options, &error_);
    ASSERT_NE(model_, nullptr) << error_.message;
    engine_options_.pool_bytes = 4 << 20;
    engine_options_.max_sequences = 4;
    engine_ = slora_engine_create(model_, &engine_options_, &error_);
    ASSERT_NE(engine_, nullptr) << error_.message;
  }

  void TearDown() override {
    slora_engine_destroy(engine_);
    slora_model_destroy(model_);
  }

  slora_error error_ = SLORA_ERROR_INIT;
  slora_model* model_ = nullptr;
  slora_engine* engine_ = nullptr;
  slora_engine_options engine_options_ = SLORA_ENGINE_OPTIONS_INIT;
};

TEST_F(LoadedEngine, EngineOptionsOfOtherVersions) {
  slora_engine_options older = engine_options_;
  older.struct_size = offsetof(slora_engine_options, check_every_step);
  slora_engine* engine = slora_engine_create(model_, &older, &error_);
  EXPECT_NE(engine, nullptr) << error_.message;
  slora_engine_destroy(engine);

  Longer<slora_engine_options> newer(engine_options_);
  newer.tail[0] = 1;
  EXPECT_EQ(slora_engine_create(model_, &newer.known, &error_), nullptr);
  EXPECT_EQ(error_.status, SLORA_ERROR_STRUCT_SIZE);
}

TEST_F(LoadedEngine, EvictionPoliciesAreNamed) {
  for (const int32_t policy : {SLORA_EVICTION_DEFAULT, SLORA_EVICTION_LRU, SLORA_EVICTION_COST}) {
    engine_options_.eviction_policy = policy;
    slora_engine* engine = slora_engine_create(model_, &engine_options_, &error_);
    EXPECT_NE(engine, nullptr) << error_.message;
    slora_engine_destroy(engine);
  }
  for (const int32_t policy : {-1, 3}) {
    engine_options_.eviction_policy = policy;
    EXPECT_EQ(slora_engine_create(model_, &engine_options_, &error_), nullptr);
    EXPECT_EQ(error_.status, SLORA_ERROR_INVALID_ARGUMENT);
    EXPECT_NE(std::strstr(error_.message, "eviction_policy"), nullptr) << error_.message;
  }
}

TEST_F(LoadedEngine, AdapterOptionsOfOtherVersions) {
  slora_adapter_options older = SLORA_ADAPTER_OPTIONS_INIT;
  older.synthetic_lora_rank = 4;
  older.struct_size = offsetof(slora_adapter_options, progress);
  slora_adapter* adapter = slora_adapter_load(engine_, &older, &error_);
  EXPECT_NE(adapter, nullptr) << error_.message;
  slora_adapter_unload(adapter);

  older.struct_size = sizeof(older);
  Longer<slora_adapter_options> newer(older);
  newer.tail[0] = 1;
  EXPECT_EQ(slora_adapter_load(engine_, &newer.known, &error_), nullptr);
  EXPECT_EQ(error_.status, SLORA_ERROR_STRUCT_SIZE);
}

// An adapter on another one's image: an identity and a copy of its own, bytes counted once until
// the last of the two has gone, whichever goes first.
TEST_F(LoadedEngine, AnImageIsSharedAndCountedOnce) {
  const auto host_bytes = [&] {
    slora_pool_counters counters = SLORA_POOL_COUNTERS_INIT;
    EXPECT_EQ(slora_engine_get_counters(engine_, &counters, &error_), SLORA_OK);
    return counters.host_adapter_bytes;
  };
  for (const bool first_goes_first : {true, false}) {
    slora_adapter_options options = SLORA_ADAPTER_OPTIONS_INIT;
    options.synthetic_lora_rank = 4;
    slora_adapter* first = slora_adapter_load(engine_, &options, &error_);
    ASSERT_NE(first, nullptr) << error_.message;
    slora_adapter_info first_info = SLORA_ADAPTER_INFO_INIT;
    ASSERT_EQ(slora_adapter_get_info(first, &first_info, &error_), SLORA_OK);
    EXPECT_EQ(host_bytes(), first_info.image_bytes);

    options = SLORA_ADAPTER_OPTIONS_INIT;
    options.share_image_of = first;
    slora_adapter* second = slora_adapter_load(engine_, &options, &error_);
    ASSERT_NE(second, nullptr) << error_.message;
    slora_adapter_info second_info = SLORA_ADAPTER_INFO_INIT;
    ASSERT_EQ(slora_adapter_get_info(second, &second_info, &error_), SLORA_OK);
    EXPECT_NE(second_info.adapter_id, first_info.adapter_id);
    EXPECT_EQ(second_info.num_pages, first_info.num_pages);
    EXPECT_EQ(second_info.image_bytes, first_info.image_bytes);
    EXPECT_EQ(host_bytes(), first_info.image_bytes);

    slora_adapter_unload(first_goes_first ? first : second);
    EXPECT_EQ(host_bytes(), first_info.image_bytes);
    slora_adapter_unload(first_goes_first ? second : first);
    EXPECT_EQ(host_bytes(), 0u);
  }
}

TEST_F(LoadedEngine, ASharedImageExcludesOtherSourcesAndOtherEngines) {
  slora_adapter_options options = SLORA_ADAPTER_OPTIONS_INIT;
  options.synthetic_lora_rank = 4;
  slora_adapter* first = slora_adapter_load(engine_, &options, &error_);
  ASSERT_NE(first, nullptr) << error_.message;
  options.share_image_of = first;
  EXPECT_EQ(slora_adapter_load(engine_, &options, &error_), nullptr);
  EXPECT_EQ(error_.status, SLORA_ERROR_INVALID_ARGUMENT) << error_.message;
  options.synthetic_lora_rank = 0;
  options.path = "x";
  options.path_bytes = 1;
  EXPECT_EQ(slora_adapter_load(engine_, &options, &error_), nullptr);
  EXPECT_EQ(error_.status, SLORA_ERROR_INVALID_ARGUMENT) << error_.message;

  options = SLORA_ADAPTER_OPTIONS_INIT;
  options.share_image_of = first;
  slora_engine* other = slora_engine_create(model_, &engine_options_, &error_);
  ASSERT_NE(other, nullptr) << error_.message;
  EXPECT_EQ(slora_adapter_load(other, &options, &error_), nullptr);
  EXPECT_EQ(error_.status, SLORA_ERROR_INVALID_ARGUMENT) << error_.message;
  slora_engine_destroy(other);
  slora_adapter_unload(first);
}

TEST_F(LoadedEngine, SequencesAndPlansOfOtherVersions) {
  const int32_t prompt[] = {1, 2, 3};
  slora_sequence_options sequence = SLORA_SEQUENCE_OPTIONS_INIT;
  sequence.sequence_id = 5;
  sequence.prompt_tokens = prompt;
  sequence.num_prompt_tokens = 3;
  slora_sampling_options sampling = SLORA_SAMPLING_OPTIONS_INIT;
  sampling.struct_size = offsetof(slora_sampling_options, logit_bias);
  sequence.sampling = &sampling;
  ASSERT_EQ(slora_sequence_create(engine_, &sequence, &error_), SLORA_OK) << error_.message;

  const slora_plan_row row = {5, 3, 0, SLORA_ROW_SAMPLE, 0};
  slora_plan plan = SLORA_PLAN_INIT;
  plan.num_rows = 1;
  plan.rows = &row;
  Longer<slora_plan> newer(plan);
  newer.tail[0] = 1;
  EXPECT_EQ(slora_engine_submit(engine_, &newer.known, &error_), SLORA_ERROR_STRUCT_SIZE);

  plan.struct_size = offsetof(slora_plan, prefetch_adapter_ids);
  EXPECT_EQ(slora_engine_submit(engine_, &plan, &error_), SLORA_OK) << error_.message;
}

TEST_F(LoadedEngine, ParentsMayGoFirst) {
  slora_adapter_options options = SLORA_ADAPTER_OPTIONS_INIT;
  options.synthetic_lora_rank = 4;
  slora_adapter* adapter = slora_adapter_load(engine_, &options, &error_);
  ASSERT_NE(adapter, nullptr) << error_.message;
  slora_model_destroy(model_);
  slora_engine_destroy(engine_);
  model_ = nullptr;
  engine_ = nullptr;
  slora_adapter_info info = SLORA_ADAPTER_INFO_INIT;
  EXPECT_EQ(slora_adapter_get_info(adapter, &info, &error_), SLORA_OK) << error_.message;
  slora_adapter_unload(adapter);
}

}  // namespace
