// Times LoRA shrink and expand on the CUDA backend beside the best public kernels: every cell of
// kernel-peers.csv (measured on an H100 80 GB HBM3) and some of our own.
//
// Method, as the peers were measured: y[T, S * 4096] += 0.5 * (x A^T) B^T in bf16; one graph holds
// R calls on R disjoint sets of adapters (at least 200 MB of weights a replay, 4 <= R <= 64); the
// second-level cache is flushed by a read of 256 MB before each replay; median of 7 replays / R; x
// and y are the same buffers for all calls. Segments of few rows go in pieces where steps' do, and
// launches of decode cells are shaped as those of a captured step: for any segments of B tokens.
//
// From the top of the tree:
//   bench_cuda_lora [--peers FILE] [--json FILE] [--only TEXT]
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <numeric>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "lora_cells.hpp"
#include "slora/batch/batch.hpp"
#include "slora/core/status.hpp"
#include "slora/device/device.hpp"
#include "slora/engine/backend_loader.hpp"
#include "slora/kernels/kernel_api.hpp"

namespace slora::kernels {
namespace {

using batch::kEntriesARow;
using batch::kLeastPieceTokens;
// What a recorded shape has room for at least, if it has any (native/batch).
constexpr int32_t kLongSegments = 8;
// A page of one layer of a 7B model: 16 tokens of K and V of 4096 bf16 numbers.
constexpr int64_t kPageBytes = int64_t{2} * 16 * kDim * kElemBytes;
constexpr int64_t kPageElems = kPageBytes / kElemBytes;
constexpr int64_t kWeightBytesAReplay = 200'000'000;
constexpr int32_t kReplays = 7;
constexpr int32_t kFlushAdapters = 128, kFlushRank = 256;  // 268 MB of A

// ---- the device's side

class Bench {
 public:
  Bench()
      : backend_(engine::open_backend(engine::BackendKind::kCuda, 0, 0)),
        stream_(backend_.device, device::StreamKind::kCompute),
        random_(7) {}

  const device::DeviceApi& api() const { return backend_.device->api(); }
  device::DeviceInfo describe() const { return backend_.device->describe(); }

  // The pool of weights: pages of small random numbers, the last for the flush.
  void allocate(int64_t weight_bytes, int32_t tokens, int32_t slices) {
    // Runs end within a page: a little more than their bytes.
    num_pages_ = static_cast<int32_t>(weight_bytes / kPageBytes * 5 / 4 + 64);
    const int32_t flush_pages = kFlushAdapters * (kFlushRank * 2 / 32 + 2);
    slice_ = random_memory((int64_t{num_pages_} + flush_pages) * kPageBytes, 0.02f);
    x_ = random_memory(tokens * kDim * kElemBytes, 1.0f);
    y_ = random_memory(tokens * kDim * kElemBytes * slices, 1.0f);
    page_ids_.resize(static_cast<size_t>(num_pages_));
    std::iota(page_ids_.begin(), page_ids_.end(), 0);
    std::shuffle(page_ids_.begin(), page_ids_.end(), random_);
    std::vector<int32_t> flush_ids(static_cast<size_t>(flush_pages));
    std::iota(flush_ids.begin(), flush_ids.end(), num_pages_);
    Cell cell{
        "decode", std::to_string(kFlushRank), "distinct", kFlushAdapters, 1, kFlushAdapters, 0, 0,
        ""};
    flush_ = make_call(cell, flush_ids, 1);
  }

  struct Timing {
    double us;
    int32_t calls;
  };

  Timing time(const Cell& cell) {
    double weights = 0;
    for (const int32_t rank : ranks_of(cell))
      weights += 2.0 * rank * kDim * kElemBytes * cell.slices;
    const int32_t calls =
        std::clamp(static_cast<int32_t>(kWeightBytesAReplay / weights) + 1, 4, 64);
    const Call call = make_call(cell, page_ids_, calls);
    device::ApiError error{};
    void* graph = nullptr;
    expect(api().graph_begin(stream_.handle(), &error), error);
    for (int32_t i = 0; i < calls; ++i) {
      check(backend_.kernels->lora_shrink(stream_.handle(), &call.shrinks[size(i)]));
      check(backend_.kernels->lora_expand(stream_.handle(), &call.expands[size(i)]));
    }
    expect(api().graph_end(stream_.handle(), &graph, &error), error);
    std::vector<double> times;
    for (int32_t replay = -2; replay < kReplays; ++replay) {
      check(backend_.kernels->lora_shrink(stream_.handle(), &flush_.shrinks[0]));
      const double ns =
          timed([&] { expect(api().graph_launch(graph, stream_.handle(), &error), error); });
      if (replay >= 0) times.push_back(ns / 1e3 / calls);
    }
    api().graph_destroy(graph);
    std::sort(times.begin(), times.end());
    return {times[times.size() / 2], calls};
  }

