// Times attention, rotation and sampling on the device: Llama-7B and Llama-3-8B heads, paged bf16 K
// and V. Each figure stands beside the copy bandwidth of the same run. A case is one graph of calls
// over disjoint pages, more than the L2 cache holds; the median of its replays counts.
//
//   bench_cuda_attention [--json FILE] [--quick]
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "slora/core/status.hpp"
#include "slora/engine/backend_loader.hpp"

namespace slora::kernels {
namespace {

constexpr int32_t kHeadSize = 128, kTokensPerPage = 16;
constexpr uint64_t kPoolBytes = uint64_t{5} << 30;
constexpr uint64_t kL2Bytes = uint64_t{256} << 20;  // several times any card's

struct Result {
  std::string name;
  double us, rate;  // GB/s or TFLOP/s
  const char* unit;
  double share;  // of the copy bandwidth; 0 where it says nothing
};

class Bench {
 public:
  explicit Bench(bool is_quick)
      : backend_(engine::open_backend(engine::BackendKind::kCuda, 0, 0)),
        stream_(backend_.device, device::StreamKind::kCompute),
        replays_(is_quick ? 5 : 9) {
    pool_ = memory(kPoolBytes);
    // Random numbers near 1 in bf16; nothing here may be zeros, infinities or NaN.
    constexpr uint64_t kBlock = 64 << 20;
    device::Buffer staging(backend_.device, device::MemoryKind::kPinned, kBlock);
    std::mt19937 random(7);
    for (uint64_t i = 0; i < kBlock / 4; ++i) {
      const uint32_t bits = static_cast<uint32_t>(random());
      staging.as<uint32_t>()[i] = (bits & 0x80ff80ffu) | 0x3f003f00u;
    }
    stream_.copy(pool_.data(), staging.data(), kBlock);
    for (uint64_t done = kBlock; done < kPoolBytes; done += kBlock)
      stream_.copy(pool_.data() + done, pool_.data(), kBlock);
    stream_.synchronize();
  }

  void copy_ceiling() {
    constexpr uint64_t kBytes = uint64_t{2} << 30;
    std::vector<double> times;
    for (int32_t i = 0; i <= replays_; ++i) {
      device::Event begin(backend_.device), end(backend_.device);
      begin.record(stream_);
      stream_.copy(pool_.data() + kBytes, pool_.data(), kBytes);
      end.record(stream_);
      end.synchronize();
      if (i > 0) times.push_back(static_cast<double>(end.elapsed_ns_since(begin)) * 1e-3);
    }
    const double us = *std::min_element(times.begin(), times.end());
    copy_gb_per_s_ = 2e-3 * static_cast<double>(kBytes) / us;
    results_.push_back({"copy 2 GB, read + write", us, copy_gb_per_s_, "GB/s", 1.0});
    print();
  }

  void decode(const char* model, int32_t kv_heads, int32_t batch, int32_t context) {
    attention(std::string(model) + " decode B=" + std::to_string(batch) + " context " +
                  std::to_string(context),
              kv_heads, batch, 1, context, 1);
  }
  void prefill(const char* model, int32_t kv_heads, int32_t tokens, int32_t rows) {
    attention(
        std::string(model) + " prefill " + std::to_string(rows) + " x " + std::to_string(tokens),
        kv_heads, rows, tokens, tokens, 0);
  }

  void rope(int32_t kv_heads, int32_t tokens) {
    const int64_t width = (32 + 2 * int64_t{kv_heads}) * kHeadSize;
    const int64_t page_bytes = int64_t{2} * kTokensPerPage * kv_heads * kHeadSize * 2;
    std::vector<int32_t> positions(static_cast<size_t>(tokens)), pages(positions.size());
    for (int32_t t = 0; t < tokens; ++t) {
      positions[static_cast<size_t>(t)] = t % 4096;
      pages[static_cast<size_t>(t)] = t;
    }
    const std::vector<float> table(4096 * kHeadSize, 0.5f);
    const device::Buffer device_positions = upload(positions), device_pages = upload(pages);
    const device::Buffer device_table = upload(table);
    RopeKvParams params{};
    params.qkv = pool_.data() + (uint64_t{3} << 30);
    params.row_stride = width;
    params.activation_dtype = params.page_dtype = DType::kBF16;
    params.rope_table = device_table.as<float>();
    params.token_position = device_positions.as<int32_t>();
    params.token_page = device_pages.as<int32_t>();
    params.num_tokens = tokens;
    params.num_heads = 32;
    params.num_kv_heads = kv_heads;
    params.head_size = params.rotary_size = kHeadSize;
    params.tokens_per_page = kTokensPerPage;
    params.slice = pool_.data();
    params.page_bytes = page_bytes;
    const double us =
        replay(16, [&](int32_t) { return backend_.kernels->rope_kv(stream_.handle(), &params); });
    const double bytes = 2.0 * static_cast<double>(width) * 2 * tokens;
    add("rope_kv T=" + std::to_string(tokens) + " 32/" + std::to_string(kv_heads) + " heads", us,
        bytes, 0);
  }

