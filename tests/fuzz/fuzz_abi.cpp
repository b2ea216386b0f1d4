// A caller of the C ABI that names any number and any text: paths, sampling options, adapters,
// plans, in any order. The pointers it gives are good, as the headers demand; all else may be
// wrong. Nothing may poison the engine.
#include <vector>

#include "fuzz.hpp"
#include "slora/slora.h"

using namespace slora;

namespace {

constexpr const char* kConfig =
    R"({"architectures":["LlamaForCausalLM"],"vocab_size":64,"hidden_size":32,
"intermediate_size":48,"num_hidden_layers":2,"num_attention_heads":2,"num_key_value_heads":1,"head_dim":16,
"max_position_embeddings":64,"rms_norm_eps":1e-5,"hidden_act":"silu","model_type":"llama"})";

struct Model {
  Model() {
    scratch.write("config.json", kConfig);
    slora_model_options options = SLORA_MODEL_OPTIONS_INIT;
    options.path = scratch.path().data();
    options.path_bytes = scratch.path().size();
    options.backend = SLORA_BACKEND_HOST;
    options.num_threads = 1;
    options.synthetic = 1;
    model = slora_model_load(&options, nullptr);
    SLORA_FUZZ_REQUIRE(model != nullptr);
  }
  ~Model() { slora_model_destroy(model); }
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  fuzz::Scratch scratch;
  slora_model* model;
};

// Making an engine takes far longer than a step: most inputs share one, which must be as new after
// each of them.
slora_engine* create_engine(slora_model* model, uint32_t max_sequences, uint32_t max_rows,
                            uint32_t max_context) {
  slora_engine_options options = SLORA_ENGINE_OPTIONS_INIT;
  options.pool_bytes = 128 << 10;
  options.tokens_per_page = 4;
  options.max_sequences = max_sequences;
  options.max_batch_tokens = 64;
  options.max_batch_rows = max_rows;
  options.max_context = max_context;
  options.check_every_step = 1;
  return slora_engine_create(model, &options, nullptr);
}

struct SharedEngine {
  explicit SharedEngine(slora_model* model) : engine(create_engine(model, 4, 3, 64)) {
    SLORA_FUZZ_REQUIRE(engine != nullptr);
  }
  ~SharedEngine() { slora_engine_destroy(engine); }
  SharedEngine(const SharedEngine&) = delete;
  SharedEngine& operator=(const SharedEngine&) = delete;

  slora_engine* engine;
};

class Caller {
 public:
  Caller(slora_engine* engine, fuzz::Stream input) : input_(input), engine_(engine) {}
  ~Caller() {
    for (const uint64_t sequence : sequences_) {
      slora_sequence_release(engine_, sequence, &error_);
    }
    while (collect()) continue;
    for (slora_adapter* adapter : adapters_) slora_adapter_unload(adapter);
    SLORA_FUZZ_REQUIRE(slora_engine_check(engine_, nullptr) == SLORA_OK);
    slora_pool_counters counters = SLORA_POOL_COUNTERS_INIT;
    SLORA_FUZZ_REQUIRE(slora_engine_get_counters(engine_, &counters, nullptr) == SLORA_OK);
    SLORA_FUZZ_REQUIRE(counters.kv_pages == 0 && counters.num_sequences == 0);
    SLORA_FUZZ_REQUIRE(counters.free_pages == counters.total_pages);
  }
  Caller(const Caller&) = delete;
  Caller& operator=(const Caller&) = delete;

  void run() {
    while (!input_.is_empty()) {
      switch (input_.take<uint8_t>() % 8) {
        case 0:
          load_adapter();
          break;
        case 1:
          load_from_path();
          break;
        case 2:
        case 3:
          create_sequence();
          break;
        case 4:
        case 5:
          submit();
          break;
        case 6:
          collect();
          break;
        default:
          end_something();
      }
    }
  }

 private:
  // Fatal statuses are the library's fault, whatever it was given.
  int32_t check(int32_t status) {
    SLORA_FUZZ_REQUIRE(status > -300);
    if (status < 0) SLORA_FUZZ_REQUIRE(error_.status == status && !has_newline());
    return status;
  }

  bool has_newline() const { return std::strchr(error_.message, '\n') != nullptr; }

  uint64_t id() { return input_.count(6); }

  void load_adapter() {
    slora_adapter_options options = SLORA_ADAPTER_OPTIONS_INIT;
    options.synthetic_lora_rank = 1 + input_.take<uint8_t>() % 40;
    options.synthetic_modules = input_.count(127);
    options.pinned = input_.take<uint8_t>() % 2;
    if (adapters_.size() >= 4) return;
    slora_adapter* adapter = slora_adapter_load(engine_, &options, &error_);
    if (adapter == nullptr) check(error_.status);
    if (adapter != nullptr) adapters_.push_back(adapter);
  }

  void load_from_path() {
    const std::string path(input_.text());
    slora_adapter_options options = SLORA_ADAPTER_OPTIONS_INIT;
    options.path = path.data();
    options.path_bytes = path.size();
    SLORA_FUZZ_REQUIRE(slora_adapter_load(engine_, &options, &error_) == nullptr);
    check(error_.status);
    slora_model_options model = SLORA_MODEL_OPTIONS_INIT;
    model.path = path.data();
    model.path_bytes = path.size();
    model.backend = static_cast<int32_t>(input_.count(4));
    model.compute_dtype = static_cast<int32_t>(input_.count(4));
    SLORA_FUZZ_REQUIRE(slora_model_load(&model, &error_) == nullptr);
    check(error_.status);
  }

