// The base matmuls of one decode step of Llama-7B on a GPU: every matrix of 32 layers and the head,
// each read once, as one graph; and each shape alone. Beside the time that the bytes need at the
// rate of a device copy measured in the same run.
//
// usage: bench_cuda_matmul [--rows 1,8,16] [--json FILE]
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <sstream>
#include <string>
#include <vector>

#include "slora/engine/backend_loader.hpp"

namespace {

using namespace slora;
using core::DType;

constexpr int kLayers = 32;
constexpr int kReplays = 7;

struct Shape {
  const char* name;
  int64_t n, k;
};
constexpr Shape kShapes[] = {{"qkv", 12288, 4096},
                             {"o", 4096, 4096},
                             {"gate_up", 22016, 4096},
                             {"down", 4096, 11008},
                             {"head", 32000, 4096}};

class Bench {
 public:
  Bench()
      : backend_(engine::open_backend(engine::BackendKind::kCuda, 0, 0)),
        stream_(backend_.device, device::StreamKind::kCompute),
        begin_(backend_.device),
        end_(backend_.device),
        flush_(memory(256u << 20)),
        flush_to_(memory(256u << 20)),
        workspace_(memory(backend_.kernels->gemm_workspace_bytes(DType::kBF16, 128, 11008))),
        x_(filled(128, 11008)),
        y_(memory(128 * 32000 * 4)) {
    for (const Shape& shape : kShapes)
      for (int i = 0; i < (shape.n == 32000 ? 1 : kLayers); ++i)
        weights_.push_back({&shape, filled(shape.n, shape.k)});
  }

  double copy_rate() {
    const double us = timed([&] { stream_.copy(flush_to_.data(), flush_.data(), flush_.bytes()); });
    return 2.0 * double(flush_.bytes()) / us * 1e6;
  }

  // Microseconds of one replay over the matrices of `shape`, or of all in the order of layers.
  double run(int64_t rows, const Shape* shape) {
    std::vector<const Weight*> order;
    for (int layer = 0; layer < kLayers; ++layer)
      for (size_t s = 0; s < 4; ++s) order.push_back(&weights_[s * kLayers + size_t(layer)]);
    order.push_back(&weights_.back());
    if (shape) std::erase_if(order, [&](const Weight* weight) { return weight->shape != shape; });
    const auto enqueue = [&] {
      for (const Weight* weight : order) multiply(rows, *weight);
    };
    enqueue();
    stream_.synchronize();
    stream_.begin_recording();
    enqueue();
    const auto graph = stream_.end_recording();
    return timed([&] { stream_.launch(*graph); });
  }

  static double bytes(const Shape* shape) {
    double sum = 0;
    for (const Shape& each : kShapes)
      if (!shape || shape == &each)
        sum += 2.0 * double(each.n * each.k) * (each.n == 32000 ? 1 : kLayers);
    return sum;
  }

 private:
  struct Weight {
    const Shape* shape;
    device::Buffer data;
  };

  device::Buffer memory(uint64_t bytes) {
    return device::Buffer(backend_.device, device::MemoryKind::kDevice, bytes);
  }
  device::Buffer filled(int64_t n, int64_t k) {
    device::Buffer out = memory(backend_.kernels->weight_bytes(DType::kBF16, n, k));
    const kernels::WeightFillParams fill{out.data(), DType::kBF16, n, k, ++seed_, 0.02f};
    backend_.kernels->weight_fill(stream_.handle(), &fill);
    return out;
  }
  void multiply(int64_t rows, const Weight& weight) {
    kernels::GemmParams params{};
    params.x = x_.data();
    params.x_stride = params.k = weight.shape->k;
    params.w = weight.data.data();
    params.weight_dtype = params.activation_dtype = DType::kBF16;
    params.y_dtype = weight.shape->n == 32000 ? DType::kF32 : DType::kBF16;
    params.m = rows;
    params.n = params.y_stride = weight.shape->n;
    params.y = y_.data();
    params.workspace = workspace_.data();
    if (backend_.kernels->gemm(stream_.handle(), &params) != 0) std::abort();
  }
  // Median over replays, the cache flushed before each.
  double timed(const std::function<void()>& enqueue) {
    std::vector<double> us;
    for (int i = 0; i < kReplays + 1; ++i) {
      stream_.copy(flush_to_.data(), flush_.data(), flush_.bytes());
      begin_.record(stream_);
      enqueue();
      end_.record(stream_);
      end_.synchronize();
      if (i > 0) us.push_back(double(end_.elapsed_ns_since(begin_)) * 1e-3);
    }
    std::sort(us.begin(), us.end());
    return us[us.size() / 2];
  }

  uint64_t seed_ = 0;
  forward::Backend backend_;
  device::Stream stream_;
  device::Event begin_, end_;
  device::Buffer flush_, flush_to_, workspace_, x_, y_;
  std::vector<Weight> weights_;
};

}  // namespace

int main(int argc, char** argv) {
  std::string rows = "1,2,4,8,16,24,32,64,128", json;
  for (int i = 1; i + 1 < argc; i += 2) {
    if (std::string(argv[i]) == "--rows") rows = argv[i + 1];
    if (std::string(argv[i]) == "--json") json = argv[i + 1];
  }
  Bench bench;
  const double rate = bench.copy_rate();
  std::printf("copy: %.3f TB/s read and write\n%-9s %5s %10s %10s %7s\n", rate / 1e12, "matmuls",
              "rows", "us", "floor us", "ratio");
  std::string lines;
  std::istringstream in(rows);
  for (std::string part; std::getline(in, part, ',');) {
    const int64_t m = std::atoll(part.c_str());
    std::vector<const Shape*> subjects = {nullptr};
    for (const Shape& shape : kShapes) subjects.push_back(&shape);
    for (const Shape* shape : subjects) {
      const double us = bench.run(m, shape), floor = Bench::bytes(shape) / rate * 1e6;
      const char* name = shape ? shape->name : "step";
      std::printf("%-9s %5lld %10.1f %10.1f %7.3f\n", name, static_cast<long long>(m), us, floor,
                  us / floor);
      char line[256];
      std::snprintf(line, sizeof line,
                    "    {\"matmuls\": \"%s\", \"rows\": %lld, \"us\": %.2f, \"floor_us\": %.2f}",
                    name, static_cast<long long>(m), us, floor);
      lines += (lines.empty() ? "" : ",\n") + std::string(line);
    }
  }
  if (json.empty()) return 0;
  FILE* file = std::fopen(json.c_str(), "w");
  if (!file) {
    std::fprintf(stderr, "bench_cuda_matmul: cannot write %s\n", json.c_str());
    return 1;
  }
  std::fprintf(file, "{\n  \"copy_terabytes_per_second\": %.3f,\n  \"results\": [\n%s\n  ]\n}\n",
               rate / 1e12, lines.c_str());
  std::fclose(file);
  return 0;
}