  enum class Draw { kGreedy, kTemperature, kTopK, kTopP, kTopKTopP, kPenalties, kLogprobs };

  void sample(int64_t vocab, int32_t rows, Draw draw, const char* what) {
    std::mt19937 random(3);
    std::normal_distribution<float> normal(0.0f, 2.5f);
    std::vector<float> logits(static_cast<size_t>(vocab * rows));
    for (float& x : logits) x = normal(random);
    constexpr int32_t kHistory = 1024;
    std::vector<int32_t> history(static_cast<size_t>(rows * kHistory));
    for (int32_t& token : history) token = static_cast<int32_t>(random() % 20000);
    std::vector<SampleRow> sample_rows;
    for (int32_t i = 0; i < rows; ++i) {
      SampleRow row{};
      row.logits_row = row.history_slot = i;
      row.prompt_tokens = 300;
      row.history_tokens = kHistory - 1;
      row.temperature = draw == Draw::kGreedy || draw == Draw::kLogprobs ? 0.0f : 0.8f;
      row.top_k = draw == Draw::kTopK || draw == Draw::kTopKTopP ? 50 : 0;
      row.top_p = draw == Draw::kTopP || draw == Draw::kTopKTopP ? 0.95f : 1.0f;
      row.typical_p = 1.0f;
      row.repetition_penalty = draw == Draw::kPenalties ? 1.1f : 1.0f;
      row.frequency_penalty = draw == Draw::kPenalties ? 0.2f : 0.0f;
      row.num_logprobs = draw == Draw::kLogprobs ? 20 : 0;
      row.seed = random();
      sample_rows.push_back(row);
    }
    const device::Buffer device_logits = upload(logits), device_history = upload(history);
    const device::Buffer device_rows = upload(sample_rows);
    const device::Buffer out = memory(static_cast<uint64_t>(rows) * 4 * 42);
    const device::Buffer workspace =
        memory(backend_.kernels->sample_workspace_bytes(rows, vocab) + 16);
    SampleParams params{};
    params.logits = device_logits.as<float>();
    params.vocab_size = vocab;
    params.rows = device_rows.as<SampleRow>();
    params.num_rows = rows;
    params.max_logprobs = 20;
    params.history = device_history.as<int32_t>();
    params.history_stride = kHistory;
    params.bias_tokens = device_history.as<int32_t>();
    params.bias_values = device_logits.as<float>();
    params.out_tokens = out.as<int32_t>();
    params.out_logprobs = out.as<float>() + rows;
    params.out_top_tokens = out.as<int32_t>() + 2 * rows;
    params.out_top_logprobs = out.as<float>() + 22 * rows;
    params.workspace = workspace.data();
    const double us =
        replay(16, [&](int32_t) { return backend_.kernels->sample(stream_.handle(), &params); });
    add("sample V=" + std::to_string(vocab) + " B=" + std::to_string(rows) + " " + what, us,
        4.0 * static_cast<double>(vocab) * rows, 0);
  }

  bool write_json(const char* path) const {
    std::FILE* file = std::fopen(path, "w");
    if (!file) return false;
    std::fprintf(file, "{\"device\": \"%s\", \"results\": [", backend_.device->describe().name);
    for (size_t i = 0; i < results_.size(); ++i) {
      const Result& r = results_[i];
      std::fprintf(file,
                   "%s\n  {\"name\": \"%s\", \"us\": %.3f, \"rate\": %.2f, \"unit\": \"%s\", "
                   "\"share_of_copy\": %.4f}",
                   i ? "," : "", r.name.c_str(), r.us, r.rate, r.unit, r.share);
    }
    std::fprintf(file, "\n]}\n");
    return std::fclose(file) == 0;
  }

