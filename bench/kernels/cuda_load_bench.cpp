// How fast adapters of Llama-7B come from pinned memory into pool pages on a GPU: by one copy a
// layer and run of pages, by a kernel that reads pinned memory (copy_pages), and by large copies
// into a staging ring that the same kernel scatters; beside one plain copy of as many bytes, and
// beside a running stream of matmuls, whose slowing each load causes is printed.
//
// usage: bench_cuda_load [--json FILE]
#include <algorithm>
#include <cstdio>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "slora/engine/backend_loader.hpp"

namespace {

using namespace slora;
using core::DType;

constexpr int32_t kLayers = 32;
constexpr int64_t kPageBytes = 256 << 10;
constexpr int32_t kPoolPages = 1024;  // 8 GiB
constexpr int kAdaptersARound = 8;    // so that fixed parts overlap as they do under load
constexpr int kRounds = 7;
constexpr int64_t kStagingBytes = 32 << 20;

struct Subject {
  const char* name;
  int32_t pages;  // 2, 4, 8, 16: ranks 8, 16, 32, 64
  int32_t run;    // neighbouring pages
};

class Bench {
 public:
  Bench()
      : backend_(engine::open_backend(engine::BackendKind::kCuda, 0, 0)),
        copies_(backend_.device, device::StreamKind::kCopy),
        compute_(backend_.device, device::StreamKind::kCompute),
        begin_(backend_.device),
        end_(backend_.device),
        compute_begin_(backend_.device),
        compute_end_(backend_.device),
        arena_(memory(uint64_t{kPoolPages} * kPageBytes * kLayers)),
        staging_(memory(2 * kStagingBytes)),
        image_(backend_.device, device::MemoryKind::kPinned, uint64_t{16} * kPageBytes * kLayers),
        weight_(memory(uint64_t{12288} * 4096 * 2)),
        x_(memory(16 * 4096 * 2)),
        y_(memory(16 * 12288 * 2)),
        workspace_(memory(backend_.kernels->gemm_workspace_bytes(DType::kBF16, 16, 4096))) {
    for (device::Buffer* buffer : {&weight_, &x_}) {
      const kernels::WeightFillParams fill{
          buffer->data(), DType::kBF16, buffer == &x_ ? 16 : 12288, 4096, 1, 0.02f};
      backend_.kernels->weight_fill(compute_.handle(), &fill);
    }
    compute_.synchronize();
  }

  double plain_copy_rate() {
    const double us = timed(
        [&] {
          for (int i = 0; i < kAdaptersARound; ++i)
            copies_.copy(arena_.data() + i * int64_t(image_.bytes()), image_.data(),
                         image_.bytes());
        },
        false);
    return double(kAdaptersARound) * double(image_.bytes()) / us * 1e6;
  }

  // Bytes a second of one way of loading; with `beside`, while matmuls run, whose time a call
  // against that alone comes back too.
  struct Rate {
    double bytes_per_second;
    double matmul_slowing;
  };
  Rate rate(const Subject& subject, const std::function<void(const std::vector<int32_t>&)>& load,
            bool beside) {
    std::vector<int32_t> pages;
    const auto enqueue = [&] {
      for (int i = 0; i < kAdaptersARound; ++i) {
        pages = scattered(subject);
        load(pages);
      }
    };
    const double us = timed(enqueue, beside);
    const double bytes = double(kAdaptersARound) * subject.pages * kPageBytes * kLayers;
    return {bytes / us * 1e6, beside ? matmul_us_ / matmul_us_alone() : 1};
  }

  void by_copies(const std::vector<int32_t>& pages) {
    const auto count = static_cast<int32_t>(pages.size());
    for (int32_t layer = 0; layer < kLayers; ++layer) {
      for (int32_t i = 0, end; i < count; i = end) {
        end = i + 1;
        while (end < count && pages[size_t(end)] == pages[size_t(end - 1)] + 1) ++end;
        copies_.copy(page(layer, pages[size_t(i)]),
                     image_.data() + (layer * count + i) * kPageBytes,
                     uint64_t((end - i) * kPageBytes));
      }
    }
  }

