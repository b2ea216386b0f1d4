// Whole steps on a GPU through the C ABI, on a model made of random weights: decode with and
// without distinct adapters beside the time that its bytes need at the rate of a device copy,
// prefill beside the rate of its own matmuls, all measured in the same run.
//
// usage: bench_gpu_step --model DIR [--batches 1,8,32] [--sets base,idle,r8,r16,mixed] [--prefill
// 1]
//                       [--serve PROMPT_TOKENS] [--adapters N] [--json FILE]
//
// adapters: at most so many different ones, shared by the rows in turn; else each row has its own.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "slora/engine/backend_loader.hpp"
#include "step_bench.hpp"

namespace {

using namespace slora;
using namespace slora::bench;

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

void print(const Result& r, double copy_rate) {
  if (r.what != "prefill") {
    std::printf("%-8s %-7s %6d %10.1f %10.1f %10.1f %7.3f %7.2f %% %11.0f", r.what.c_str(),
                r.set.c_str(), r.batch, r.device_us, r.wall_us, r.floor_us,
                r.device_us / r.floor_us, 100 * (r.wall_us - r.device_us) / r.wall_us,
                r.batch / r.wall_us * 1e6);
    // A decode step's floor is its bytes alone.
    const double bytes = r.floor_us * 1e-6 * copy_rate;
    if (r.what == "decode") {
      std::printf(" %8.2f %8.1f %5.1f %%", bytes * 1e-9, bytes / r.device_us * 1e-3,
                  100 * r.floor_us / r.device_us);
    }
    std::printf("\n");
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
  int most_adapters = 0;
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
    if (key == "--adapters") most_adapters = std::atoi(argv[i + 1]);
    if (key == "--json") json = argv[i + 1];
  }
  if (model.empty()) {
    std::fprintf(
        stderr,
        "usage: bench_gpu_step --model DIR [--batches 1,8] [--sets base,idle,r8,r16,mixed] "
        "[--prefill 0|1] [--ffn SIZE] [--pool-gib N] [--adapters N] [--json FILE]\n");
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
    std::printf("%-8s %-7s %6s %10s %10s %10s %7s %9s %11s %8s %8s %7s\n", "step", "set", "batch",
                "device us", "wall us", "floor us", "ratio", "gap", "tokens/s", "GB", "GB/s",
                "of copy");
    const auto add = [&](const Result& result) {
      print(result, copy_rate);
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
        if (!is_large || rows <= 64 || serve_tokens > 0 || most_adapters > 0)
          largest = std::max(largest, rows);
      }
      const int distinct = most_adapters > 0 ? std::min(most_adapters, largest) : largest;
      bench.use_set(ranks, set == "base" ? 0 : distinct);
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
