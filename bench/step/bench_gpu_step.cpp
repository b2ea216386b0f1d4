// Whole steps on a GPU through the C ABI, on a model made of random weights: decode with and
// without distinct adapters beside the time that its bytes need at the rate of a device copy,
// prefill beside the rate of its own matmuls, all measured in the same run.
//
// usage: bench_gpu_step --model DIR [--batches 1,8,32] [--sets base,idle,r8,r16,mixed] [--prefill
// 1]
//                       [--serve PROMPT_TOKENS] [--json FILE]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sstream>
#include <string>
#include <vector>

#include "slora/engine/backend_loader.hpp"
#include "slora/slora.h"

namespace {

using namespace slora;
using Clock = std::chrono::steady_clock;

constexpr uint32_t kContext = 512;
constexpr uint32_t kMaxRows = 512;
constexpr uint32_t kMeasuredSteps = 48;
constexpr uint32_t kWarmSteps = 8;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values.empty() ? 0 : values[values.size() / 2];
}

[[noreturn]] void die(const slora_error& error) {
  std::fprintf(stderr, "bench_gpu_step: %s: %s\n", error.site, error.message);
  std::exit(1);
}

void expect(int32_t status, const slora_error& error) {
  if (status < 0) die(error);
  if (status > 0) {
    std::fprintf(stderr, "bench_gpu_step: deferred: %s\n", slora_status_name(status));
    std::exit(1);
  }
}

// The ceilings of this card, through the backend's own tables.
class Ceilings {
 public:
  Ceilings()
      : backend_(engine::open_backend(engine::BackendKind::kCuda, 0, 0)),
        stream_(backend_.device, device::StreamKind::kCompute) {}

  // Bytes read and written a second by a device copy of 1 GiB.
  double copy_bytes_per_second() {
    const uint64_t bytes = uint64_t{1} << 30;
    const device::Buffer from(backend_.device, device::MemoryKind::kDevice, bytes);
    const device::Buffer to(backend_.device, device::MemoryKind::kDevice, bytes);
    return 2.0 * double(bytes) / timed(10, [&] { stream_.copy(to.data(), from.data(), bytes); });
  }

  // Seconds of one layer's four matmuls over `tokens` rows, by the same operation that steps use.
  double layer_matmul_seconds(const slora_model_info& model, int64_t ffn, int64_t tokens) {
    const int64_t h = model.hidden_size;
    const int64_t q = int64_t{model.num_heads} * model.head_size;
    const int64_t kv = int64_t{model.num_kv_heads} * model.head_size;
    const std::pair<int64_t, int64_t> shapes[] = {{q + 2 * kv, h}, {h, q}, {2 * ffn, h}, {h, ffn}};
    std::vector<device::Buffer> weights;
    const auto* kernels = backend_.kernels;
    for (const auto& [n, k] : shapes) {
      weights.emplace_back(backend_.device, device::MemoryKind::kDevice,
                           kernels->weight_bytes(core::DType::kBF16, n, k));
      const kernels::WeightFillParams fill{
          weights.back().data(), core::DType::kBF16, n, k, uint64_t(n), 0.02f};
      kernels->weight_fill(stream_.handle(), &fill);
    }
    const int64_t widest = std::max({q + 2 * kv, 2 * ffn, h});
    const device::Buffer x(backend_.device, device::MemoryKind::kDevice,
                           kernels->weight_bytes(core::DType::kBF16, tokens, std::max(h, ffn)));
    const kernels::WeightFillParams fill{x.data(), core::DType::kBF16, tokens, std::max(h, ffn), 7,
                                         1.0f};
    kernels->weight_fill(stream_.handle(), &fill);
    const device::Buffer y(backend_.device, device::MemoryKind::kDevice,
                           static_cast<uint64_t>(tokens * widest * 2));
    const device::Buffer workspace(
        backend_.device, device::MemoryKind::kDevice,
        kernels->gemm_workspace_bytes(core::DType::kBF16, tokens, std::max(h, ffn)));
    return timed(10, [&] {
      for (size_t i = 0; i < 4; ++i) {
        kernels::GemmParams params{};
        params.x = x.data();
        params.x_stride = params.k = shapes[i].second;
        params.w = weights[i].data();
        params.weight_dtype = params.activation_dtype = params.y_dtype = core::DType::kBF16;
        params.m = tokens;
        params.n = params.y_stride = shapes[i].first;
        params.y = y.data();
        params.workspace = workspace.data();
        kernels->gemm(stream_.handle(), &params);
      }
    });
  }

 private:
  template <typename F>
  double timed(int rounds, F&& enqueue) {
    device::Event begin(backend_.device), end(backend_.device);
    std::vector<double> seconds;
    for (int i = 0; i < rounds + 2; ++i) {
      begin.record(stream_);
      enqueue();
      end.record(stream_);
      end.synchronize();
      if (i >= 2) seconds.push_back(double(end.elapsed_ns_since(begin)) * 1e-9);
    }
    return median(seconds);
  }

  forward::Backend backend_;
  device::Stream stream_;
};