  // Bytes read and written a second by a copy of 1 GB.
  double copy_ceiling() {
    constexpr uint64_t kBytes = 1'000'000'000;
    const device::Buffer from(backend_.device, device::MemoryKind::kDevice, kBytes);
    const device::Buffer to(backend_.device, device::MemoryKind::kDevice, kBytes);
    double best = 1e30;
    for (int32_t i = 0; i < 5; ++i)
      best = std::min(best, timed([&] { stream_.copy(to.data(), from.data(), kBytes); }));
    return 2.0 * kBytes / (best * 1e-9);
  }

 private:
  // R calls on disjoint adapters and the memory they read.
  struct Call {
    std::vector<LoraShrinkParams> shrinks;
    std::vector<LoraExpandParams> expands;
    std::vector<device::Buffer> memory;
  };

  static size_t size(int32_t i) { return static_cast<size_t>(i); }
  static void expect(int32_t status, const device::ApiError& error) {
    if (status != 0) throw core::Error(core::Status::kBackend, error.message);
  }
  static void check(int32_t status) { forward::expect_launched(status, "lora"); }

  template <typename Enqueue>
  double timed(Enqueue&& enqueue) {
    device::Event begin(backend_.device), end(backend_.device);
    begin.record(stream_);
    enqueue();
    end.record(stream_);
    stream_.synchronize();
    return static_cast<double>(end.elapsed_ns_since(begin));
  }

  // Normal bf16 numbers: some megabytes drawn, then repeated.
  device::Buffer random_memory(int64_t bytes, float stddev) {
    const int64_t drawn = std::min<int64_t>(bytes, 8 << 20);
    device::Buffer staging(backend_.device, device::MemoryKind::kPinned,
                           static_cast<uint64_t>(drawn));
    std::normal_distribution<float> normal(0.0f, stddev);
    for (int64_t i = 0; i < drawn / kElemBytes; ++i)
      staging.as<uint16_t>()[i] = core::float_to_bf16(normal(random_));
    device::Buffer memory(backend_.device, device::MemoryKind::kDevice,
                          static_cast<uint64_t>(bytes));
    for (int64_t at = 0; at < bytes; at += drawn)
      stream_.copy(memory.data() + at, staging.data(),
                   static_cast<uint64_t>(std::min(drawn, bytes - at)));
    stream_.synchronize();
    return memory;
  }

  template <typename T>
  const T* upload(const std::vector<T>& values, Call& call) {
    const uint64_t bytes = std::max<uint64_t>(values.size() * sizeof(T), 64);
    device::Buffer staging(backend_.device, device::MemoryKind::kPinned, bytes);
    std::memcpy(staging.data(), values.data(), values.size() * sizeof(T));
    call.memory.emplace_back(backend_.device, device::MemoryKind::kDevice, bytes);
    stream_.copy(call.memory.back().data(), staging.data(), bytes);
    stream_.synchronize();
    return call.memory.back().as<T>();
  }

  // One adapter's module table; returns its number of pages.
  static int32_t layout(int32_t lora_rank, int32_t slices, std::vector<core::LoraModule>& modules) {
    core::PagePosition cursor{0, 0};
    const auto place = [&] {
      const core::PagePosition begin = core::run_begin(cursor, kDim, kPageElems);
      cursor = core::run_end(begin, kDim, lora_rank, kPageElems);
      return begin;
    };
    for (int32_t j = 0; j < slices; ++j) {
      core::LoraModule module{lora_rank, 0.5f, {0, 0}, {0, 0}};
      module.a = place();
      module.b = place();
      modules.push_back(module);
    }
    return cursor.page + 1;
  }