  void create_sequence() {
    std::vector<int32_t> prompt(input_.take<uint8_t>() % 80);
    for (int32_t& token : prompt) token = static_cast<int32_t>(input_.count(63));
    std::vector<slora_logit_bias> bias(input_.take<uint8_t>() % 3);
    for (slora_logit_bias& entry : bias)
      entry = {static_cast<int32_t>(input_.count(63)), input_.take<float>()};
    std::vector<slora_adapter_weight> weights(input_.take<uint8_t>() % 4);
    for (slora_adapter_weight& weight : weights) weight = {id(), number(1.0f), input_.count(0)};
    slora_sampling_options sampling = SLORA_SAMPLING_OPTIONS_INIT;
    sampling.temperature = number(0.7f);
    sampling.top_k = static_cast<int32_t>(input_.count(5));
    sampling.top_p = number(0.9f);
    sampling.min_p = number(0.0f);
    sampling.typical_p = number(1.0f);
    sampling.repetition_penalty = number(1.1f);
    sampling.presence_penalty = number(0.5f);
    sampling.frequency_penalty = number(0.5f);
    sampling.num_logprobs = input_.count(4);
    sampling.logit_bias = bias.data();
    sampling.num_logit_bias = static_cast<uint32_t>(bias.size());
    slora_sequence_options options = SLORA_SEQUENCE_OPTIONS_INIT;
    options.sequence_id = id();
    options.prompt_tokens = prompt.data();
    options.num_prompt_tokens = static_cast<uint32_t>(prompt.size());
    options.adapters = weights.data();
    options.num_adapters = static_cast<uint32_t>(weights.size());
    options.max_tokens = input_.count(80);
    options.sampling = &sampling;
    if (check(slora_sequence_create(engine_, &options, &error_)) == SLORA_OK)
      sequences_.push_back(options.sequence_id);
  }

  float number(float likely) {
    const uint8_t kind = input_.take<uint8_t>();
    return kind == 0xff ? input_.take<float>()
           : kind < 200 ? likely
                        : static_cast<float>(kind) - 210;
  }

  void submit() {
    std::vector<slora_plan_row> rows(input_.take<uint8_t>() % 5);
    for (slora_plan_row& row : rows) {
      row = {id(), input_.count(20), 0, input_.count(3), 0};
      slora_sequence_info info = SLORA_SEQUENCE_INFO_INIT;
      const bool is_known =
          slora_sequence_get_info(engine_, row.sequence_id, &info, &error_) == SLORA_OK;
      // Mostly the row that the engine wants, so that steps run.
      const uint8_t kind = input_.take<uint8_t>();
      row.first_token = is_known && kind < 240 ? info.num_computed : input_.count(60);
      if (is_known && kind < 200) {
        row.num_tokens = info.num_tokens - info.num_computed;
        row.flags |= SLORA_ROW_SAMPLE;
      }
    }
    std::vector<uint64_t> prefetch(input_.take<uint8_t>() % 3);
    for (uint64_t& adapter : prefetch) adapter = id();
    slora_plan plan = SLORA_PLAN_INIT;
    plan.num_rows = static_cast<uint32_t>(rows.size());
    plan.rows = rows.data();
    plan.num_prefetch = static_cast<uint32_t>(prefetch.size());
    plan.prefetch_adapter_ids = prefetch.data();
    check(slora_engine_submit(engine_, &plan, &error_));
  }

  bool collect() {
    std::vector<slora_row_result> rows(16);
    std::vector<slora_token_logprob> logprobs(16 * 64);
    std::vector<float> logits(64 * 64);
    std::vector<slora_residency_event> events(3);
    slora_step_result step = SLORA_STEP_RESULT_INIT;
    step.rows = rows.data();
    step.rows_capacity = rows.size();
    step.logprobs = logprobs.data();
    step.logprobs_capacity = logprobs.size();
    step.logits = logits.data();
    step.logits_capacity = logits.size();
    step.events = events.data();
    step.events_capacity = events.size();
    return check(slora_engine_collect(engine_, &step, &error_)) == SLORA_OK;
  }

  void end_something() {
    const uint64_t sequence = id();
    if (input_.take<uint8_t>() % 2 == 0) {
      check(slora_sequence_release(engine_, sequence, &error_));
    } else {
      check(slora_sequence_preempt(engine_, sequence, &error_));
    }
  }

  fuzz::Stream input_;
  slora_engine* engine_;
  slora_error error_ = SLORA_ERROR_INIT;
  std::vector<slora_adapter*> adapters_;
  std::vector<uint64_t> sequences_;  // created, released or not
};

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const Model fixture;
  static const SharedEngine shared(fixture.model);
  fuzz::Stream input(data, size);
  if (input.take<uint8_t>() != 'e') {
    Caller(shared.engine, input).run();
    return 0;
  }
  const uint32_t max_sequences = input.count(6);
  const uint32_t max_rows = input.count(6);
  slora_engine* engine = create_engine(fixture.model, max_sequences, max_rows, input.count(80));
  if (engine != nullptr) Caller(engine, input).run();
  slora_engine_destroy(engine);
  return 0;
}
