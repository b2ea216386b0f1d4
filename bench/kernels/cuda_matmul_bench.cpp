// The base matmuls of one decode step on a GPU: every matrix of the layers and the head, each read
// once, as one graph; and each shape alone. Beside the time that the bytes need at the rate of a
// device copy measured in the same run.
//
// usage: bench_cuda_matmul [--model llama-7b|llama-70b|llama-70b-tp2] [--rows 1,8,16] [--json FILE]
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

constexpr int kReplays = 7;
constexpr int kMaxRows = 128;

struct Shape {
  const char* name;
  int64_t n, k;
  int count;  // of them in a step
};

struct Model {
  const char* name;
  std::vector<Shape> shapes;  // the last is the head
};

// Llama-70B by a tenth of its layers; -tp2: what one rank of two has of it.
const Model kModels[] = {{"llama-7b",
                          {{"qkv", 12288, 4096, 32},
                           {"o", 4096, 4096, 32},
                           {"gate_up", 22016, 4096, 32},
                           {"down", 4096, 11008, 32},
                           {"head", 32000, 4096, 1}}},
                         {"llama-70b",
                          {{"qkv", 10240, 8192, 8},
                           {"o", 8192, 8192, 8},
                           {"gate_up", 57344, 8192, 8},
                           {"down", 8192, 28672, 8},
                           {"head", 32000, 8192, 1}}},
                         {"llama-70b-tp2",
                          {{"qkv", 5120, 8192, 8},
                           {"o", 8192, 4096, 8},
                           {"gate_up", 28672, 8192, 8},
                           {"down", 8192, 14336, 8},
                           {"head", 16000, 8192, 1}}}};

class Bench {
 public:
  explicit Bench(const Model& model)
      : shapes_(model.shapes),
        backend_(engine::open_backend(engine::BackendKind::kCuda, 0, 0)),
        stream_(backend_.device, device::StreamKind::kCompute),
        begin_(backend_.device),
        end_(backend_.device),
        flush_(memory(256u << 20)),
        flush_to_(memory(256u << 20)),
        workspace_(
            memory(backend_.kernels->gemm_workspace_bytes(DType::kBF16, kMaxRows, longest()))),
        x_(filled(kMaxRows, longest())),
        y_(memory(kMaxRows * widest() * 4)) {
    for (const Shape& shape : shapes_)
      for (int i = 0; i < shape.count; ++i) weights_.push_back({&shape, filled(shape.n, shape.k)});
  }

  double copy_rate() {
    const double us = timed([&] { stream_.copy(flush_to_.data(), flush_.data(), flush_.bytes()); });
    return 2.0 * double(flush_.bytes()) / us * 1e6;
  }

  // Microseconds of one replay over the matrices of `shape`, or of all in the order of layers.
  double run(int64_t rows, const Shape* shape) {
    std::vector<const Weight*> order;
    const auto layers = static_cast<size_t>(shapes_[0].count);
    for (size_t layer = 0; layer < layers; ++layer)
      for (size_t s = 0; s + 1 < shapes_.size(); ++s)
        order.push_back(&weights_[s * layers + layer]);
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

  double bytes(const Shape* shape) const {
    double sum = 0;
    for (const Shape& each : shapes_)
      if (!shape || shape == &each) sum += 2.0 * double(each.n * each.k) * each.count;
    return sum;
  }

  const std::vector<Shape>& shapes() const { return shapes_; }

 private:
  struct Weight {
    const Shape* shape;
    device::Buffer data;
  };

  int64_t longest() const {
    int64_t most = 0;
    for (const Shape& shape : shapes_) most = std::max(most, shape.k);
    return most;
  }
  int64_t widest() const {
    int64_t most = 0;
    for (const Shape& shape : shapes_) most = std::max(most, shape.n);
    return most;
  }
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
    params.y_dtype = weight.shape == &shapes_.back() ? DType::kF32 : DType::kBF16;
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

  const std::vector<Shape>& shapes_;
  uint64_t seed_ = 0;
  forward::Backend backend_;
  device::Stream stream_;
  device::Event begin_, end_;
  device::Buffer flush_, flush_to_, workspace_, x_, y_;
  std::vector<Weight> weights_;
};

}  // namespace

int main(int argc, char** argv) {
  std::string rows = "1,2,4,8,16,24,32,64,128", json, name = kModels[0].name;
  for (int i = 1; i + 1 < argc; i += 2) {
    if (std::string(argv[i]) == "--rows") rows = argv[i + 1];
    if (std::string(argv[i]) == "--json") json = argv[i + 1];
    if (std::string(argv[i]) == "--model") name = argv[i + 1];
  }
  const auto model = std::find_if(std::begin(kModels), std::end(kModels),
                                  [&](const Model& each) { return each.name == name; });
  if (model == std::end(kModels)) {
    std::fprintf(stderr, "bench_cuda_matmul: no shapes of '%s'\n", name.c_str());
    return 1;
  }
  Bench bench(*model);
  const double rate = bench.copy_rate();
  std::printf("copy: %.3f TB/s read and write\n%-9s %5s %10s %10s %7s %9s %8s %7s\n", rate / 1e12,
              "matmuls", "rows", "us", "floor us", "ratio", "MB", "GB/s", "of copy");
  std::string lines;
  std::istringstream in(rows);
  for (std::string part; std::getline(in, part, ',');) {
    const int64_t m = std::atoll(part.c_str());
    std::vector<const Shape*> subjects = {nullptr};
    for (const Shape& shape : bench.shapes()) subjects.push_back(&shape);
    for (const Shape* shape : subjects) {
      const double us = bench.run(m, shape), bytes = bench.bytes(shape);
      const double floor = bytes / rate * 1e6;
      const char* what = shape ? shape->name : "step";
      std::printf("%-9s %5lld %10.1f %10.1f %7.3f %9.1f %8.1f %5.1f %%\n", what,
                  static_cast<long long>(m), us, floor, us / floor, bytes * 1e-6, bytes / us * 1e-3,
                  100 * floor / us);
      char line[256];
      std::snprintf(line, sizeof line,
                    "    {\"matmuls\": \"%s\", \"rows\": %lld, \"us\": %.2f, \"floor_us\": %.2f}",
                    what, static_cast<long long>(m), us, floor);
      lines += (lines.empty() ? "" : ",\n") + std::string(line);
    }
  }
  if (json.empty()) return 0;
  FILE* file = std::fopen(json.c_str(), "w");
  if (!file) {
    std::fprintf(stderr, "bench_cuda_matmul: cannot write %s\n", json.c_str());
    return 1;
  }
  std::fprintf(file,
               "{\n  \"model\": \"%s\", \"copy_terabytes_per_second\": %.3f,\n  \"results\": "
               "[\n%s\n  ]\n}\n",
               name.c_str(), rate / 1e12, lines.c_str());
  std::fclose(file);
  return 0;
}