  Call make_call(const Cell& cell, const std::vector<int32_t>& page_ids, int32_t calls) {
    Call call;
    const std::vector<int32_t> ranks = ranks_of(cell), rows = rows_of(cell);
    const bool is_decode = cell.kind == "decode";
    const auto num_long = static_cast<int32_t>(std::count_if(
        rows.begin(), rows.end(), [](int32_t count) { return count > kPieceTokens; }));
    const bool has_pieces = cell.tokens >= kLeastPieceTokens && num_long < cell.adapters;
    // A recorded step that has long segments alone has room for some, not for any.
    const int32_t segments = !is_decode                                        ? cell.adapters
                             : cell.tokens >= kLeastPieceTokens && !has_pieces ? kLongSegments
                                                                               : cell.tokens;
    std::vector<core::LoraModule> modules;
    std::vector<int32_t> module_offsets, page_offsets, begin, end, entry_offsets{0};
    std::vector<LoraEntry> entries;
    int32_t used_pages = 0, row = 0;
    int64_t t_floats = 0;
    for (int32_t i = 0; i < calls; ++i) {
      for (const int32_t rank : ranks) {
        module_offsets.push_back(static_cast<int32_t>(modules.size()));
        page_offsets.push_back(used_pages);
        used_pages += layout(rank, cell.slices, modules);
      }
    }
    if (used_pages > static_cast<int32_t>(page_ids.size()))
      throw core::Error(core::Status::kInvalidArgument, "the pool is too small");
    for (int32_t a = 0; a < cell.adapters; ++a) {
      begin.push_back(row);
      row += rows[size(a)];
      end.push_back(row);
      entries.push_back({a, 1.0f, t_floats, ranks[size(a)], 0});
      t_floats += int64_t{cell.slices} * rows[size(a)] * ranks[size(a)];
      entry_offsets.push_back(a + 1);
    }
    for (int32_t g = cell.adapters; g < segments; ++g) {
      begin.push_back(cell.tokens);
      end.push_back(cell.tokens);
      entry_offsets.push_back(cell.adapters);
    }
    const core::LoraModule* device_modules = upload(modules, call);
    LoraBatch batch{};
    batch.num_segments = segments;
    batch.num_modules = cell.slices;
    batch.segment_begin = upload(begin, call);
    batch.segment_end = upload(end, call);
    batch.entry_offsets = upload(entry_offsets, call);
    batch.entries = upload(entries, call);
    batch.pages =
        upload(std::vector<int32_t>(page_ids.begin(), page_ids.begin() + used_pages), call);
    batch.num_tokens = cell.tokens;
    batch.max_segment_tokens =
        is_decode ? cell.tokens : *std::max_element(rows.begin(), rows.end());
    batch.max_lora_rank = *std::max_element(ranks.begin(), ranks.end());
    std::vector<LoraAdapterRef> refs;
    for (size_t a = 0; a < page_offsets.size(); ++a)
      refs.push_back({device_modules + module_offsets[a], page_offsets[a], 0});
    const LoraAdapterRef* device_refs = upload(refs, call);
    std::vector<LoraPiece> shrink_pieces, expand_pieces;  // of all calls
    for (int32_t i = 0; has_pieces && i < calls; ++i) {
      const auto first_shrink = static_cast<std::ptrdiff_t>(shrink_pieces.size());
      for (int32_t a = num_long; a < cell.adapters; ++a) {
        const LoraEntry& entry = entries[size(a)];
        const LoraAdapterRef& ref = refs[size(i * cell.adapters + a)];
        LoraPiece piece{ref.modules, entry.t_offset, ref.page_offset, entry.t_stride,
                        1.0f,        begin[size(a)], rows[size(a)],   0,
                        a,           a + 1};
        expand_pieces.push_back(piece);
        for (; piece.rank_begin < entry.t_stride; piece.rank_begin += kPieceRanks)
          shrink_pieces.push_back(piece);
      }
      // Most bytes first.
      const auto has_more = [](const LoraPiece& a, const LoraPiece& b) {
        return a.t_stride - a.rank_begin > b.t_stride - b.rank_begin;
      };
      std::stable_sort(shrink_pieces.begin() + first_shrink, shrink_pieces.end(), has_more);
      std::stable_sort(expand_pieces.end() - (cell.adapters - num_long), expand_pieces.end(),
                       has_more);
    }
    const auto shrinks_a_call = static_cast<int32_t>(shrink_pieces.size()) / calls;
    const int32_t expands_a_call = has_pieces ? cell.adapters - num_long : 0;
    const LoraPiece* device_shrinks = upload(shrink_pieces, call);
    const LoraPiece* device_expands = upload(expand_pieces, call);
    if (has_pieces) {
      batch.num_pieces = upload(std::vector<int32_t>{shrinks_a_call, expands_a_call}, call);
      const int32_t pieces_an_entry = (batch.max_lora_rank + kPieceRanks - 1) / kPieceRanks;
      batch.max_shrink_pieces =
          is_decode ? cell.tokens * kEntriesARow * pieces_an_entry : shrinks_a_call;
      batch.max_expand_pieces = is_decode ? cell.tokens : expands_a_call;
      batch.num_long_segments = is_decode && num_long > 0 ? kLongSegments : num_long;
      batch.num_long_tokens = is_decode ? cell.tokens : end[size(std::max(num_long, 1) - 1)];
    }
    const int64_t partials = backend_.kernels->lora_partials(cell.tokens);
    call.memory.emplace_back(backend_.device, device::MemoryKind::kDevice,
                             static_cast<uint64_t>(t_floats * partials * 4));
    auto* t = call.memory.back().as<float>();
    for (int32_t i = 0; i < calls; ++i) {
      batch.adapters = device_refs + int64_t{i} * cell.adapters;
      batch.shrink_pieces = device_shrinks + int64_t{i} * shrinks_a_call;
      batch.expand_pieces = device_expands + int64_t{i} * expands_a_call;
      LoraShrinkParams shrink{};
      shrink.batch = batch;
      shrink.x = x_.data();
      shrink.x_stride = shrink.in_dim = kDim;
      shrink.activation_dtype = shrink.page_dtype = DType::kBF16;
      shrink.num_fused = cell.slices;
      shrink.slice = slice_.data();
      shrink.page_bytes = kPageBytes;
      shrink.t = t;
      shrink.t_stride = t_floats;
      LoraExpandParams expand{};
      expand.batch = batch;
      expand.t = t;
      expand.y = y_.data();
      expand.y_stride = kDim * cell.slices;
      expand.activation_dtype = expand.page_dtype = DType::kBF16;
      expand.num_fused = cell.slices;
      expand.slice = slice_.data();
      expand.page_bytes = kPageBytes;
      expand.t_stride = t_floats;
      expand.in_dim = kDim;
      for (int32_t j = 0; j < cell.slices; ++j) {
        shrink.module_idx[j] = expand.module_idx[j] = j;
        expand.out_dim[j] = kDim;
        expand.column_offset[j] = j * kDim;
      }
      call.shrinks.push_back(shrink);
      call.expands.push_back(expand);
    }
    return call;
  }