struct Result {
  std::string what, set;
  int batch = 0;
  double device_us = 0, wall_us = 0, floor_us = 0;
  double rate = 0;  // prefill: share of the matmuls' own rate
};

class Bench {
 public:
  Bench(const std::string& path, uint64_t pool_bytes) {
    slora_error error = SLORA_ERROR_INIT;
    slora_model_options options = SLORA_MODEL_OPTIONS_INIT;
    options.backend = SLORA_BACKEND_CUDA;
    options.path = path.data();
    options.path_bytes = path.size();
    options.compute_dtype = SLORA_DTYPE_BF16;
    options.synthetic = 1;
    options.synthetic_seed = 1;
    const auto begin = Clock::now();
    model_ = slora_model_load(&options, &error);
    if (!model_) die(error);
    expect(slora_model_get_info(model_, &info_, &error), error);
    slora_engine_options sizes = SLORA_ENGINE_OPTIONS_INIT;
    sizes.pool_bytes = pool_bytes;
    sizes.max_sequences = kMaxRows;
    sizes.max_batch_tokens = 8192;
    sizes.max_context = 8192 + 64;
    engine_ = slora_engine_create(model_, &sizes, &error);
    if (!engine_) die(error);
    rows_.resize(kMaxRows);
    std::fprintf(stderr, "model and engine: %.1f s\n", seconds_since(begin));
  }
  ~Bench() {
    for (Adapter& adapter : adapters_) slora_adapter_unload(adapter.handle);
    slora_engine_destroy(engine_);
    slora_model_destroy(model_);
  }
  Bench(const Bench&) = delete;
  Bench& operator=(const Bench&) = delete;

  const slora_model_info& info() const { return info_; }

  // Adapters on q, k, v and o; ranks in turn.
  void use_set(const std::vector<uint32_t>& ranks, int count) {
    const auto begin = Clock::now();
    for (Adapter& adapter : adapters_) slora_adapter_unload(adapter.handle);
    adapters_.clear();
    for (int i = 0; i < count && !ranks.empty(); ++i) {
      slora_error error = SLORA_ERROR_INIT;
      slora_adapter_options options = SLORA_ADAPTER_OPTIONS_INIT;
      options.synthetic_lora_rank = ranks[static_cast<size_t>(i) % ranks.size()];
      options.synthetic_seed = 100 + static_cast<uint64_t>(i);
      options.synthetic_modules = 0xf;
      slora_adapter* handle = slora_adapter_load(engine_, &options, &error);
      if (!handle) die(error);
      slora_adapter_info info = SLORA_ADAPTER_INFO_INIT;
      expect(slora_adapter_get_info(handle, &info, &error), error);
      adapters_.push_back({handle, info.adapter_id, double(info.image_bytes - info.wasted_bytes)});
    }
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
    create(batch, prompt, is_adapted ? batch : 0);
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
    if (is_adapted)
      for (int i = 0; i < batch; ++i) bytes += adapters_[static_cast<size_t>(i)].bytes;
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
      const bool is_adapted = set != "base";
      std::vector<int32_t> prompt(tokens, 7 + step);
      slora_sequence_options options = SLORA_SEQUENCE_OPTIONS_INIT;
      options.sequence_id = ++next_id_;
      options.prompt_tokens = prompt.data();
      options.num_prompt_tokens = tokens;
      slora_adapter_weight use{};
      if (is_adapted) {
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
  slora_model_info info_ = SLORA_MODEL_INFO_INIT;
  std::vector<Adapter> adapters_;
  uint64_t next_id_ = 0;
  std::vector<uint64_t> ids_;
  std::vector<slora_plan_row> plan_;
  std::vector<slora_row_result> rows_;
};

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> parts;
  std::istringstream in(text);
  for (std::string part; std::getline(in, part, ',');) parts.push_back(part);
  return parts;
}

void print(const Result& r) {
  if (r.what != "prefill") {
    std::printf("%-8s %-7s %6d %10.1f %10.1f %10.1f %7.3f %7.2f %% %11.0f\n", r.what.c_str(),
                r.set.c_str(), r.batch, r.device_us, r.wall_us, r.floor_us,
                r.device_us / r.floor_us, 100 * (r.wall_us - r.device_us) / r.wall_us,
                r.batch / r.wall_us * 1e6);
  } else {
    std::printf("%-8s %-7s %6d %10.1f %10s %10.1f %7.3f %9s %11.0f\n", r.what.c_str(),
                r.set.c_str(), r.batch, r.device_us, "-", r.floor_us, r.rate, "-",
                r.batch / r.device_us * 1e6);
  }
  std::fflush(stdout);
}

void write_json(const std::string& path, const std::string& model, double copy_rate,
                const std::vector<Result>& results) {
  FILE* file = std::fopen(path.c_str(), "w");
  if (!file) {
    std::fprintf(stderr, "bench_gpu_step: cannot write %s\n", path.c_str());
    std::exit(1);
  }
  slora_backend_info card = SLORA_BACKEND_INFO_INIT;
  slora_backend_probe(SLORA_BACKEND_CUDA, &card, nullptr);
  std::fprintf(file,
               "{\n  \"card\": \"%s\", \"features\": \"%s\", \"build\": \"%s\", \"model\": \"%s\", "
               "\"copy_terabytes_per_second\": %.3f,\n  \"results\": [\n",
               card.device_name, card.features, slora_build_info(), model.c_str(),
               copy_rate / 1e12);
  for (size_t i = 0; i < results.size(); ++i) {
    const Result& r = results[i];
    std::fprintf(file,
                 "    {\"what\": \"%s\", \"set\": \"%s\", \"%s\": %d, \"device_us\": %.2f, "
                 "\"wall_us\": %.2f, \"floor_us\": %.2f}%s\n",
                 r.what.c_str(), r.set.c_str(), r.what == "prefill" ? "tokens" : "batch", r.batch,
                 r.device_us, r.wall_us, r.floor_us, i + 1 < results.size() ? "," : "");
  }
  std::fprintf(file, "  ]\n}\n");
  std::fclose(file);
}

}  // namespace