 private:
  device::Buffer memory(uint64_t bytes) {
    return device::Buffer(backend_.device, device::MemoryKind::kDevice, bytes);
  }
  template <typename T>
  device::Buffer upload(const std::vector<T>& values) {
    const uint64_t bytes = values.size() * sizeof(T);
    device::Buffer staging(backend_.device, device::MemoryKind::kPinned, bytes);
    std::memcpy(staging.data(), values.data(), bytes);
    device::Buffer out = memory(bytes);
    stream_.copy(out.data(), staging.data(), bytes);
    stream_.synchronize();
    return out;
  }

  void expect(int32_t status, const device::ApiError& error) {
    if (status != 0) core::fail(core::Status::kBackend, error.message);
  }

  // Microseconds a call: one graph of `calls`, the median of its replays after one to warm up.
  template <typename Call>
  double replay(int32_t calls, const Call& call) {
    const device::DeviceApi& api = backend_.device->api();
    device::ApiError error{};
    expect(api.graph_begin(stream_.handle(), &error), error);
    for (int32_t i = 0; i < calls; ++i) {
      const int32_t status = call(i);
      if (status != 0) core::fail(core::Status::kBackend, "a kernel answered status ", status);
    }
    void* graph = nullptr;
    expect(api.graph_end(stream_.handle(), &graph, &error), error);
    std::vector<double> times;
    for (int32_t i = 0; i <= replays_; ++i) {
      device::Event begin(backend_.device), end(backend_.device);
      begin.record(stream_);
      expect(api.graph_launch(graph, stream_.handle(), &error), error);
      end.record(stream_);
      end.synchronize();
      if (i > 0) times.push_back(static_cast<double>(end.elapsed_ns_since(begin)) * 1e-3);
    }
    api.graph_destroy(graph);
    std::sort(times.begin(), times.end());
    return times[times.size() / 2] / calls;
  }

  void attention(const std::string& name, int32_t kv_heads, int32_t rows, int32_t tokens_a_row,
                 int32_t context, int32_t max_row_tokens) {
    constexpr int32_t kHeads = 32;
    const int64_t page_bytes = int64_t{2} * kTokensPerPage * kv_heads * kHeadSize * 2;
    const int32_t pages_a_row = (context + kTokensPerPage - 1) / kTokensPerPage;
    const int64_t slice_bytes = rows * pages_a_row * page_bytes;
    const bool is_decode = tokens_a_row == 1;
    const auto calls = static_cast<int32_t>(
        is_decode ? std::clamp<int64_t>(static_cast<int64_t>(kL2Bytes) / slice_bytes + 1, 4, 64)
                  : 2);
    const auto slices = std::max<int64_t>(
        1, std::min<int64_t>(calls, static_cast<int64_t>(kPoolBytes) / slice_bytes));
    std::vector<int32_t> table(static_cast<size_t>(rows * pages_a_row));
    std::iota(table.begin(), table.end(), 0);
    std::shuffle(table.begin(), table.end(), std::mt19937(1));
    std::vector<int32_t> offsets{0}, positions;
    for (int32_t s = 0; s < rows; ++s) {
      for (int32_t t = 0; t < tokens_a_row; ++t) positions.push_back(context - tokens_a_row + t);
      offsets.push_back(static_cast<int32_t>(positions.size()));
    }
    const auto tokens = static_cast<int32_t>(positions.size());
    const device::Buffer device_table = upload(table), device_offsets = upload(offsets);
    const device::Buffer device_positions = upload(positions);
    const int64_t q_stride = (kHeads + 2 * kv_heads) * kHeadSize;
    const device::Buffer q = memory(static_cast<uint64_t>(tokens * q_stride * 2));
    stream_.copy(q.data(), pool_.data() + (uint64_t{4} << 30), q.bytes());
    const device::Buffer out = memory(static_cast<uint64_t>(tokens) * kHeads * kHeadSize * 2);
    const device::Buffer workspace =
        memory(backend_.kernels->attention_workspace_bytes(tokens, kHeads, kHeadSize));
    AttentionParams params{};
    params.q = q.data();
    params.q_stride = q_stride;
    params.out = out.data();
    params.activation_dtype = params.page_dtype = DType::kBF16;
    params.row_offsets = device_offsets.as<int32_t>();
    params.token_position = device_positions.as<int32_t>();
    params.page_table = device_table.as<int32_t>();
    params.page_table_stride = pages_a_row;
    params.num_rows = rows;
    params.num_tokens = tokens;
    params.num_heads = kHeads;
    params.num_kv_heads = kv_heads;
    params.head_size = kHeadSize;
    params.tokens_per_page = kTokensPerPage;
    params.page_bytes = page_bytes;
    params.scale = 1.0f / std::sqrt(static_cast<float>(kHeadSize));
    params.max_row_tokens = max_row_tokens;
    params.max_context = context;
    params.workspace = workspace.data();
    const double us = replay(calls, [&](int32_t i) {
      params.slice = pool_.data() + (i % slices) * slice_bytes;
      return backend_.kernels->attention(stream_.handle(), &params);
    });
    double pairs = 0;
    for (const int32_t position : positions) pairs += position + 1;
    add(name, us, static_cast<double>(slice_bytes),
        is_decode ? 0 : 4.0 * kHeadSize * kHeads * pairs);
  }

