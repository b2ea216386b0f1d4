// Whole steps through the C ABI on a model of random weights: what the step benchmarks share.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "slora/slora.h"

namespace slora::bench {

using Clock = std::chrono::steady_clock;

inline constexpr uint32_t kContext = 512;
inline constexpr uint32_t kMaxRows = 512;
inline constexpr uint32_t kMeasuredSteps = 48;
inline constexpr uint32_t kWarmSteps = 8;

inline double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

inline double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values.empty() ? 0 : values[values.size() / 2];
}

// Ends the process as it stands: other ranks may be threads in the middle of a step.
[[noreturn]] inline void die(const slora_error& error) {
  std::fprintf(stderr, "%s: %s\n", error.site, error.message);
  std::fflush(stdout);
  std::_Exit(1);
}

inline void expect(int32_t status, const slora_error& error) {
  if (status < 0) die(error);
  if (status > 0) {
    std::fprintf(stderr, "deferred: %s\n", slora_status_name(status));
    std::fflush(stdout);
    std::_Exit(1);
  }
}

struct Result {
  std::string what, set;
  int batch = 0;
  double device_us = 0, wall_us = 0, floor_us = 0;
  double rate = 0;  // prefill: share of the matmuls' own rate
};

class Bench {
 public:
  // `tp_size` ranks as threads, on as many devices.
  Bench(const std::string& path, uint64_t pool_bytes, int32_t backend = SLORA_BACKEND_CUDA,
        uint32_t tp_size = 1, int32_t lora_sharding = SLORA_LORA_SHARDING_ALIGNED) {
    slora_error error = SLORA_ERROR_INIT;
    slora_model_options options = SLORA_MODEL_OPTIONS_INIT;
    options.backend = backend;
    options.tp_size = tp_size;
    options.lora_sharding = lora_sharding;
    options.path = path.data();
    options.path_bytes = path.size();
    options.compute_dtype = SLORA_DTYPE_BF16;
    options.synthetic = 1;
    options.synthetic_seed = 1;
    const auto begin = Clock::now();
    model_ = slora_model_load(&options, &error);
    if (!model_) die(error);
    expect(slora_model_get_info(model_, &info_, &error), error);
    sizes_.pool_bytes = pool_bytes;
    sizes_.max_sequences = kMaxRows;
    sizes_.max_batch_tokens = 8192;
    sizes_.max_context = 8192 + 64;
    // The few shapes that are measured, on their second step; the common ones take seconds.
    sizes_.recording = SLORA_RECORDING_ON_USE;
    open_engine();
    rows_.resize(kMaxRows);
    std::fprintf(stderr, "model and engine: %.1f s\n", seconds_since(begin));
  }
  ~Bench() {
    close_engine();
    slora_model_destroy(model_);
  }
  Bench(const Bench&) = delete;
  Bench& operator=(const Bench&) = delete;

  const slora_model_info& info() const { return info_; }

  // A new engine on the same weights: for what an engine reads of the environment. No adapters are
  // left.
  void reopen_engine() {
    close_engine();
    open_engine();
  }

  // Adapters on q, k, v and o; ranks in turn.
  void use_set(const std::vector<uint32_t>& ranks, int count) {
    const auto begin = Clock::now();
    unload_adapters();
    adapters_.resize(ranks.empty() ? 0 : static_cast<size_t>(count));
    const auto load = [&](size_t i) {
      slora_error error = SLORA_ERROR_INIT;
      slora_adapter_options options = SLORA_ADAPTER_OPTIONS_INIT;
      options.synthetic_lora_rank = ranks[i % ranks.size()];
      options.synthetic_seed = 100 + i;
      options.synthetic_modules = 0xf;
      slora_adapter* handle = slora_adapter_load(engine_, &options, &error);
      if (!handle) die(error);
      slora_adapter_info info = SLORA_ADAPTER_INFO_INIT;
      expect(slora_adapter_get_info(handle, &info, &error), error);
      adapters_[i] = {handle, info.adapter_id, double(info.image_bytes - info.wasted_bytes)};
    };
    // Making their numbers takes longer than copying them.
    std::atomic<size_t> next{0};
    std::vector<std::thread> threads;
    for (unsigned t = 0; t < std::max(1u, std::thread::hardware_concurrency()); ++t) {
      threads.emplace_back([&] {
        for (size_t i = next++; i < adapters_.size(); i = next++) load(i);
      });
    }
    for (std::thread& thread : threads) thread.join();
    std::fprintf(stderr, "%d adapters: %.1f s\n", count, seconds_since(begin));
  }

