// Memory that runs out and devices that fail, at every place of a step: a step that finds no memory
// has changed nothing, and a lost device ends an engine, not the process.
#include <gtest/gtest.h>

#include <atomic>

#include "slora/device/host_device.hpp"
#include "slora/engine/ranks.hpp"

namespace slora::engine {
namespace {

using core::Status;

// What the device refuses; everything else is the host's.
struct Refusals {
  std::atomic<int64_t> allocations_left{-1};                            // below 0: no limit
  std::atomic<int32_t> embed{0}, synchronize_event{0}, query_event{0};  // statuses
} g_refuses;

int32_t refuse(int32_t status, device::ApiError* error) {
  std::snprintf(error->message, sizeof error->message, "refused by the test");
  return status;
}

const device::DeviceApi* refusing_api() {
  static const device::DeviceApi api = [] {
    device::DeviceApi table = *device::host_device_api();
    table.memory_alloc = [](void* device, device::MemoryKind kind, uint64_t bytes, void** out,
                            device::ApiError* error) {
      if (g_refuses.allocations_left == 0)
        return refuse(static_cast<int32_t>(Status::kOutOfMemory), error);
      if (g_refuses.allocations_left > 0) --g_refuses.allocations_left;
      return device::host_device_api()->memory_alloc(device, kind, bytes, out, error);
    };
    table.event_synchronize = [](void* event, device::ApiError* error) {
      if (g_refuses.synchronize_event != 0) return refuse(g_refuses.synchronize_event, error);
      return device::host_device_api()->event_synchronize(event, error);
    };
    table.event_query = [](void* event, int32_t* out_is_complete, device::ApiError* error) {
      if (g_refuses.query_event != 0) return refuse(g_refuses.query_event, error);
      return device::host_device_api()->event_query(event, out_is_complete, error);
    };
    return table;
  }();
  return &api;
}

const kernels::KernelApi* refusing_kernels(const kernels::KernelApi* host) {
  static const kernels::KernelApi* const all = host;
  static const kernels::KernelApi api = [] {
    kernels::KernelApi table = *all;
    table.embed = [](void* stream, const kernels::EmbedParams* params) {
      return g_refuses.embed != 0 ? g_refuses.embed.load() : all->embed(stream, params);
    };
    return table;
  }();
  return &api;
}

class FailuresTest : public ::testing::Test {
 protected:
  void SetUp() override {
    forget_refusals();
    ModelOptions options;
    options.path = std::string(SLORA_ASSETS) + "/demo-model/base";
    options.backend = BackendKind::kHost;
    options.compute_dtype = core::DType::kF32;
    options.num_threads = 1;
    model_ = load_model(options, nullptr);
    model_->backend.device = std::make_shared<device::Device>(refusing_api(), 0, 1);
    model_->backend.kernels = refusing_kernels(model_->backend.kernels);
  }
  void TearDown() override {
    forget_refusals();
    engine_.reset();
  }
  static void forget_refusals() {
    g_refuses.allocations_left = -1;
    g_refuses.embed = g_refuses.synchronize_event = g_refuses.query_event = 0;
  }

  void open(RecordingMode recording) {
    EngineOptions options;
    options.pool_bytes = 16u << 20;
    options.max_sequences = 8;
    options.max_batch_tokens = 64;
    options.max_context = 128;
    options.check_every_step = true;
    options.recording = recording;
    engine_.reset();
    engine_ = create_engine(model_, options);
  }
  uint64_t load(uint32_t lora_rank) {
    AdapterOptions options;
    options.synthetic_lora_rank = lora_rank;
    options.synthetic_seed = lora_rank;
    options.synthetic_modules = 0xf;
    return engine_->load_adapter(options, nullptr)->id;
  }
  void create(uint64_t id, uint64_t adapter_id) {
    const std::vector<int32_t> prompt = {11, 47, 5, 81, 23};
    SequenceOptions options;
    options.sequence_id = id;
    options.prompt_tokens = prompt.data();
    options.num_prompt_tokens = static_cast<uint32_t>(prompt.size());
    options.sampling.top_p = options.sampling.typical_p = 1.0f;
    options.sampling.repetition_penalty = 1.0f;
    if (adapter_id != 0) options.adapters.push_back({adapter_id, 1.0f});
    ASSERT_EQ(engine_->create_sequence(options), Status::kOk);
  }
  // The sampled token of each row, and all logits.
  struct Answer {
    std::vector<int32_t> tokens;
    std::vector<float> logits;
    bool operator==(const Answer&) const = default;
  };
  Answer collect() {
    StepNeeds needs{};
    StepView view;
    EXPECT_TRUE(engine_->await_oldest(&needs));
    engine_->collect(view);
    Answer answer;
    for (const StepView::Row& row : view.rows) {
      answer.tokens.push_back(row.token_id);
      if (row.num_logit_tokens > 0)
        answer.logits.insert(
            answer.logits.end(), row.logits,
            row.logits + int64_t{row.num_logit_tokens} * model_->config.vocab_size);
    }
    engine_->finish_collect();
    return answer;
  }
  Status status_of_submit(const std::vector<PlanRow>& rows) {
    try {
      return engine_->submit(rows, {});
    } catch (const core::Error& failure) {
      message_ = failure.what();
      return failure.status();
    }
  }