int main(int argc, char** argv) {
  std::string model, json, batches = "1,8,16,32,64,128", sets = "base,r8,r16,mixed";
  bool with_prefill = true;
  uint32_t serve_tokens = 0;
  int64_t ffn = 11008;
  double pool_gib = 48;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string key = argv[i];
    if (key == "--model") model = argv[i + 1];
    if (key == "--batches") batches = argv[i + 1];
    if (key == "--sets") sets = argv[i + 1];
    if (key == "--prefill") with_prefill = std::atoi(argv[i + 1]) != 0;
    if (key == "--ffn") ffn = std::atoll(argv[i + 1]);
    if (key == "--pool-gib") pool_gib = std::atof(argv[i + 1]);
    if (key == "--serve") serve_tokens = static_cast<uint32_t>(std::atoi(argv[i + 1]));
    if (key == "--json") json = argv[i + 1];
  }
  if (model.empty()) {
    std::fprintf(
        stderr,
        "usage: bench_gpu_step --model DIR [--batches 1,8] [--sets base,idle,r8,r16,mixed] "
        "[--prefill 0|1] [--ffn SIZE] [--pool-gib N] [--json FILE]\n");
    return 1;
  }
  std::vector<Result> results;
  double copy_rate = 0, matmul_2048 = 0, matmul_8192 = 0, matmul_serve = 0;
  {
    Ceilings ceilings;
    copy_rate = ceilings.copy_bytes_per_second();
    std::printf("copy: %.3f TB/s read and write\n", copy_rate / 1e12);
    Bench bench(model, static_cast<uint64_t>(pool_gib * (1 << 30)));
    if (with_prefill) {
      matmul_2048 = ceilings.layer_matmul_seconds(bench.info(), ffn, 2048);
      matmul_8192 = ceilings.layer_matmul_seconds(bench.info(), ffn, 8192);
    }
    if (serve_tokens > 0)
      matmul_serve = ceilings.layer_matmul_seconds(bench.info(), ffn, serve_tokens);
    std::printf("%-8s %-7s %6s %10s %10s %10s %7s %9s %11s\n", "step", "set", "batch", "device us",
                "wall us", "floor us", "ratio", "gap", "tokens/s");
    const auto add = [&](const Result& result) {
      print(result);
      results.push_back(result);
    };
    for (const std::string& set : split(sets)) {
      std::vector<uint32_t> ranks;
      if (set == "r8" || set == "idle") ranks = {8};
      if (set == "r16") ranks = {16};
      if (set == "r64") ranks = {64};
      if (set == "mixed") ranks = {8, 16, 32, 64};
      if (ranks.empty() && set != "base") {
        std::fprintf(stderr, "bench_gpu_step: there is no set '%s'\n", set.c_str());
        return 1;
      }
      const bool is_large = set == "mixed" || set == "r64";
      int largest = 0;
      for (const std::string& batch : split(batches)) {
        const int rows = std::atoi(batch.c_str());
        if (!is_large || rows <= 64 || serve_tokens > 0) largest = std::max(largest, rows);
      }
      bench.use_set(ranks, set == "base" ? 0 : largest);
      for (const std::string& batch : split(batches)) {
        if (std::atoi(batch.c_str()) <= largest)
          add(bench.decode(set, std::atoi(batch.c_str()), copy_rate));
        if (std::atoi(batch.c_str()) <= largest && serve_tokens > 0)
          add(bench.serve(set, std::atoi(batch.c_str()), serve_tokens, copy_rate, matmul_serve));
      }
    }
    if (with_prefill) {
      bench.use_set({}, 0);
      add(bench.prefill("base", 2048, 0, matmul_2048));
      add(bench.prefill("base", 8192, 0, matmul_8192));
      bench.use_set({64}, 8);
      add(bench.prefill("8 x r64", 2048, 8, matmul_2048));
      add(bench.prefill("8 x r64", 8192, 8, matmul_8192));
      bench.use_set({}, 0);
      add(bench.prefill("base 8", 8192, 8, matmul_8192));
    }
  }
  if (!json.empty()) write_json(json, model, copy_rate, results);
  return 0;
}
