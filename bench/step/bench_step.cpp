// Whole steps through the C ABI on synthetic models: tokens/s of prefill and decode, base and with
// distinct adapters, beside the read bandwidth of this machine measured in the same run.
//
// usage: bench_step --models DIR [--model NAME] [--threads N] [--seconds S] [--json FILE]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "slora/slora.h"

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

[[noreturn]] void die(const slora_error& error) {
  std::fprintf(stderr, "bench_step: %s: %s\n", error.site, error.message);
  std::exit(1);
}

void expect(int32_t status, const slora_error& error) {
  if (status < 0) die(error);
  if (status > 0) {
    std::fprintf(stderr, "bench_step: deferred: %s\n", slora_status_name(status));
    std::exit(1);
  }
}

// The ceiling: every thread sums its own part of a block that no cache holds. Best of the rounds,
// GB/s.
double read_bandwidth(int num_threads) {
  static std::vector<uint64_t> block((size_t{1} << 30) / sizeof(uint64_t), 1);
  double best = 0;
  for (int round = 0; round < 4; ++round) {
    std::vector<std::thread> threads;
    std::vector<uint64_t> sums(static_cast<size_t>(num_threads) * 8);
    const auto begin = Clock::now();
    for (int t = 0; t < num_threads; ++t) {
      threads.emplace_back([&, t] {
        const size_t part = block.size() / static_cast<size_t>(num_threads);
        const uint64_t* data = block.data() + static_cast<size_t>(t) * part;
        uint64_t lanes[32] = {};
        for (size_t i = 0; i + 32 <= part; i += 32) {
          for (size_t k = 0; k < 32; ++k) lanes[k] += data[i + k];
        }
        for (const uint64_t lane : lanes) sums[static_cast<size_t>(t) * 8] += lane;
      });
    }
    for (std::thread& thread : threads) thread.join();
    volatile uint64_t sink = 0;
    for (const uint64_t sum : sums) sink = sink + sum;
    best = std::max(
        best, static_cast<double>(block.size() * sizeof(uint64_t)) / seconds_since(begin) / 1e9);
  }
  return best;
}

struct Result {
  std::string model;
  const char* what;
  int batch;
  int adapters;
  double tokens_per_second;
  double gigabytes_per_second;  // bytes that a step must read over its time; 0 for prefill
  double read_control;          // GB/s, measured just before
};

class Bench {
 public:
  Bench(const std::string& path, std::string name, int threads)
      : name_(std::move(name)), threads_(threads) {
    slora_error error = SLORA_ERROR_INIT;
    slora_model_options options = SLORA_MODEL_OPTIONS_INIT;
    options.backend = SLORA_BACKEND_HOST;
    options.path = path.data();
    options.path_bytes = path.size();
    options.num_threads = threads;
    options.synthetic = 1;
    options.synthetic_seed = 1;
    std::fprintf(stderr, "%s: making weights\n", name_.c_str());
    model_ = slora_model_load(&options, &error);
    if (!model_) die(error);
    expect(slora_model_get_info(model_, &info_, &error), error);
    slora_engine_options sizes = SLORA_ENGINE_OPTIONS_INIT;
    sizes.pool_bytes = uint64_t{2} << 30;
    sizes.max_sequences = 16;
    sizes.max_batch_tokens = 512;
    engine_ = slora_engine_create(model_, &sizes, &error);
    if (!engine_) die(error);
    for (uint64_t i = 0; i < 8; ++i) {
      slora_adapter_options adapter = SLORA_ADAPTER_OPTIONS_INIT;
      adapter.synthetic_lora_rank = 16;
      adapter.synthetic_seed = 100 + i;
      adapters_.push_back(slora_adapter_load(engine_, &adapter, &error));
      if (!adapters_.back()) die(error);
      slora_adapter_info adapter_info = SLORA_ADAPTER_INFO_INIT;
      expect(slora_adapter_get_info(adapters_.back(), &adapter_info, &error), error);
      adapter_ids_.push_back(adapter_info.adapter_id);
      adapter_bytes_ = adapter_info.image_bytes - adapter_info.wasted_bytes;
    }
    rows_.resize(16);
  }

  ~Bench() {
    for (slora_adapter* adapter : adapters_) slora_adapter_unload(adapter);
    slora_engine_destroy(engine_);
    slora_model_destroy(model_);
  }
  Bench(const Bench&) = delete;
  Bench& operator=(const Bench&) = delete;