  // Steps of `batch` rows around a context of 512, run ahead by one.
  Result decode(const std::string& set, int batch, double copy_rate) {
    return decode_rows(set, batch, copy_rate, [](int) { return uint64_t{0}; });
  }

  // add_row(step) may add a row to plan_; it answers the sequence to release afterwards, or 0.
  template <typename F>
  Result decode_rows(const std::string& set, int batch, double copy_rate, F&& add_row) {
    const uint32_t prompt = kContext - kMeasuredSteps / 2 - kWarmSteps;
    const bool is_adapted = set != "base" && set != "idle";
    const int num_adapters = is_adapted ? std::min(batch, static_cast<int>(adapters_.size())) : 0;
    create(batch, prompt, num_adapters);
    const uint32_t rows_a_step = std::max(1u, 8192 / prompt);
    for (uint32_t first = 0; first < static_cast<uint32_t>(batch); first += rows_a_step) {
      std::vector<slora_plan_row> plan;
      for (uint32_t i = first; i < std::min<uint32_t>(first + rows_a_step, batch); ++i)
        plan.push_back({ids_[i], prompt, 0, SLORA_ROW_SAMPLE, 0});
      submit(plan);
      collect();
    }
    std::vector<double> device_us;
    uint32_t position = prompt;
    uint64_t extra = decode_step(batch, position++, 0, add_row);
    Clock::time_point begin = Clock::now();
    for (uint32_t i = 0; i < kWarmSteps + kMeasuredSteps; ++i) {
      if (i == kWarmSteps) begin = Clock::now();
      const uint64_t next = decode_step(batch, position++, static_cast<int>(i) + 1, add_row);
      const double ns = collect();
      release(extra);
      extra = next;
      if (i >= kWarmSteps) device_us.push_back(ns * 1e-3);
    }
    Result result;
    result.wall_us = seconds_since(begin) / kMeasuredSteps * 1e6;
    collect();
    release(extra);
    release();
    result.what = "decode";
    result.set = set;
    result.batch = batch;
    result.device_us = median(device_us);
    double bytes = double(info_.weight_bytes);
    for (int i = 0; i < num_adapters; ++i) bytes += adapters_[static_cast<size_t>(i)].bytes;
    bytes +=
        double(batch) * kContext * info_.num_layers * 2 * info_.num_kv_heads * info_.head_size * 2;
    result.floor_us = bytes / copy_rate * 1e6;
    return result;
  }

  // A step as a loaded server has it: `batch` decode rows and one new prompt of `tokens`, each with
  // an adapter of its own unless the set is the base. The floor is the bytes that decode reads, and
  // the prompt's own matmuls.
  Result serve(const std::string& set, int batch, uint32_t tokens, double copy_rate,
               double prompt_seconds) {
    Result result = decode_rows(set, batch, copy_rate, [&](int step) {
      std::vector<int32_t> prompt(tokens, 7 + step);
      slora_sequence_options options = SLORA_SEQUENCE_OPTIONS_INIT;
      options.sequence_id = ++next_id_;
      options.prompt_tokens = prompt.data();
      options.num_prompt_tokens = tokens;
      slora_adapter_weight use{};
      if (set != "base") {
        use = {adapters_[static_cast<size_t>(step) % adapters_.size()].id, 1.0f, 0};
        options.adapters = &use;
        options.num_adapters = 1;
      }
      slora_error error = SLORA_ERROR_INIT;
      expect(slora_sequence_create(engine_, &options, &error), error);
      plan_.push_back({options.sequence_id, tokens, 0, SLORA_ROW_SAMPLE, 0});
      return options.sequence_id;
    });
    result.what = "serve";
    result.floor_us += prompt_seconds * info_.num_layers * 1e6;
    return result;
  }

