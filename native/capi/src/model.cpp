// Exports of model.h.
#include <cstdio>
#include <map>
#include <mutex>

#include "handles.hpp"
#include "slora/engine/worker.hpp"

namespace slora::capi {

#if defined(NDEBUG)
void count_handle(const char*, int) {}
#else
namespace {

// Static storage with a destructor that reports: a debug build names what a program forgot to
// destroy.
struct HandleCounts {
  std::mutex mutex;
  std::map<std::string, int> counts;
  ~HandleCounts() {
    for (const auto& [kind, count] : counts) {
      if (count != 0)
        std::fprintf(stderr, "slora: %d leaked handle(s) of %s\n", count, kind.c_str());
    }
  }
};

HandleCounts& handle_counts() {
  static HandleCounts counts;
  return counts;
}

}  // namespace

void count_handle(const char* kind, int change) {
  HandleCounts& all = handle_counts();
  const std::lock_guard<std::mutex> lock(all.mutex);
  all.counts[kind] += change;
}
#endif

namespace {

core::DType read_dtype(int32_t dtype) {
  if (dtype < SLORA_DTYPE_F32 || dtype > SLORA_DTYPE_F16) {
    fail(Status::kInvalidArgument, "compute_dtype is ", dtype, ", the limit is 0..2");
  }
  return static_cast<core::DType>(dtype);
}

int32_t read_threads(int32_t num_threads) {
  if (num_threads < 0 || num_threads > 256)
    fail(Status::kInvalidArgument, "num_threads is ", num_threads, ", the limit is 0..256");
  return num_threads;
}

int32_t read_limit_ms(const char* name, uint32_t limit_ms, int32_t fallback) {
  constexpr uint32_t kLongest = 86'400'000;
  if (limit_ms > kLongest)
    fail(Status::kInvalidArgument, name, " is ", limit_ms, ", the limit is 1..", kLongest);
  return limit_ms == 0 ? fallback : static_cast<int32_t>(limit_ms);
}

// Ranks that are processes.
void read_workers(const slora_model_options& in, engine::ModelOptions& options) {
  options.join_limit_ms = read_limit_ms("tp_join_ms", in.tp_join_ms, options.join_limit_ms);
  options.time_limit_ms = read_limit_ms("tp_limit_ms", in.tp_limit_ms, options.time_limit_ms);
  if (!in.tp_listen) {
    if (in.tp_secret) fail(Status::kInvalidArgument, "tp_secret is given without tp_listen");
    return;
  }
  options.listen = read_text(in.tp_listen, in.tp_listen_bytes, "tp_listen");
  options.secret = read_text(in.tp_secret, in.tp_secret_bytes, "tp_secret");
  if (!options.devices.empty())
    fail(Status::kInvalidArgument, "tp_devices is given, but ranks that are processes name theirs");
}

engine::ModelOptions read_options(const slora_model_options& in) {
  engine::ModelOptions options;
  options.path = read_text(in.path, in.path_bytes, "path");
  if (in.backend < SLORA_BACKEND_AUTO || in.backend > SLORA_BACKEND_CUDA) {
    fail(Status::kInvalidArgument, "backend is ", in.backend, ", the limit is 0..2");
  }
  options.backend = static_cast<engine::BackendKind>(in.backend);
  options.compute_dtype = read_dtype(in.compute_dtype);
  options.device_idx = in.device_idx;
  options.num_threads = read_threads(in.num_threads);
  options.is_synthetic = in.synthetic != 0;
  options.synthetic_seed = in.synthetic_seed;
  if (in.tp_size > static_cast<uint32_t>(model::kMaxTpSize)) {
    fail(Status::kInvalidArgument, "tp_size is ", in.tp_size, ", the limit is 1..",
         model::kMaxTpSize);
  }
  options.tp_size = in.tp_size == 0 ? 1 : static_cast<int32_t>(in.tp_size);
  if (in.lora_sharding < SLORA_LORA_SHARDING_ALIGNED ||
      in.lora_sharding > SLORA_LORA_SHARDING_FULL) {
    fail(Status::kInvalidArgument, "lora_sharding is ", in.lora_sharding, ", the limit is 0..1");
  }
  options.lora_sharding = static_cast<model::LoraSharding>(in.lora_sharding);
  if (in.num_tp_devices != 0 && in.num_tp_devices != static_cast<uint32_t>(options.tp_size)) {
    fail(Status::kInvalidArgument, "num_tp_devices is ", in.num_tp_devices,
         ", which is neither 0 nor tp_size ", options.tp_size);
  }
  if (in.num_tp_devices != 0) {
    require(in.tp_devices, "tp_devices");
    options.devices.assign(in.tp_devices, in.tp_devices + in.num_tp_devices);
  }
  read_workers(in, options);
  return options;
}

engine::WorkerOptions read_options(const slora_worker_options& in) {
  engine::WorkerOptions options;
  options.join = read_text(in.join, in.join_bytes, "join");
  options.secret = read_text(in.secret, in.secret_bytes, "secret");
  if (in.model_path)
    options.model_path = read_text(in.model_path, in.model_path_bytes, "model_path");
  constexpr uint32_t kMostRanks = static_cast<uint32_t>(model::kMaxTpSize);
  if (in.tp_rank < 1 || in.tp_rank >= kMostRanks) {
    fail(Status::kInvalidArgument, "tp_rank is ", in.tp_rank, ", the limit is 1..", kMostRanks - 1);
  }
  options.tp_rank = static_cast<int32_t>(in.tp_rank);
  options.device_idx = in.device_idx;
  options.num_threads = read_threads(in.num_threads);
  options.join_limit_ms = read_limit_ms("join_ms", in.join_ms, options.join_limit_ms);
  options.time_limit_ms = read_limit_ms("limit_ms", in.limit_ms, options.time_limit_ms);
  return options;
}

slora_model_info describe(const engine::Model& model) {
  const model::ModelConfig& config = model.config;
  slora_model_info info = SLORA_MODEL_INFO_INIT;
  info.backend = model.backend.is_cuda ? SLORA_BACKEND_CUDA : SLORA_BACKEND_HOST;
  write_text(info.architecture, std::string(config.architecture->name));
  info.compute_dtype = static_cast<int32_t>(model.weights->dtype());
  info.num_layers = static_cast<uint32_t>(config.num_layers);
  info.hidden_size = static_cast<uint32_t>(config.hidden_size);
  info.intermediate_size = static_cast<uint32_t>(config.intermediate_size);
  info.num_heads = static_cast<uint32_t>(config.num_heads);
  info.num_kv_heads = static_cast<uint32_t>(config.num_kv_heads);
  info.head_size = static_cast<uint32_t>(config.head_size);
  info.vocab_size = static_cast<uint32_t>(config.vocab_size);
  info.max_position = static_cast<uint32_t>(config.max_position);
  info.num_threads = static_cast<uint32_t>(model.device_info.num_threads);
  info.num_parameters = model.num_parameters;
  info.tp_size = static_cast<uint32_t>(model.shard.tp_size);
  info.lora_sharding = static_cast<int32_t>(model.shard.lora_sharding);
  info.weight_bytes = model.step_bytes();
  return info;
}

}  // namespace
}  // namespace slora::capi

using namespace slora;

extern "C" {

slora_model* slora_model_load(const slora_model_options* options, slora_error* error) {
  return capi::guarded_create<slora_model>("slora_model_load", error, [&] {
    const slora_model_options in = capi::read_struct(options, "options");
    capi::CallerProgress progress(in.progress);
    auto* handle = new slora_model{engine::load_model(capi::read_options(in), &progress)};
    capi::count_handle("slora_model", 1);
    return handle;
  });
}

int32_t slora_model_get_info(const slora_model* model, slora_model_info* out_info,
                             slora_error* error) {
  return capi::guarded("slora_model_get_info", error, [&] {
    capi::require(model, "model");
    capi::write_struct(out_info, capi::describe(*model->model), "out_info");
    return core::Status::kOk;
  });
}

int32_t slora_worker_run(const slora_worker_options* options, slora_error* error) {
  return capi::guarded("slora_worker_run", error, [&] {
    engine::run_worker(capi::read_options(capi::read_struct(options, "options")));
    return core::Status::kOk;
  });
}

void slora_model_destroy(slora_model* model) {
  if (!model) return;
  capi::count_handle("slora_model", -1);
  delete model;
}

}  // extern "C"
