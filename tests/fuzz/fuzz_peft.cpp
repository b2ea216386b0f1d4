// A PEFT folder (adapter_config.json, a zero byte, the header of adapter_model.safetensors over
// zeros), loaded through the C ABI into an engine of a real tiny model; an adapter that is accepted
// serves one step.
#include "fuzz.hpp"
#include "slora/slora.h"

using namespace slora;

namespace {

struct Engine {
  Engine() {
    const std::string path = std::string(SLORA_ASSETS) + "/tiny-models/llama3-gqa";
    slora_model_options model_options = SLORA_MODEL_OPTIONS_INIT;
    model_options.path = path.data();
    model_options.path_bytes = path.size();
    model_options.backend = SLORA_BACKEND_HOST;
    model_options.num_threads = 1;
    model = slora_model_load(&model_options, nullptr);
    SLORA_FUZZ_REQUIRE(model != nullptr);
    slora_engine_options options = SLORA_ENGINE_OPTIONS_INIT;
    options.pool_bytes = 4 << 20;
    options.check_every_step = 1;
    engine = slora_engine_create(model, &options, nullptr);
    SLORA_FUZZ_REQUIRE(engine != nullptr);
  }
  ~Engine() {
    slora_engine_destroy(engine);
    slora_model_destroy(model);
  }
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  slora_model* model;
  slora_engine* engine;
};

void run_one_step(slora_engine* engine, slora_adapter* adapter) {
  slora_adapter_info info = SLORA_ADAPTER_INFO_INIT;
  SLORA_FUZZ_REQUIRE(slora_adapter_get_info(adapter, &info, nullptr) == SLORA_OK);
  const int32_t prompt[] = {1, 2, 3};
  const slora_adapter_weight weight = {info.adapter_id, 1.0f, 0};
  slora_sequence_options options = SLORA_SEQUENCE_OPTIONS_INIT;
  options.sequence_id = 1;
  options.prompt_tokens = prompt;
  options.num_prompt_tokens = 3;
  options.adapters = &weight;
  options.num_adapters = 1;
  SLORA_FUZZ_REQUIRE(slora_sequence_create(engine, &options, nullptr) == SLORA_OK);
  const slora_plan_row row = {1, 3, 0, SLORA_ROW_SAMPLE, 0};
  slora_plan plan = SLORA_PLAN_INIT;
  plan.num_rows = 1;
  plan.rows = &row;
  const int32_t status = slora_engine_submit(engine, &plan, nullptr);
  SLORA_FUZZ_REQUIRE(status >= SLORA_OK);  // an adapter of more pages than the pool has is deferred
  if (status == SLORA_OK) {
    slora_row_result result;
    slora_step_result step = SLORA_STEP_RESULT_INIT;
    step.rows = &result;
    step.rows_capacity = 1;
    SLORA_FUZZ_REQUIRE(slora_engine_collect(engine, &step, nullptr) == SLORA_OK);
    SLORA_FUZZ_REQUIRE(result.token_id >= 0 && result.token_id < 320);
  }
  SLORA_FUZZ_REQUIRE(slora_sequence_release(engine, 1, nullptr) == SLORA_OK);
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const fuzz::Scratch scratch;
  static const Engine fixture;
  const std::string_view input = fuzz::as_text(data, size);
  const size_t end = std::min(input.find('\0'), input.size());
  scratch.write("adapter_config.json", input.substr(0, end));
  scratch.write("adapter_model.safetensors",
                fuzz::safetensors_of(input.substr(std::min(end + 1, input.size()))));
  slora_adapter_options options = SLORA_ADAPTER_OPTIONS_INIT;
  options.path = scratch.path().data();
  options.path_bytes = scratch.path().size();
  slora_error error = SLORA_ERROR_INIT;
  slora_adapter* adapter = slora_adapter_load(fixture.engine, &options, &error);
  if (adapter == nullptr) {
    SLORA_FUZZ_REQUIRE(error.status == SLORA_ERROR_FORMAT ||
                       error.status == SLORA_ERROR_UNSUPPORTED);
    SLORA_FUZZ_REQUIRE(std::strchr(error.message, '\n') == nullptr);
    return 0;
  }
  run_one_step(fixture.engine, adapter);
  slora_adapter_unload(adapter);
  SLORA_FUZZ_REQUIRE(slora_engine_check(fixture.engine, nullptr) == SLORA_OK);
  return 0;
}