  Result prefill(const std::string& set, uint32_t tokens, int num_adapters, double matmul_seconds) {
    std::vector<double> device_us;
    for (int round = 0; round < 5; ++round) {
      const int rows = std::max(1, num_adapters);
      create(rows, tokens / static_cast<uint32_t>(rows), num_adapters);
      std::vector<slora_plan_row> plan;
      for (const uint64_t id : ids_)
        plan.push_back({id, tokens / static_cast<uint32_t>(rows), 0, SLORA_ROW_SAMPLE, 0});
      submit(plan);
      device_us.push_back(collect() * 1e-3);
      release();
    }
    Result result;
    result.what = "prefill";
    result.set = set;
    result.batch = static_cast<int>(tokens);
    result.device_us = result.wall_us = median({device_us.begin() + 1, device_us.end()});
    result.floor_us = matmul_seconds * info_.num_layers * 1e6;
    result.rate = result.floor_us / result.device_us;
    return result;
  }

 private:
  struct Adapter {
    slora_adapter* handle;
    uint64_t id;
    double bytes;
  };

  void open_engine() {
    slora_error error = SLORA_ERROR_INIT;
    engine_ = slora_engine_create(model_, &sizes_, &error);
    if (!engine_) die(error);
  }
  void unload_adapters() {
    for (Adapter& adapter : adapters_) slora_adapter_unload(adapter.handle);
    adapters_.clear();
  }
  void close_engine() {
    unload_adapters();
    slora_engine_destroy(engine_);
  }
  void create(int batch, uint32_t length, int num_adapters) {
    ids_.clear();
    std::vector<int32_t> prompt(length);
    for (int i = 0; i < batch; ++i) {
      for (size_t k = 0; k < prompt.size(); ++k)
        prompt[k] = static_cast<int32_t>((k * 7919 + static_cast<size_t>(i) * 104729 + 13) %
                                         info_.vocab_size);
      slora_sequence_options options = SLORA_SEQUENCE_OPTIONS_INIT;
      options.sequence_id = ++next_id_;
      options.prompt_tokens = prompt.data();
      options.num_prompt_tokens = length;
      slora_adapter_weight use{};
      if (!adapters_.empty() && num_adapters > 0) {
        use = {adapters_[static_cast<size_t>(i % num_adapters)].id, 1.0f, 0};
        options.adapters = &use;
        options.num_adapters = 1;
      }
      slora_error error = SLORA_ERROR_INIT;
      expect(slora_sequence_create(engine_, &options, &error), error);
      ids_.push_back(options.sequence_id);
    }
  }
  void release() {
    slora_error error = SLORA_ERROR_INIT;
    for (const uint64_t id : ids_) expect(slora_sequence_release(engine_, id, &error), error);
  }
  void release(uint64_t id) {
    slora_error error = SLORA_ERROR_INIT;
    if (id != 0) expect(slora_sequence_release(engine_, id, &error), error);
  }
  void submit(const std::vector<slora_plan_row>& rows) {
    slora_error error = SLORA_ERROR_INIT;
    slora_plan plan = SLORA_PLAN_INIT;
    plan.rows = rows.data();
    plan.num_rows = static_cast<uint32_t>(rows.size());
    expect(slora_engine_submit(engine_, &plan, &error), error);
  }
  double collect() {
    slora_error error = SLORA_ERROR_INIT;
    slora_step_result result = SLORA_STEP_RESULT_INIT;
    result.rows = rows_.data();
    result.rows_capacity = rows_.size();
    expect(slora_engine_collect(engine_, &result, &error), error);
    return double(result.device_ns);
  }
  template <typename F>
  uint64_t decode_step(int batch, uint32_t position, int step, F&& add_row) {
    plan_.clear();
    for (int i = 0; i < batch; ++i)
      plan_.push_back({ids_[static_cast<size_t>(i)], 1, position, SLORA_ROW_SAMPLE, 0});
    const uint64_t extra = add_row(step);
    submit(plan_);
    return extra;
  }

  slora_model* model_ = nullptr;
  slora_engine* engine_ = nullptr;
  slora_engine_options sizes_ = SLORA_ENGINE_OPTIONS_INIT;
  slora_model_info info_ = SLORA_MODEL_INFO_INIT;
  std::vector<Adapter> adapters_;
  uint64_t next_id_ = 0;
  std::vector<uint64_t> ids_;
  std::vector<slora_plan_row> plan_;
  std::vector<slora_row_result> rows_;
};

inline std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> parts;
  std::istringstream in(text);
  for (std::string part; std::getline(in, part, ',');) parts.push_back(part);
  return parts;
}

}  // namespace slora::bench