  void by_kernel(const std::vector<int32_t>& pages, int32_t layers_a_launch) {
    for (int32_t layer = 0; layer < kLayers; layer += layers_a_launch)
      scatter(pages, image_.data() + layer * int64_t(pages.size()) * kPageBytes, layer,
              layers_a_launch);
  }

  void by_staging(const std::vector<int32_t>& pages) {
    const auto layer_bytes = int64_t(pages.size()) * kPageBytes;
    const auto layers =
        static_cast<int32_t>(std::min<int64_t>(kLayers, kStagingBytes / layer_bytes));
    for (int32_t layer = 0; layer < kLayers; layer += layers) {
      const int32_t count = std::min(layers, kLayers - layer);
      uint8_t* half = staging_.data() + (which_ ^= 1) * kStagingBytes;
      copies_.copy(half, image_.data() + layer * layer_bytes, uint64_t(count * layer_bytes));
      scatter(pages, half, layer, count);
    }
  }

 private:
  device::Buffer memory(uint64_t bytes) {
    return device::Buffer(backend_.device, device::MemoryKind::kDevice, bytes);
  }
  uint8_t* page(int32_t layer, int32_t page_idx) const {
    return arena_.data() + (int64_t{layer} * kPoolPages + page_idx) * kPageBytes;
  }

  void scatter(const std::vector<int32_t>& pages, const uint8_t* source, int32_t layer,
               int32_t layers) {
    device::PageCopy copy{};
    copy.slice = page(layer, 0);
    copy.source = source;
    copy.slice_bytes = kPoolPages * kPageBytes;
    copy.layer_bytes = int64_t(pages.size()) * kPageBytes;
    copy.page_bytes = kPageBytes;
    copy.num_layers = layers;
    for (const int32_t id : pages) {
      copy.sources[copy.num_pages] = copy.num_pages;
      copy.targets[copy.num_pages++] = id;
    }
    copies_.copy(copy);
  }

  // Ascending ids in runs of `run` with holes between them.
  std::vector<int32_t> scattered(const Subject& subject) {
    std::vector<int32_t> places(size_t(kPoolPages / (subject.run + 1)));
    for (size_t i = 0; i < places.size(); ++i) places[i] = int32_t(i) * (subject.run + 1);
    std::shuffle(places.begin(), places.end(), random_);
    places.resize(size_t(subject.pages / subject.run));
    std::sort(places.begin(), places.end());
    std::vector<int32_t> pages;
    for (const int32_t place : places)
      for (int32_t i = 0; i < subject.run; ++i) pages.push_back(place + i);
    return pages;
  }

  void matmuls(int count) {
    kernels::GemmParams params{};
    params.x = x_.data();
    params.x_stride = params.k = 4096;
    params.w = weight_.data();
    params.weight_dtype = params.activation_dtype = params.y_dtype = DType::kBF16;
    params.m = 16;
    params.n = params.y_stride = 12288;
    params.y = y_.data();
    params.workspace = workspace_.data();
    for (int i = 0; i < count; ++i) backend_.kernels->gemm(compute_.handle(), &params);
  }

  // Microseconds of what is enqueued on the copy stream, median over rounds.
  double timed(const std::function<void()>& enqueue, bool beside) {
    std::vector<double> us, matmul_us;
    for (int i = 0; i < kRounds + 1; ++i) {
      compute_begin_.record(compute_);
      if (beside) matmuls(kMatmuls);
      compute_end_.record(compute_);
      begin_.record(copies_);
      enqueue();
      end_.record(copies_);
      end_.synchronize();
      compute_end_.synchronize();
      if (i == 0) continue;
      us.push_back(double(end_.elapsed_ns_since(begin_)) * 1e-3);
      matmul_us.push_back(double(compute_end_.elapsed_ns_since(compute_begin_)) * 1e-3);
    }
    std::sort(us.begin(), us.end());
    std::sort(matmul_us.begin(), matmul_us.end());
    matmul_us_ = matmul_us[matmul_us.size() / 2];
    return us[us.size() / 2];
  }

