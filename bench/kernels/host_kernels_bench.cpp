// Times the host kernels on the 1.1B Llama shape and prints each figure with its distance from the
// machine: GB/s beside the read bandwidth measured in the same run, GFLOP/s beside it for the
// compute-bound. Plain clocks: every case is repeated over memory larger than the caches, and its
// best repetition counts.
//
//   bench_host_kernels [--threads N] [--json FILE] [--quick]
#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "slora/device/host_device.hpp"
#include "slora/kernels/host_kernels.hpp"

namespace slora::kernels {
namespace {

// The shape.
constexpr int64_t kHidden = 2048, kFfn = 5632, kVocab = 32000;
constexpr int32_t kLayers = 22, kHeads = 32, kKvHeads = 4, kHeadSize = 64, kTokensPerPage = 16;
constexpr int64_t kKvWidth = kKvHeads * kHeadSize;
constexpr int64_t kPageBytes = int64_t{2} * kTokensPerPage * kKvWidth * 2;

// More than any cache of a machine that runs this.
constexpr int64_t kPoolBytes = int64_t{512} << 20;

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

struct Free {
  void operator()(uint8_t* memory) const { std::free(memory); }
};
using Memory = std::unique_ptr<uint8_t, Free>;

// As the host device allocates: huge pages where they can be had.
Memory allocate(int64_t bytes, int value) {
  constexpr int64_t kHugePage = 2 << 20;
  const int64_t rounded = (bytes + kHugePage - 1) / kHugePage * kHugePage;
  auto* memory = static_cast<uint8_t*>(std::aligned_alloc(kHugePage, static_cast<size_t>(rounded)));
  if (!memory) std::abort();
  madvise(memory, static_cast<size_t>(rounded), MADV_HUGEPAGE);
  std::memset(memory, value, static_cast<size_t>(rounded));
  return Memory(memory);
}

struct Result {
  std::string name;
  double ms, gb_per_s, control_gb_per_s, gflop_per_s;
};

class Bench {
 public:
  Bench(int32_t num_threads, int32_t repetitions)
      : team_(num_threads), repetitions_(repetitions), pool_(allocate(kPoolBytes, 0x3c)) {}

  // Reads the pool with all threads, each its own half: what no kernel can beat.
  double read_control() {
    volatile uint64_t sink = 0;
    const double seconds = best_of([&] {
      team_.parallel_for(team_.num_threads(), [&](int32_t part, int32_t) {
        const int64_t bytes = kPoolBytes / team_.num_threads() / 256 * 256;
        const uint8_t* begin = pool_.get() + part * bytes;
        uint64_t sums[4] = {};
        for (int64_t i = 0; i < bytes; i += 64) {
          __builtin_prefetch(begin + i + 4096);
          uint64_t words[8];
          std::memcpy(words, begin + i, sizeof words);
          for (int j = 0; j < 8; ++j) sums[j & 3] ^= words[j];
        }
        sink = sink ^ sums[0] ^ sums[1] ^ sums[2] ^ sums[3];
      });
    });
    return static_cast<double>(kPoolBytes) / seconds * 1e-9;
  }

  // `seconds` a call that reads `bytes` and computes `flops`.
  double report(const std::string& name, double seconds, double bytes, double flops) {
    const double control = read_control();
    results_.push_back(
        {name, seconds * 1e3, bytes / seconds * 1e-9, control, flops / seconds * 1e-9});
    const Result& r = results_.back();
    std::printf("%-34s %9.3f ms %8.1f GB/s %5.0f %% of %5.1f %9.1f GFLOP/s\n", name.c_str(), r.ms,
                r.gb_per_s, 100 * r.gb_per_s / control, control, r.gflop_per_s);
    std::fflush(stdout);
    return seconds;
  }

  // A matmul over as many copies of its weight as the pool holds. Returns seconds a call.
  double gemm(int64_t n, int64_t k, int64_t m) {
    const int64_t bytes = static_cast<int64_t>(host_kernel_api()->weight_bytes(DType::kBF16, n, k));
    const int64_t copies = std::min<int64_t>(kPoolBytes / bytes, m >= 64 ? 4 : 64);
    std::vector<float> x(static_cast<size_t>(m * k), 0.5f), y(static_cast<size_t>(m * n));
    std::vector<uint8_t> workspace(host_kernel_api()->gemm_workspace_bytes(DType::kBF16, m, k));
    const double seconds = best_of([&] {
      for (int64_t i = 0; i < copies; ++i) {
        run_gemm({x.data(), k, pool_.get() + i * bytes, DType::kBF16, DType::kF32, m, n, k, nullptr,
                  y.data(), n, workspace.data()},
                 team_);
      }
    });
    return report("gemm " + std::to_string(n) + "x" + std::to_string(k) + " M=" + std::to_string(m),
                  seconds / static_cast<double>(copies), static_cast<double>(bytes),
                  2.0 * static_cast<double>(m * n * k));
  }

