// Ranks as processes: the same answers as one rank, engines one after another, and each way in
// which a process can fail ends in one clear error in time. With SLORA_TEST_BACKEND=cuda over two
// GPUs, through NCCL.
#include <chrono>
#include <cmath>

#include "comm/free_address.hpp"
#include "comm/rank_process.hpp"
#include "support/demo.hpp"

namespace slora::test {
namespace {

using comm::test::free_address;
using comm::test::RankProcess;
using Clock = std::chrono::steady_clock;

// A GPU's first step loads its code, which takes seconds.
uint32_t limit_ms() { return tests_cuda() ? 10'000 : 2000; }

class Workers : public testing::Test {
 protected:
  void start(uint32_t tp_rank, std::map<std::string, std::string> arguments = {}) {
    arguments.emplace("join", address_);
    arguments.emplace("secret", "open sesame");
    arguments.emplace("rank", std::to_string(tp_rank));
    arguments.emplace("limit_ms", std::to_string(limit_ms()));
    if (tests_cuda()) arguments.emplace("device", std::to_string(tp_rank));
    workers_.push_back(std::make_unique<RankProcess>(SLORA_TP_WORKER, arguments));
  }

  // Null with error_ where that fails.
  ModelHandle load(const std::string& folder, uint32_t tp_size, int32_t sharding = 0) {
    slora_model_options options = SLORA_MODEL_OPTIONS_INIT;
    const std::string path = std::string(SLORA_ASSETS) + "/" + folder;
    const std::string secret = "open sesame";
    options.backend = tests_cuda() ? SLORA_BACKEND_CUDA : SLORA_BACKEND_HOST;
    options.path = path.data();
    options.path_bytes = path.size();
    options.compute_dtype = SLORA_DTYPE_F32;
    options.num_threads = 1;
    options.tp_size = tp_size;
    options.lora_sharding = sharding;
    options.tp_listen = address_.data();
    options.tp_listen_bytes = address_.size();
    options.tp_secret = secret.data();
    options.tp_secret_bytes = secret.size();
    options.tp_join_ms = 20'000;
    options.tp_limit_ms = limit_ms();
    return ModelHandle(slora_model_load(&options, &error_));
  }

  std::string error() const { return error_.message; }

  std::string address_ = free_address();
  slora_error error_ = SLORA_ERROR_INIT;
  std::vector<std::unique_ptr<RankProcess>> workers_;
};

slora_engine_options small() {
  slora_engine_options options = SLORA_ENGINE_OPTIONS_INIT;
  options.pool_bytes = 16u << 20;
  options.max_sequences = 16;
  options.max_batch_tokens = 128;
  return options;
}

Request request_with(const slora_adapter* adapter) {
  Request request;
  request.prompt = {1, 9, 30, 200, 17, 3};
  request.num_new_tokens = 16;
  request.wants_logits = true;
  if (adapter) request.adapters = {{adapter_info(adapter).adapter_id, 1.0f, 0}};
  return request;
}

Completion run_with_roman(slora_model* model) {
  const EngineHandle engine = create_engine(model, small());
  const AdapterHandle adapter = load_adapter(engine.get(), demo_path("adapters/roman"));
  std::mt19937 chaos(3);
  return run_requests(engine.get(), {request_with(adapter.get()), request_with(nullptr)},
                      {&chaos, 0.1})[0];
}

void expect_near(const Completion& got, const Completion& want) {
  ASSERT_EQ(got.logits.size(), want.logits.size());
  for (size_t i = 0; i < want.logits.size(); ++i)
    ASSERT_LE(std::fabs(got.logits[i] - want.logits[i]), tests_cuda() ? 1e-3f : 1e-4f) << i;
  EXPECT_EQ(got.tokens, want.tokens);
}

TEST_F(Workers, GiveTheAnswersOfOneRankEngineAfterEngine) {
  const ModelHandle one = load_model(demo_path("base"), SLORA_DTYPE_F32, 1, Ranks{});
  const Completion expected = run_with_roman(one.get());
  for (const int32_t sharding : {SLORA_LORA_SHARDING_ALIGNED, SLORA_LORA_SHARDING_FULL}) {
    workers_.clear();
    address_ = free_address();
    const uint32_t tp_size = tests_cuda() ? 2 : 4;
    for (uint32_t tp_rank = 1; tp_rank < tp_size; ++tp_rank) start(tp_rank);
    ModelHandle model = load("demo-model/base", tp_size, sharding);
    ASSERT_TRUE(model) << error();
    for (int round = 0; round < 2; ++round) {
      SCOPED_TRACE(round);
      expect_near(run_with_roman(model.get()), expected);
      slora_engine_options impossible = small();
      impossible.pool_bytes = 1;
      EXPECT_THROW(create_engine(model.get(), impossible), AbiError);
    }
    model.reset();
    for (const auto& worker : workers_) EXPECT_EQ(worker->last_line(), "ok");
  }
}

// Steps until one fails; says how long that took.
AbiError run_until_failure(slora_engine* engine) {
  try {
    for (;;) run_requests(engine, {request_with(nullptr)});
  } catch (const AbiError& failure) {
    return failure;
  }
}

TEST_F(Workers, AKilledRankEndsTheStepWithItsName) {
  start(1);
  const ModelHandle model = load("tiny-models/llama-mha", 2);
  ASSERT_TRUE(model) << error();
  const EngineHandle engine = create_engine(model.get(), small());
  run_requests(engine.get(), {request_with(nullptr)});
  kill(workers_[0]->pid(), SIGKILL);
  const auto begin = Clock::now();
  const AbiError failure = run_until_failure(engine.get());
  EXPECT_EQ(failure.status, SLORA_ERROR_RANK_LOST);
  EXPECT_NE(std::string(failure.what()).find("rank 1 of 2"), std::string::npos) << failure.what();
  EXPECT_LT(Clock::now() - begin, std::chrono::milliseconds(8000 + limit_ms()));
}

TEST_F(Workers, AStalledRankIsLostWithinTheTimeLimit) {
  start(1);
  const ModelHandle model = load("tiny-models/llama-mha", 2);
  ASSERT_TRUE(model) << error();
  const EngineHandle engine = create_engine(model.get(), small());
  run_requests(engine.get(), {request_with(nullptr)});
  kill(workers_[0]->pid(), SIGSTOP);
  const auto begin = Clock::now();
  const AbiError failure = run_until_failure(engine.get());
  EXPECT_EQ(failure.status, SLORA_ERROR_RANK_LOST);
  EXPECT_NE(std::string(failure.what()).find("rank 1 of 2"), std::string::npos) << failure.what();
  EXPECT_LT(Clock::now() - begin, std::chrono::milliseconds(13'000 + limit_ms()));
}

TEST_F(Workers, ARankOfAnotherModelIsRefusedOnBothSides) {
  start(1, {{"model", std::string(SLORA_ASSETS) + "/tiny-models/llama-bias-linear"}});
  EXPECT_EQ(load("tiny-models/llama-mha", 2), nullptr);
  EXPECT_EQ(error_.status, SLORA_ERROR_INVALID_ARGUMENT) << error();
  EXPECT_NE(error().find("rank 1 of 2 has another model than rank 0"), std::string::npos)
      << error();
  EXPECT_NE(workers_[0]->last_line().find("rank 1 of 2 has another model"), std::string::npos);
}

TEST_F(Workers, ARankThatCannotLoadIsNamedToAll) {
  start(1, {{"model", "/nowhere"}});
  EXPECT_EQ(load("tiny-models/llama-mha", 2), nullptr);
  EXPECT_EQ(error_.status, SLORA_ERROR_IO) << error();
  EXPECT_NE(error().find("rank 1 of 2: "), std::string::npos) << error();
  EXPECT_NE(workers_[0]->last_line().find("/nowhere"), std::string::npos);
}

TEST_F(Workers, ARankThatDoesNotKnowTheSecretIsRefused) {
  start(1, {{"secret", "close sesame"}});
  EXPECT_EQ(load("tiny-models/llama-mha", 2), nullptr);
  EXPECT_NE(error_.status, SLORA_OK);
  EXPECT_NE(error().find("secret"), std::string::npos) << error();
  EXPECT_NE(workers_[0]->last_line().find("secret"), std::string::npos);
}

TEST_F(Workers, AnAdapterThatWorkersCannotReadIsLoadedNowhere) {
  start(1);
  const ModelHandle model = load("tiny-models/llama-mha", 2);
  ASSERT_TRUE(model) << error();
  const EngineHandle engine = create_engine(model.get(), small());
  EXPECT_THROW(load_adapter(engine.get(), "/nowhere"), AbiError);
  const AdapterHandle good = load_adapter(
      engine.get(), std::string(SLORA_ASSETS) + "/tiny-models/llama-mha/adapters/dora");
  run_requests(engine.get(), {request_with(good.get())});
}

}  // namespace
}  // namespace slora::test