  std::shared_ptr<Model> model_;
  std::shared_ptr<Engine> engine_;
  std::string message_;
};

// Sequences 1 with an adapter of a large rank and all logits, 2 with a small one, and decode steps
// of both.
std::vector<std::vector<PlanRow>> story() {
  std::vector<std::vector<PlanRow>> steps = {{{2, 5, 0, true, false}}, {{1, 5, 0, true, true}}};
  for (uint32_t position = 5; position < 11; ++position)
    steps.push_back({{1, 1, position, true, false}, {2, 1, position, true, false}});
  return steps;
}

TEST_F(FailuresTest, AStepWithoutMemoryChangesNothing) {
  for (const RecordingMode recording : {RecordingMode::kOff, RecordingMode::kOnUse}) {
    std::vector<Answer> expected;
    for (const bool is_short : {false, true}) {
      forget_refusals();
      open(recording);
      const uint64_t large = load(64), small = load(4);
      create(1, large);
      create(2, small);
      int refused = 0;
      std::vector<Answer> answers;
      for (const std::vector<PlanRow>& rows : story()) {
        // Every allocation of the step fails once, before it succeeds.
        for (int64_t left = 0;; ++left) {
          ASSERT_LT(left, 50);
          g_refuses.allocations_left = is_short ? left : -1;
          const PoolCounters before = engine_->counters();
          const Status status = status_of_submit(rows);
          g_refuses.allocations_left = -1;
          if (status == Status::kOk) break;
          ++refused;
          ASSERT_EQ(status, Status::kOutOfMemory) << message_;
          ASSERT_EQ(message_, "refused by the test");
          const PoolCounters after = engine_->counters();
          EXPECT_EQ(after.free_pages, before.free_pages);
          EXPECT_EQ(after.steps, before.steps);
        }
        answers.push_back(collect());
      }
      if (!is_short) {
        expected = answers;
      } else {
        // The tables and the intermediate of either prompt, pinned logits and those on the device.
        EXPECT_GE(refused, 4);
        EXPECT_TRUE(answers == expected) << static_cast<int>(recording);
      }
    }
  }
}

TEST_F(FailuresTest, AStepWithoutMemoryForItsRecordingRunsPlainly) {
  std::vector<Answer> answers[2];
  for (const bool is_short : {false, true}) {
    open(RecordingMode::kOnUse);
    create(1, load(4));
    // Two steps take turns, and by then each has its own tables.
    ASSERT_EQ(status_of_submit({{1, 3, 0, false, false}}), Status::kOk);
    collect();
    ASSERT_EQ(status_of_submit({{1, 2, 3, true, false}}), Status::kOk);
    collect();
    for (uint32_t position = 5; position < 9; ++position) {
      if (is_short) g_refuses.allocations_left = 0;
      ASSERT_EQ(status_of_submit({{1, 1, position, true, false}}), Status::kOk) << message_;
      forget_refusals();
      answers[is_short].push_back(collect());
    }
    EXPECT_EQ(engine_->counters().recordings.made, is_short ? 0u : 1u);
  }
  EXPECT_TRUE(answers[0] == answers[1]);
}

// A shape's first step runs plainly also where the block of its tables had to grow for it.
TEST_F(FailuresTest, AShapeIsRecordedOnItsSecondStep) {
  open(RecordingMode::kOnUse);
  create(1, 0);
  ASSERT_EQ(status_of_submit({{1, 5, 0, true, false}}), Status::kOk);
  collect();
  for (uint32_t step = 0; step < 3; ++step) {
    ASSERT_EQ(status_of_submit({{1, 1, 5 + step, true, false}}), Status::kOk);
    collect();
    EXPECT_EQ(engine_->counters().recordings.made, step == 0 ? 0u : 1u);
  }
}

TEST_F(FailuresTest, ALostDeviceEndsTheEngineAlone) {
  const std::vector<PlanRow> prompt = {{1, 5, 0, true, false}};
  for (std::atomic<int32_t>* refusal :
       {&g_refuses.embed, &g_refuses.synchronize_event, &g_refuses.query_event}) {
    forget_refusals();
    open(RecordingMode::kOff);
    const uint64_t adapter_id = load(8);
    create(1, adapter_id);
    create(2, adapter_id);
    // The adapter's load is in flight from here on, or has just ended: the next step asks.
    *refusal = static_cast<int32_t>(Status::kDeviceLost);
    Status status = status_of_submit(prompt);
    if (refusal == &g_refuses.query_event && status == Status::kOk)
      status = status_of_submit({{2, 5, 0, true, false}});
    if (refusal == &g_refuses.synchronize_event) {
      ASSERT_EQ(status, Status::kOk);
      StepNeeds needs{};
      EXPECT_THROW(engine_->await_oldest(&needs), core::Error);
    } else {
      EXPECT_EQ(status, Status::kDeviceLost) << message_;
    }
    forget_refusals();
    EXPECT_EQ(status_of_submit(prompt), Status::kDeviceLost);
    EXPECT_NE(message_.find("the engine failed earlier: "), std::string::npos) << message_;
    engine_.reset();
  }
  // The model serves the next one.
  open(RecordingMode::kOff);
  create(1, 0);
  EXPECT_EQ(status_of_submit(prompt), Status::kOk);
  collect();
}

}  // namespace
}  // namespace slora::engine