  void add(const std::string& name, double us, double bytes, double flops) {
    if (flops > 0) {
      results_.push_back({name, us, flops / us * 1e-6, "TFLOP/s", 0});
    } else {
      const double rate = bytes / us * 1e-3;
      results_.push_back({name, us, rate, "GB/s", rate / copy_gb_per_s_});
    }
    print();
  }
  void print() const {
    const Result& r = results_.back();
    std::printf("%-46s %10.2f us %8.1f %-8s", r.name.c_str(), r.us, r.rate, r.unit);
    if (r.share > 0) std::printf(" %5.1f %% of copy, %.2f MB", 100 * r.share, r.rate * r.us * 1e-3);
    std::printf("\n");
    std::fflush(stdout);
  }

  forward::Backend backend_;
  device::Stream stream_;
  int32_t replays_;
  device::Buffer pool_;
  double copy_gb_per_s_ = 0;
  std::vector<Result> results_;
};

void run(Bench& bench) {
  bench.copy_ceiling();
  for (const int32_t kv_heads : {32, 8}) {
    const char* model = kv_heads == 32 ? "llama-7b" : "llama3-8b";
    for (const int32_t context : {512, 2048}) {
      for (const int32_t batch : {1, 8, 32, 64, 128}) bench.decode(model, kv_heads, batch, context);
    }
    bench.prefill(model, kv_heads, 512, 4);
    bench.prefill(model, kv_heads, 2048, 1);
    bench.prefill(model, kv_heads, 8192, 1);
  }
  for (const int32_t tokens : {1, 32, 128, 2048}) bench.rope(32, tokens);
  using Draw = Bench::Draw;
  for (const int64_t vocab : {32000, 128256}) {
    for (const int32_t rows : {1, 32, 128}) {
      bench.sample(vocab, rows, Draw::kGreedy, "greedy");
      bench.sample(vocab, rows, Draw::kTemperature, "temperature");
      bench.sample(vocab, rows, Draw::kTopKTopP, "top-k 50, top-p 0.95");
      if (rows != 32) continue;
      bench.sample(vocab, rows, Draw::kTopK, "top-k 50");
      bench.sample(vocab, rows, Draw::kTopP, "top-p 0.95");
      bench.sample(vocab, rows, Draw::kPenalties, "penalties, history of 1023");
      bench.sample(vocab, rows, Draw::kLogprobs, "greedy, 20 logprobs");
    }
  }
}

}  // namespace
}  // namespace slora::kernels

int main(int argc, char** argv) {
  const char* json = nullptr;
  bool is_quick = false;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--json") == 0 && i + 1 < argc) json = argv[++i];
    if (std::strcmp(argv[i], "--quick") == 0) is_quick = true;
  }
  try {
    slora::kernels::Bench bench(is_quick);
    slora::kernels::run(bench);
    if (json && !bench.write_json(json)) {
      std::fprintf(stderr, "cannot write %s\n", json);
      return 1;
    }
  } catch (const slora::core::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