  double matmul_us_alone() {
    if (alone_us_ == 0) {
      timed([] {}, true);
      alone_us_ = matmul_us_;
    }
    return alone_us_;
  }

  // About as long as the largest round of loads.
  static constexpr int kMatmuls = 400;

  forward::Backend backend_;
  device::Stream copies_, compute_;
  device::Event begin_, end_, compute_begin_, compute_end_;
  device::Buffer arena_, staging_, image_, weight_, x_, y_, workspace_;
  std::mt19937 random_{7};
  int64_t which_ = 0;
  double matmul_us_ = 0, alone_us_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  std::string json;
  for (int i = 1; i + 1 < argc; i += 2)
    if (std::string(argv[i]) == "--json") json = argv[i + 1];
  try {
    Bench bench;
    const double plain = bench.plain_copy_rate();
    std::printf("plain copy: %.2f GB/s\n%-10s %5s %4s %-10s %8s %6s %8s %6s %9s\n", plain / 1e9,
                "adapter", "pages", "run", "by", "GB/s", "share", "beside", "share", "matmuls x");
    const Subject subjects[] = {{"rank 8", 2, 2},    {"rank 8", 2, 1},   {"rank 16", 4, 4},
                                {"rank 16", 4, 1},   {"rank 32", 8, 8},  {"rank 32", 8, 2},
                                {"rank 64", 16, 16}, {"rank 64", 16, 4}, {"rank 64", 16, 2},
                                {"rank 64", 16, 1}};
    std::string lines;
    for (const Subject& subject : subjects) {
      const std::pair<const char*, std::function<void(const std::vector<int32_t>&)>> ways[] = {
          {"copies", [&](const std::vector<int32_t>& pages) { bench.by_copies(pages); }},
          {"kernel/4", [&](const std::vector<int32_t>& pages) { bench.by_kernel(pages, 4); }},
          {"kernel/32", [&](const std::vector<int32_t>& pages) { bench.by_kernel(pages, 32); }},
          {"staging", [&](const std::vector<int32_t>& pages) { bench.by_staging(pages); }}};
      for (const auto& [name, load] : ways) {
        const auto alone = bench.rate(subject, load, false),
                   beside = bench.rate(subject, load, true);
        std::printf("%-10s %5d %4d %-10s %8.2f %6.3f %8.2f %6.3f %9.3f\n", subject.name,
                    subject.pages, subject.run, name, alone.bytes_per_second / 1e9,
                    alone.bytes_per_second / plain, beside.bytes_per_second / 1e9,
                    beside.bytes_per_second / plain, beside.matmul_slowing);
        char line[256];
        std::snprintf(line, sizeof line,
                      "    {\"pages\": %d, \"run\": %d, \"by\": \"%s\", \"gb_s\": %.3f, "
                      "\"beside_gb_s\": %.3f, \"matmul_slowing\": %.4f}",
                      subject.pages, subject.run, name, alone.bytes_per_second / 1e9,
                      beside.bytes_per_second / 1e9, beside.matmul_slowing);
        lines += (lines.empty() ? "" : ",\n") + std::string(line);
      }
    }
    if (json.empty()) return 0;
    FILE* file = std::fopen(json.c_str(), "w");
    if (!file) {
      std::fprintf(stderr, "bench_cuda_load: cannot write %s\n", json.c_str());
      return 1;
    }
    std::fprintf(file, "{\n  \"plain_gb_s\": %.3f,\n  \"results\": [\n%s\n  ]\n}\n", plain / 1e9,
                 lines.c_str());
    std::fclose(file);
    return 0;
  } catch (const std::exception& failure) {
    std::fprintf(stderr, "bench_cuda_load: %s\n", failure.what());
    return 1;
  }
}