  // Attention of `rows` decode tokens or of one prompt chunk, all of them at the end of `context`
  // positions.
  void attention(int32_t rows, int32_t tokens_a_row, int32_t context) {
    const int32_t pages_a_row = (context + kTokensPerPage - 1) / kTokensPerPage;
    const int32_t layers = std::max<int32_t>(
        1, static_cast<int32_t>(kPoolBytes / 4 / (rows * pages_a_row * kPageBytes)));
    std::vector<int32_t> table(static_cast<size_t>(rows * pages_a_row));
    std::iota(table.begin(), table.end(), 0);
    std::shuffle(table.begin(), table.end(), std::mt19937(1));
    std::vector<int32_t> offsets{0}, positions;
    for (int32_t s = 0; s < rows; ++s) {
      for (int32_t t = 0; t < tokens_a_row; ++t) positions.push_back(context - tokens_a_row + t);
      offsets.push_back(static_cast<int32_t>(positions.size()));
    }
    const int64_t tokens = static_cast<int64_t>(positions.size());
    std::vector<float> q(static_cast<size_t>(tokens * kHeads * kHeadSize), 0.1f), out(q.size());
    const double seconds = best_of([&] {
      for (int32_t layer = 0; layer < layers; ++layer) {
        run_attention({q.data(),
                       kHeads * kHeadSize,
                       out.data(),
                       DType::kF32,
                       DType::kBF16,
                       offsets.data(),
                       positions.data(),
                       table.data(),
                       pages_a_row,
                       rows,
                       static_cast<int32_t>(tokens),
                       kHeads,
                       kKvHeads,
                       kHeadSize,
                       kTokensPerPage,
                       pool_.get() + layer * rows * pages_a_row * kPageBytes,
                       kPageBytes,
                       0.125f,
                       0.0f,
                       0},
                      team_);
      }
    });
    double pairs = 0;
    for (const int32_t position : positions) pairs += position + 1;
    report("attention " + std::to_string(rows) + "x" + std::to_string(tokens_a_row) + " at " +
               std::to_string(context),
           seconds / layers, static_cast<double>(rows) * context * 4 * kKvWidth,
           4.0 * pairs * kHeads * kHeadSize);
  }

  // All LoRA commands of all layers of a step: `adapters` of lora_rank `rank` on all seven modules,
  // each with `rows_each` rows. Returns seconds.
  double lora(int32_t adapters, int32_t rank, int32_t rows_each);

  // Small operations of one decode step of a layer.
  void small_operations(int32_t tokens) {
    std::vector<float> a(static_cast<size_t>(tokens * 2 * kFfn), 0.3f), b(a.size(), 0.2f),
        weight(kFfn, 1.0f);
    constexpr int kCalls = 2000;
    const double norm = best_of([&] {
      for (int i = 0; i < kCalls; ++i) {
        run_norm({a.data(), b.data(), weight.data(), b.data(), nullptr, DType::kF32, tokens,
                  kHidden, 1e-5f, 0.0f},
                 team_);
      }
    });
    report("norm T=" + std::to_string(tokens), norm / kCalls,
           static_cast<double>(tokens * kHidden) * 16, 0);
    const double gate = best_of([&] {
      for (int i = 0; i < kCalls; ++i) {
        run_gated_activation({a.data(), b.data(), DType::kF32, Activation::kSilu, tokens, kFfn},
                             team_);
      }
    });
    report("silu gate T=" + std::to_string(tokens), gate / kCalls,
           static_cast<double>(tokens * kFfn) * 12, 0);
  }

  void sample(int32_t rows, float top_p, int32_t top_k) {
    std::vector<float> logits(static_cast<size_t>(rows * kVocab));
    std::mt19937 random(1);
    std::normal_distribution<float> normal(0.0f, 3.0f);
    for (float& x : logits) x = normal(random);
    std::vector<int32_t> history(static_cast<size_t>(rows) * 8), tokens(static_cast<size_t>(rows));
    std::vector<float> logprobs(static_cast<size_t>(rows));
    std::vector<SampleRow> sample_rows;
    for (int32_t i = 0; i < rows; ++i) {
      sample_rows.push_back({i, i, 1, 2, 0.8f, top_k, top_p, 0, 1, 1, 0, 0, 7, 0, 0, 0, 0});
    }
    std::vector<uint8_t> workspace(host_kernel_api()->sample_workspace_bytes(rows, kVocab));
    const double seconds = best_of([&] {
      run_sample({logits.data(), kVocab, sample_rows.data(), rows, 0, history.data(), 8, nullptr,
                  nullptr, tokens.data(), logprobs.data(), nullptr, nullptr, workspace.data()},
                 team_);
    });
    report("sample " + std::to_string(rows) + " rows top_p=" + std::to_string(top_p).substr(0, 4) +
               " top_k=" + std::to_string(top_k),
           seconds, 0, 0);
  }