  forward::Backend backend_;
  device::Stream stream_;
  std::mt19937 random_;
  device::Buffer slice_, x_, y_;
  int32_t num_pages_ = 0;
  std::vector<int32_t> page_ids_;
  Call flush_;
};

struct Row {
  Cell cell;
  Bench::Timing timing;
  double floor_us, target_us, gb_per_s, share;
  bool passes;
};

// A cell passes at the time that the best public kernel would beat by no fifth, or near the floor;
// where it moves 30 MB or more, at four fifths of a copy.
Row judge(const Cell& cell, const Bench::Timing& timing, double copy) {
  Row row{cell, timing, cell.min_bytes / 3.02e6, 0, 0, 0, false};
  row.target_us = std::max(0.8 * cell.best_public_us, 1.12 * row.floor_us);
  row.gb_per_s = cell.min_bytes / timing.us / 1e3;
  row.share = row.gb_per_s * 1e9 / copy;
  row.passes = timing.us <= row.target_us && (cell.min_bytes < 30e6 || row.share >= 0.8);
  if (cell.best_public_us == 0) row.passes = cell.min_bytes < 30e6 || row.share >= 0.8;
  return row;
}

void print(const Row& row) {
  const Cell& cell = row.cell;
  std::printf("%-7s %5d x%d r%-3s %-8s %8.2f us  floor %7.2f  best %7.2f %-13s ratio %5.2f  ",
              cell.kind.c_str(), cell.tokens, cell.slices, cell.rank.c_str(), cell.mix.c_str(),
              row.timing.us, row.floor_us, cell.best_public_us, cell.best_public.c_str(),
              cell.best_public_us > 0 ? row.timing.us / cell.best_public_us : 0.0);
  std::printf("target %7.2f  %7.2f MB %5.0f GB/s %3.0f %%  %s\n", row.target_us,
              cell.min_bytes * 1e-6, row.gb_per_s, row.share * 100, row.passes ? "pass" : "FAIL");
  std::fflush(stdout);
}

void write_json(const std::string& path, const std::vector<Row>& rows, const char* device,
                double copy) {
  std::ofstream out(path);
  out << "{\"device\": \"" << device << "\", \"copy_gb_per_s\": " << copy / 1e9
      << ", \"cells\": [\n";
  for (size_t i = 0; i < rows.size(); ++i) {
    const Row& row = rows[i];
    const Cell& cell = row.cell;
    out << "  {\"kind\": \"" << cell.kind << "\", \"tokens\": " << cell.tokens
        << ", \"slices\": " << cell.slices << ", \"lora_rank\": \"" << cell.rank
        << "\", \"mix\": \"" << cell.mix << "\", \"adapters\": " << cell.adapters
        << ", \"us\": " << row.timing.us << ", \"calls\": " << row.timing.calls
        << ", \"floor_us\": " << row.floor_us << ", \"best_public_us\": " << cell.best_public_us
        << ", \"target_us\": " << row.target_us << ", \"bytes\": " << cell.min_bytes
        << ", \"gb_per_s\": " << row.gb_per_s << ", \"share_of_copy\": " << row.share
        << ", \"passes\": " << (row.passes ? "true" : "false") << "}"
        << (i + 1 < rows.size() ? "," : "") << "\n";
  }
  out << "]}\n";
}

int run(int argc, char** argv) {
  std::string peers = "bench/kernels/kernel-peers.csv", json, only;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string name = argv[i];
    if (name == "--peers") peers = argv[i + 1];
    if (name == "--json") json = argv[i + 1];
    if (name == "--only") only = argv[i + 1];
  }
  std::vector<Cell> cells = read_peers(peers);
  for (const Cell& cell : own_cells()) cells.push_back(cell);
  Bench bench;
  double weights = 0;
  int32_t tokens = 0, slices = 0;
  for (const Cell& cell : cells) {
    double one = 0;
    for (const int32_t rank : ranks_of(cell)) one += 2.0 * rank * kDim * kElemBytes * cell.slices;
    weights = std::max(weights, std::max(4 * one, one + kWeightBytesAReplay));
    tokens = std::max(tokens, cell.tokens);
    slices = std::max(slices, cell.slices);
  }
  // Short runs leave most of a page free.
  bench.allocate(std::max<int64_t>(static_cast<int64_t>(weights), int64_t{2} << 30), tokens,
                 slices);
  const double copy = bench.copy_ceiling();
  const device::DeviceInfo info = bench.describe();
  std::printf("%s, copy %.0f GB/s\n", info.name, copy / 1e9);
  std::vector<Row> rows;
  for (const Cell& cell : cells) {
    const std::string label = cell.kind + " " + std::to_string(cell.tokens) + " " +
                              std::to_string(cell.slices) + " " + cell.rank + " " + cell.mix;
    if (label.find(only) == std::string::npos) continue;
    rows.push_back(judge(cell, bench.time(cell), copy));
    print(rows.back());
  }
  const auto passed =
      std::count_if(rows.begin(), rows.end(), [](const Row& r) { return r.passes; });
  double ratios = 0;
  int32_t compared = 0;
  for (const Row& row : rows) {
    if (row.cell.best_public_us == 0) continue;
    ratios += std::log(row.timing.us / row.cell.best_public_us);
    ++compared;
  }
  std::printf("%lld of %zu cells pass; geometric mean of time over the best public %.3f\n",
              static_cast<long long>(passed), rows.size(),
              compared > 0 ? std::exp(ratios / compared) : 0.0);
  if (!json.empty()) write_json(json, rows, info.name, copy);
  return 0;
}

}  // namespace
}  // namespace slora::kernels

int main(int argc, char** argv) {
  try {
    return slora::kernels::run(argc, argv);
  } catch (const slora::core::Error& error) {
    std::fprintf(stderr, "bench_cuda_lora: %s\n", error.what());
    return 1;
  }
}
