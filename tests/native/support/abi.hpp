// The C ABI for tests: owners for handles, and errors as exceptions that carry status and message.
#pragma once

#include <cstdlib>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>

#include "slora/slora.h"
#include "support/worker_ranks.hpp"

namespace slora::test {

struct AbiError : std::runtime_error {
  AbiError(int32_t code, const std::string& message) : std::runtime_error(message), status(code) {}
  int32_t status;
};

inline void expect_done(int32_t status, const slora_error& error) {
  if (status < 0) throw AbiError(status, error.message);
}

struct ModelDeleter {
  void operator()(slora_model* handle) const {
    slora_model_destroy(handle);
    if (workers) workers->expect_ended();
  }
  std::shared_ptr<WorkerRanks> workers;
};
struct EngineDeleter {
  void operator()(slora_engine* handle) const { slora_engine_destroy(handle); }
};
struct AdapterDeleter {
  void operator()(slora_adapter* handle) const { slora_adapter_unload(handle); }
};
using ModelHandle = std::unique_ptr<slora_model, ModelDeleter>;
using EngineHandle = std::unique_ptr<slora_engine, EngineDeleter>;
using AdapterHandle = std::unique_ptr<slora_adapter, AdapterDeleter>;

// The backend under test: the host's, or CUDA with SLORA_TEST_BACKEND=cuda.
inline bool tests_cuda() {
  const char* backend = std::getenv("SLORA_TEST_BACKEND");
  return backend && std::strcmp(backend, "cuda") == 0;
}

// Devices of the backend under test.
inline int32_t num_devices() {
  slora_error error = SLORA_ERROR_INIT;
  slora_backend_info info = SLORA_BACKEND_INFO_INIT;
  const int32_t backend = tests_cuda() ? SLORA_BACKEND_CUDA : SLORA_BACKEND_HOST;
  expect_done(slora_backend_probe(backend, &info, &error), error);
  return info.device_count;
}

// Tensor-parallel ranks of a model: threads, or processes where SLORA_TEST_WORKER names their
// program.
struct Ranks {
  uint32_t tp_size = 1;
  int32_t lora_sharding = SLORA_LORA_SHARDING_ALIGNED;
};

// The ranks under test: SLORA_TEST_TP, SLORA_TEST_LORA_SHARDING=full; else one.
inline Ranks ranks_under_test() {
  Ranks ranks;
  if (const char* tp_size = std::getenv("SLORA_TEST_TP"))
    ranks.tp_size = static_cast<uint32_t>(std::atoi(tp_size));
  const char* sharding = std::getenv("SLORA_TEST_LORA_SHARDING");
  if (sharding && std::strcmp(sharding, "full") == 0)
    ranks.lora_sharding = SLORA_LORA_SHARDING_FULL;
  return ranks;
}

inline ModelHandle load_model(const std::string& path, int32_t dtype, int32_t num_threads = 0,
                              const Ranks& ranks = ranks_under_test()) {
  slora_error error = SLORA_ERROR_INIT;
  slora_model_options options = SLORA_MODEL_OPTIONS_INIT;
  options.backend = tests_cuda() ? SLORA_BACKEND_CUDA : SLORA_BACKEND_HOST;
  options.path = path.data();
  options.path_bytes = path.size();
  options.compute_dtype = dtype;
  options.num_threads = num_threads;
  options.tp_size = ranks.tp_size;
  options.lora_sharding = ranks.lora_sharding;
  const std::shared_ptr<WorkerRanks> workers = WorkerRanks::start(ranks.tp_size);
  if (workers) workers->add_to(options);
  ModelHandle model(slora_model_load(&options, &error), ModelDeleter{workers});
  if (!model) throw AbiError(error.status, error.message);
  return model;
}

inline EngineHandle create_engine(slora_model* model, const slora_engine_options& options) {
  slora_error error = SLORA_ERROR_INIT;
  EngineHandle engine(slora_engine_create(model, &options, &error));
  if (!engine) throw AbiError(error.status, error.message);
  return engine;
}

inline AdapterHandle load_adapter(slora_engine* engine, const std::string& path) {
  slora_error error = SLORA_ERROR_INIT;
  slora_adapter_options options = SLORA_ADAPTER_OPTIONS_INIT;
  options.path = path.data();
  options.path_bytes = path.size();
  AdapterHandle adapter(slora_adapter_load(engine, &options, &error));
  if (!adapter) throw AbiError(error.status, error.message);
  return adapter;
}

inline slora_adapter_info adapter_info(const slora_adapter* adapter) {
  slora_error error = SLORA_ERROR_INIT;
  slora_adapter_info info = SLORA_ADAPTER_INFO_INIT;
  expect_done(slora_adapter_get_info(adapter, &info, &error), error);
  return info;
}

inline slora_engine_geometry geometry(const slora_engine* engine) {
  slora_error error = SLORA_ERROR_INIT;
  slora_engine_geometry out = SLORA_ENGINE_GEOMETRY_INIT;
  expect_done(slora_engine_get_geometry(engine, &out, &error), error);
  return out;
}

inline slora_pool_counters counters(const slora_engine* engine) {
  slora_error error = SLORA_ERROR_INIT;
  slora_pool_counters out = SLORA_POOL_COUNTERS_INIT;
  expect_done(slora_engine_get_counters(engine, &out, &error), error);
  return out;
}

}  // namespace slora::test