  // Median time of a prefill of `length` tokens, as tokens/s.
  Result prefill(int length, int num_adapters) {
    const double control = read_bandwidth(threads_);
    std::vector<double> times;
    for (int round = 0; round < 5; ++round) {
      create(1, length, num_adapters);
      const auto begin = Clock::now();
      step(1, static_cast<uint32_t>(length), 0);
      times.push_back(seconds_since(begin));
      release(1);
    }
    std::sort(times.begin(), times.end());
    return {name_, "prefill", length, num_adapters, length / times[times.size() / 2], 0, control};
  }

  // Median step over `seconds` of decoding at contexts from 128 on.
  Result decode(int batch, int num_adapters, double seconds) {
    const double control = read_bandwidth(threads_);
    const uint32_t prompt = 128;
    create(batch, static_cast<int>(prompt), num_adapters);
    for (int i = 0; i < batch; ++i) step_one(i, prompt);
    std::vector<double> times;
    const auto begin = Clock::now();
    uint32_t position = prompt;
    while (seconds_since(begin) < seconds && position < 1024) {
      const auto step_begin = Clock::now();
      step(batch, 1, position++);
      times.push_back(seconds_since(step_begin));
    }
    release(batch);
    std::sort(times.begin(), times.end());
    const double median = times[times.size() / 2];
    const double kv =
        double(batch) * position * info_.num_layers * 2 * info_.num_kv_heads * info_.head_size * 2;
    const double bytes = double(info_.weight_bytes) + num_adapters * double(adapter_bytes_) + kv;
    return {name_, "decode", batch, num_adapters, batch / median, bytes / median / 1e9, control};
  }

 private:
  void create(int batch, int length, int num_adapters) {
    ids_.clear();
    std::vector<int32_t> prompt(static_cast<size_t>(length));
    for (int i = 0; i < batch; ++i) {
      for (size_t k = 0; k < prompt.size(); ++k)
        prompt[k] = static_cast<int32_t>((k * 7919 + static_cast<size_t>(i) * 104729 + 13) %
                                         info_.vocab_size);
      slora_sequence_options options = SLORA_SEQUENCE_OPTIONS_INIT;
      options.sequence_id = ++next_id_;
      options.prompt_tokens = prompt.data();
      options.num_prompt_tokens = static_cast<uint32_t>(length);
      slora_adapter_weight use{};
      if (num_adapters > 0) {
        use = {adapter_ids_[static_cast<size_t>(i % num_adapters)], 1.0f, 0};
        options.adapters = &use;
        options.num_adapters = 1;
      }
      slora_error error = SLORA_ERROR_INIT;
      expect(slora_sequence_create(engine_, &options, &error), error);
      ids_.push_back(options.sequence_id);
    }
  }

  void release(int batch) {
    slora_error error = SLORA_ERROR_INIT;
    for (int i = 0; i < batch; ++i)
      expect(slora_sequence_release(engine_, ids_[static_cast<size_t>(i)], &error), error);
  }

  void run(std::vector<slora_plan_row>& rows) {
    slora_error error = SLORA_ERROR_INIT;
    slora_plan plan = SLORA_PLAN_INIT;
    plan.rows = rows.data();
    plan.num_rows = static_cast<uint32_t>(rows.size());
    expect(slora_engine_submit(engine_, &plan, &error), error);
    slora_step_result result = SLORA_STEP_RESULT_INIT;
    result.rows = rows_.data();
    result.rows_capacity = rows_.size();
    expect(slora_engine_collect(engine_, &result, &error), error);
  }

  void step(int batch, uint32_t tokens, uint32_t first) {
    plan_.clear();
    for (int i = 0; i < batch; ++i)
      plan_.push_back({ids_[static_cast<size_t>(i)], tokens, first, SLORA_ROW_SAMPLE, 0});
    run(plan_);
  }

  void step_one(int i, uint32_t tokens) {
    plan_.assign(1, {ids_[static_cast<size_t>(i)], tokens, 0, SLORA_ROW_SAMPLE, 0});
    run(plan_);
  }

  std::string name_;
  int threads_;
  slora_model* model_ = nullptr;
  slora_model_info info_ = SLORA_MODEL_INFO_INIT;
  slora_engine* engine_ = nullptr;
  std::vector<slora_adapter*> adapters_;
  std::vector<uint64_t> adapter_ids_;
  uint64_t adapter_bytes_ = 0;
  uint64_t next_id_ = 0;
  std::vector<uint64_t> ids_;
  std::vector<slora_plan_row> plan_;
  std::vector<slora_row_result> rows_;
};