  void write_json(const char* path) const {
    FILE* file = std::fopen(path, "w");
    if (!file) {
      std::perror(path);
      std::exit(1);
    }
    std::fprintf(file, "{\n  \"isa\": \"%s\",\n  \"threads\": %d,\n  \"results\": [\n",
                 host_kernel_isa(), team_.num_threads());
    for (size_t i = 0; i < results_.size(); ++i) {
      const Result& r = results_[i];
      std::fprintf(file,
                   "    {\"name\": \"%s\", \"ms\": %.4f, \"gb_per_s\": %.2f, "
                   "\"read_control_gb_per_s\": %.2f, "
                   "\"gflop_per_s\": %.1f}%s\n",
                   r.name.c_str(), r.ms, r.gb_per_s, r.control_gb_per_s, r.gflop_per_s,
                   i + 1 < results_.size() ? "," : "");
    }
    std::fprintf(file, "  ]\n}\n");
    std::fclose(file);
  }

 private:
  template <typename Body>
  double best_of(Body&& body) const {
    double best = 1e30;
    for (int32_t i = 0; i < repetitions_; ++i) {
      const double begin = now();
      body();
      best = std::min(best, now() - begin);
    }
    return best;
  }

  device::ThreadTeam team_;
  const int32_t repetitions_;
  Memory pool_;
  std::vector<Result> results_;
};

// The seven modules in the order of an adapter's pages; commands fuse those that share an input.
struct ModuleShape {
  int64_t in_dim, out_dim;
};
constexpr ModuleShape kModules[7] = {{kHidden, kHidden}, {kHidden, kKvWidth}, {kHidden, kKvWidth},
                                     {kHidden, kHidden}, {kHidden, kFfn},     {kHidden, kFfn},
                                     {kFfn, kHidden}};
struct FusedCommand {
  int32_t first, count;
};
constexpr FusedCommand kFused[4] = {{0, 3}, {3, 1}, {4, 2}, {6, 1}};

double Bench::lora(int32_t adapters, int32_t rank, int32_t rows_each) {
  // One slice a layer; every layer of an adapter has the same layout, in the same pages.
  const int64_t page_elems = kPageBytes / 2;
  std::vector<core::LoraModule> modules;
  core::PagePosition cursor{0, 0};
  for (const ModuleShape& shape : kModules) {
    core::LoraModule module{rank, 2.0f, {0, 0}, {0, 0}};
    module.a = core::run_begin(cursor, shape.in_dim, page_elems);
    cursor = core::run_end(module.a, shape.in_dim, rank, page_elems);
    module.b = core::run_begin(cursor, shape.out_dim, page_elems);
    cursor = core::run_end(module.b, shape.out_dim, rank, page_elems);
    modules.push_back(module);
  }
  const int32_t pages_each = cursor.page + 1;
  std::vector<int32_t> pages(static_cast<size_t>(adapters * pages_each));
  std::iota(pages.begin(), pages.end(), 0);
  std::shuffle(pages.begin(), pages.end(), std::mt19937(1));
  const int64_t slice_bytes = static_cast<int64_t>(pages.size()) * kPageBytes;
  const int32_t slices = static_cast<int32_t>(std::min<int64_t>(kLayers, kPoolBytes / slice_bytes));

  std::vector<LoraAdapterRef> refs;
  std::vector<LoraEntry> entries;
  std::vector<int32_t> begin, end, offsets{0};
  for (int32_t i = 0; i < adapters; ++i) {
    refs.push_back({modules.data(), i * pages_each, 0});
    entries.push_back({i, 1.0f, int64_t{i} * kMaxFusedModules * rows_each * rank, rank, 0});
    begin.push_back(i * rows_each);
    end.push_back((i + 1) * rows_each);
    offsets.push_back(i + 1);
  }
  const int64_t tokens = int64_t{adapters} * rows_each;
  const LoraBatch batch{adapters,       7,           begin.data(), end.data(), offsets.data(),
                        entries.data(), refs.data(), pages.data()};
  std::vector<float> t(static_cast<size_t>(tokens * kMaxFusedModules * rank));
  std::vector<float> x(static_cast<size_t>(tokens * kFfn), 0.1f),
      y(static_cast<size_t>(tokens * 2 * kFfn));
  const auto run_command = [&](const FusedCommand& fused, const uint8_t* slice) {
    LoraShrinkParams shrink{batch,       x.data(),     kModules[fused.first].in_dim,
                            DType::kF32, DType::kBF16, kModules[fused.first].in_dim,
                            0,           fused.count,  {},
                            slice,       kPageBytes,   t.data()};
    LoraExpandParams expand{batch,       t.data(), y.data(), 2 * kFfn, DType::kF32, DType::kBF16, 0,
                            fused.count, {},       {},       {},       slice,       kPageBytes};
    int64_t column = 0;
    for (int32_t j = 0; j < fused.count; ++j) {
      shrink.module_idx[j] = expand.module_idx[j] = fused.first + j;
      expand.out_dim[j] = kModules[fused.first + j].out_dim;
      expand.column_offset[j] = column;
      column += expand.out_dim[j];
    }
    run_lora_shrink(shrink, team_);
    run_lora_expand(expand, team_);
  };
  const double seconds = best_of([&] {
    for (int32_t layer = 0; layer < kLayers; ++layer) {
      for (const FusedCommand& fused : kFused)
        run_command(fused, pool_.get() + layer % slices * slice_bytes);
    }
  });
  double elems = 0;
  for (const ModuleShape& shape : kModules)
    elems += static_cast<double>(shape.in_dim + shape.out_dim);
  elems *= double{kLayers} * rank;
  return report("lora rank " + std::to_string(rank) + ", " + std::to_string(adapters) +
                    " adapters x " + std::to_string(rows_each) + " rows",
                seconds, elems * adapters * 2, 2.0 * elems * static_cast<double>(tokens));
}

void run_all(Bench& bench, bool quick) {
  std::printf("read control %.1f GB/s\n", bench.read_control());
  const int64_t shapes[][2] = {{kHidden, kHidden},
                               {kHidden + 2 * kKvWidth, kHidden},
                               {2 * kFfn, kHidden},
                               {kHidden, kFfn},
                               {kVocab, kHidden}};
  // Times a layer has the shape; the last is the output of the model.
  const double uses[] = {kLayers, kLayers, kLayers, kLayers, 1};
  for (const int64_t m : {1, 2, 4, 8, 16, 64, 256}) {
    if (quick && m != 1 && m != 8 && m != 256) continue;
    double step = 0;
    for (size_t i = 0; i < 5; ++i) step += uses[i] * bench.gemm(shapes[i][0], shapes[i][1], m);
    std::printf("  all matmuls of a step, M=%ld: %.2f ms, %.1f tokens/s\n", static_cast<long>(m),
                step * 1e3, static_cast<double>(m) / step);
    if (m == 1 || m == 8) {
      const double lora = bench.lora(static_cast<int32_t>(m), 16, 1);
      std::printf("  LoRA of all seven modules, %ld adapters: %.1f %% of that\n",
                  static_cast<long>(m), 100 * lora / step);
    }
    if (m == 256) {
      const double lora = bench.lora(1, 16, 256);
      std::printf("  LoRA of all seven modules, one adapter: %.1f %% of that\n", 100 * lora / step);
    }
  }
  bench.lora(1, 16, 8);
  bench.attention(1, 1, 512);
  bench.attention(8, 1, 512);
  bench.attention(1, 256, 256);
  bench.attention(1, 256, 2048);
  bench.small_operations(1);
  bench.small_operations(8);
  bench.sample(1, 1.0f, 0);
  bench.sample(8, 0.95f, 50);
}

}  // namespace
}  // namespace slora::kernels

int main(int argc, char** argv) {
  int32_t num_threads = static_cast<int32_t>(std::max(1u, std::thread::hardware_concurrency()));
  const char* json = nullptr;
  bool quick = false;
  for (int i = 1; i < argc; ++i) {
    const std::string option = argv[i];
    if (option == "--threads" && i + 1 < argc) {
      num_threads = std::atoi(argv[++i]);
    } else if (option == "--json" && i + 1 < argc) {
      json = argv[++i];
    } else if (option == "--quick") {
      quick = true;
    } else {
      std::fprintf(stderr, "usage: bench_host_kernels [--threads N] [--json FILE] [--quick]\n");
      return 2;
    }
  }
  if (num_threads < 1 || num_threads > 256) {
    std::fprintf(stderr, "--threads must be 1..256\n");
    return 2;
  }
  std::printf("isa %s, %d threads\n", slora::kernels::host_kernel_isa(), num_threads);
  slora::kernels::Bench bench(num_threads, quick ? 3 : 6);
  slora::kernels::run_all(bench, quick);
  if (json) bench.write_json(json);
  return 0;
}