// llama.cpp v0.5.0, bf16, 2 threads, the 1.1 B shape, measured when the read control was 34 GB/s;
// decode figures scale with the control, prefill is bound by arithmetic and does not.
struct Peer {
  const char* what;
  int batch;
  int adapters;
  double tokens_per_second;
};
constexpr double kPeerControl = 34.0;
constexpr Peer kPeers[] = {{"prefill", 256, 0, 79}, {"prefill", 256, 1, 68},
                           {"decode", 1, 0, 18.3},  {"decode", 1, 1, 13.5},
                           {"decode", 8, 0, 40.6},  {"decode", 8, 8, 15.0}};

double peer_figure(const Result& result) {
  if (result.model != "llama-1.1b") return 0;
  for (const Peer& peer : kPeers) {
    if (std::strcmp(peer.what, result.what) == 0 && peer.batch == result.batch &&
        peer.adapters == result.adapters) {
      return peer.tokens_per_second * (peer.batch <= 8 ? result.read_control / kPeerControl : 1.0);
    }
  }
  return 0;
}

void print(const Result& r) {
  std::printf("%-12s %-8s %5d %9d %11.1f", r.model.c_str(), r.what, r.batch, r.adapters,
              r.tokens_per_second);
  if (r.gigabytes_per_second > 0) {
    std::printf(" %8.1f %9.1f %7.0f %%", r.gigabytes_per_second, r.read_control,
                100 * r.gigabytes_per_second / r.read_control);
  } else {
    std::printf(" %8s %9.1f %9s", "-", r.read_control, "-");
  }
  const double peer = peer_figure(r);
  if (peer > 0) std::printf("  %5.2f x llama.cpp", r.tokens_per_second / peer);
  std::printf("\n");
  std::fflush(stdout);
}

void write_json(const std::string& path, const std::vector<Result>& results, int threads) {
  FILE* file = std::fopen(path.c_str(), "w");
  if (!file) {
    std::fprintf(stderr, "bench_step: cannot write %s\n", path.c_str());
    std::exit(1);
  }
  slora_backend_info machine = SLORA_BACKEND_INFO_INIT;
  slora_backend_probe(SLORA_BACKEND_HOST, &machine, nullptr);
  std::fprintf(file,
               "{\n  \"machine\": \"%s\", \"features\": \"%s\", \"threads\": %d, \"build\": "
               "\"%s\",\n  \"results\": [\n",
               machine.device_name, machine.features, threads, slora_build_info());
  for (size_t i = 0; i < results.size(); ++i) {
    const Result& r = results[i];
    std::fprintf(file,
                 "    {\"model\": \"%s\", \"what\": \"%s\", \"batch\": %d, \"distinct_adapters\": "
                 "%d, \"lora_rank\": %d, "
                 "\"tokens_per_second\": %.2f, \"gigabytes_per_second\": %.2f, "
                 "\"read_control_gigabytes_per_second\": %.2f, "
                 "\"llama_cpp_scaled\": %.2f}%s\n",
                 r.model.c_str(), r.what, r.batch, r.adapters, r.adapters > 0 ? 16 : 0,
                 r.tokens_per_second, r.gigabytes_per_second, r.read_control, peer_figure(r),
                 i + 1 < results.size() ? "," : "");
  }
  std::fprintf(file, "  ]\n}\n");
  std::fclose(file);
}

}  // namespace

int main(int argc, char** argv) {
  std::string models, only, json;
  int threads = 0;
  double seconds = 6;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string key = argv[i];
    if (key == "--models")
      models = argv[i + 1];
    else if (key == "--model")
      only = argv[i + 1];
    else if (key == "--threads")
      threads = std::atoi(argv[i + 1]);
    else if (key == "--seconds")
      seconds = std::atof(argv[i + 1]);
    else if (key == "--json")
      json = argv[i + 1];
  }
  if (models.empty()) {
    std::fprintf(stderr,
                 "usage: bench_step --models DIR [--model NAME] [--threads N] [--seconds S] "
                 "[--json FILE]\n");
    return 1;
  }
  if (threads == 0) threads = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  std::printf("%-12s %-8s %5s %9s %11s %8s %9s %9s\n", "model", "step", "batch", "adapters",
              "tokens/s", "GB/s", "read GB/s", "share");
  std::vector<Result> results;
  for (const char* name : {"llama-124m", "llama-1.1b"}) {
    if (!only.empty() && only != name) continue;
    Bench bench(models + "/" + name, name, threads);
    auto add = [&](const Result& result) {
      print(result);
      results.push_back(result);
    };
    add(bench.prefill(256, 0));
    add(bench.prefill(256, 1));
    for (const int batch : {1, 8}) {
      add(bench.decode(batch, 0, seconds));
      add(bench.decode(batch, batch, seconds));
    }
  }
  if (!json.empty()) write_json(json, results, threads);
  return 0;
}
