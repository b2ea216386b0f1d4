// Whole steps over tensor-parallel ranks of one process: decode and prefill, base and with 32
// different adapters (a prefill is 32 prompts in both), and beside each the time of its collectives
// alone, in the same order and sizes on streams that do nothing else.
//
// usage: bench_tp_step --model DIR --tp N [--sharding aligned|full] [--batches 1,32,128]
//                      [--prefill 8192] [--sets base,mixed] [--backend cuda|host] [--pool-gib N]
//                      [--overlap-tokens N,...] [--json FILE]
//
// overlap-tokens: the least length of a chunk in which a prefill sums a layer's output (0: whole
// sums), in place of the engine's own choice; all is measured once for each.
#include <cstring>
#include <functional>
#include <memory>
#include <thread>

#include "slora/comm/nccl_group.hpp"
#include "slora/comm/thread_group.hpp"
#include "slora/engine/backend_loader.hpp"
#include "step_bench.hpp"

namespace {

using namespace slora;
using namespace slora::bench;

constexpr int kAdapters = 32;
const std::vector<uint32_t> kLoraRanks = {8, 16, 32, 64};

struct Arguments {
  std::string model, json, sharding = "aligned", backend = "cuda", batches = "1,32,128";
  std::string prefill = "8192", sets = "base,mixed", overlap;
  int tp_size = 1;
  double pool_gib = 8;
};

// What one step exchanges.
struct Collectives {
  int64_t tokens, outputs, hidden, vocab, layers;
  int64_t lora_rank_tokens = 0;  // sum over the tokens of their lora_rank; 0: nothing of LoRA's
};

// The ranks' devices, streams and groups, without a model.
class CollectiveTimer {
 public:
  CollectiveTimer(int tp_size, bool is_cuda) {
    const auto kind = is_cuda ? engine::BackendKind::kCuda : engine::BackendKind::kHost;
    std::vector<std::shared_ptr<device::Device>> devices;
    const comm::CommApi* api = nullptr;
    for (int rank = 0; rank < tp_size; ++rank) {
      const forward::Backend backend = engine::open_backend(kind, is_cuda ? rank : 0, 1);
      devices.push_back(backend.device);
      api = backend.comm;
    }
    groups_ =
        is_cuda ? comm::make_nccl_thread_groups(api, devices) : comm::make_thread_groups(tp_size);
    devices_ = std::move(devices);
    activation_ = is_cuda ? core::DType::kBF16 : core::DType::kF32;
  }

  double seconds(const Collectives& step) {
    double result = 0;
    std::vector<std::thread> threads;
    for (size_t rank = 0; rank < groups_.size(); ++rank) {
      threads.emplace_back([&, rank] {
        const double own = rank_seconds(rank, step);
        if (rank == 0) result = own;
      });
    }
    for (std::thread& thread : threads) thread.join();
    return result;
  }

 private:
  double rank_seconds(size_t rank, const Collectives& step) {
    const auto& device = devices_[rank];
    comm::Group& group = *groups_[rank];
    const int64_t n = group.size();
    const auto logits = static_cast<uint64_t>(step.outputs * ((step.vocab + n - 1) / n) * 4);
    const int64_t share = (step.lora_rank_tokens + n - 1) / n;
    const uint64_t bytes = std::max<uint64_t>({static_cast<uint64_t>(step.tokens * step.hidden) * 4,
                                               logits * static_cast<uint64_t>(n),
                                               static_cast<uint64_t>(12 * (share * n + n))});
    const device::Buffer data(device, device::MemoryKind::kDevice, bytes);
    device::Stream stream(device, device::StreamKind::kCompute);
    const auto in_place = [&](uint64_t part) { return data.data() + rank * part; };
    const auto enqueue = [&] {
      group.all_reduce(stream.handle(), data.data(), step.tokens * step.hidden, activation_);
      for (int64_t layer = 0; layer < step.layers; ++layer) {
        if (share > 0) {
          const auto part = static_cast<uint64_t>(3 * share * 4);
          group.all_gather(stream.handle(), in_place(part), data.data(), part);
          group.all_reduce(stream.handle(), data.data(), step.lora_rank_tokens, core::DType::kF32);
        }
        for (int i = 0; i < 2; ++i)
          group.all_reduce(stream.handle(), data.data(), step.tokens * step.hidden, activation_);
      }
      group.all_gather(stream.handle(), in_place(logits), data.data(), logits);
      group.broadcast(stream.handle(), data.data(), static_cast<uint64_t>(step.outputs * 4), 0);
    };
    // Zeros: sums of sums must not become infinite or slow.
    const device::Buffer zeros(device, device::MemoryKind::kPinned, bytes);
    std::memset(zeros.data(), 0, bytes);
    stream.copy(data.data(), zeros.data(), bytes);
    // Once plainly: connections are made at the first use.
    enqueue();
    stream.synchronize();
    std::unique_ptr<device::Graph> graph;
    if (device::has_graphs(*device)) {
      stream.begin_recording();
      enqueue();
      graph = stream.end_recording();
    }
    device::Event begin(device), end(device);
    std::vector<double> seconds;
    for (int round = 0; round < 12; ++round) {
      group.barrier();
      begin.record(stream);
      if (graph) {
        stream.launch(*graph);
      } else {
        enqueue();
      }
      end.record(stream);
      group.synchronize(end);
      if (round >= 2) seconds.push_back(double(end.elapsed_ns_since(begin)) * 1e-9);
    }
    return median(seconds);
  }

  core::DType activation_ = core::DType::kBF16;
  std::vector<std::shared_ptr<device::Device>> devices_;
  std::vector<std::unique_ptr<comm::Group>> groups_;
};

struct Row {
  Result result;
  double collective_us;
  std::string overlap;  // empty: the engine's own choice
};

Arguments parse(int argc, char** argv) {
  Arguments arguments;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string key = argv[i], value = argv[i + 1];
    if (key == "--model") arguments.model = value;
    if (key == "--tp") arguments.tp_size = std::atoi(value.c_str());
    if (key == "--sharding") arguments.sharding = value;
    if (key == "--batches") arguments.batches = value;
    if (key == "--prefill") arguments.prefill = value;
    if (key == "--sets") arguments.sets = value;
    if (key == "--backend") arguments.backend = value;
    if (key == "--overlap-tokens") arguments.overlap = value;
    if (key == "--pool-gib") arguments.pool_gib = std::atof(value.c_str());
    if (key == "--json") arguments.json = value;
  }
  const bool is_good = !arguments.model.empty() && arguments.tp_size >= 1 && argc % 2 == 1 &&
                       (arguments.sharding == "aligned" || arguments.sharding == "full") &&
                       (arguments.backend == "cuda" || arguments.backend == "host");
  if (!is_good) {
    std::fprintf(
        stderr,
        "usage: bench_tp_step --model DIR --tp N [--sharding aligned|full] [--batches "
        "1,32,128] [--prefill 8192] [--sets base,mixed] [--backend cuda|host] [--pool-gib N] "
        "[--overlap-tokens N,...] [--json FILE]\n");
    std::exit(1);
  }
  return arguments;
}

void write_json(const Arguments& arguments, const std::vector<Row>& rows) {
  FILE* file = std::fopen(arguments.json.c_str(), "w");
  if (!file) {
    std::fprintf(stderr, "bench_tp_step: cannot write %s\n", arguments.json.c_str());
    std::exit(1);
  }
  slora_backend_info card = SLORA_BACKEND_INFO_INIT;
  const bool is_cuda = arguments.backend == "cuda";
  slora_backend_probe(is_cuda ? SLORA_BACKEND_CUDA : SLORA_BACKEND_HOST, &card, nullptr);
  std::fprintf(file,
               "{\n  \"card\": \"%s\", \"features\": \"%s\", \"build\": \"%s\", \"model\": "
               "\"%s\", \"tp\": %d, \"sharding\": \"%s\",\n  \"results\": [\n",
               card.device_name, card.features, slora_build_info(), arguments.model.c_str(),
               arguments.tp_size, arguments.sharding.c_str());
  for (size_t i = 0; i < rows.size(); ++i) {
    const Result& r = rows[i].result;
    std::fprintf(file,
                 "    {\"what\": \"%s\", \"set\": \"%s\", \"size\": %d, \"device_us\": %.2f, "
                 "\"wall_us\": %.2f, \"collective_us\": %.2f",
                 r.what.c_str(), r.set.c_str(), r.batch, r.device_us, r.wall_us,
                 rows[i].collective_us);
    if (!rows[i].overlap.empty())
      std::fprintf(file, ", \"overlap_tokens\": %s", rows[i].overlap.c_str());
    std::fprintf(file, "}%s\n", i + 1 < rows.size() ? "," : "");
  }
  std::fprintf(file, "  ]\n}\n");
  std::fclose(file);
}

class Run {
 public:
  explicit Run(const Arguments& arguments)
      : is_cuda_(arguments.backend == "cuda"),
        is_full_(arguments.sharding == "full"),
        timer_(arguments.tp_size, is_cuda_),
        bench_(arguments.model, static_cast<uint64_t>(arguments.pool_gib * (1 << 30)),
               is_cuda_ ? SLORA_BACKEND_CUDA : SLORA_BACKEND_HOST,
               static_cast<uint32_t>(arguments.tp_size),
               is_full_ ? SLORA_LORA_SHARDING_FULL : SLORA_LORA_SHARDING_ALIGNED) {}

  std::vector<Row> all(const Arguments& arguments) {
    std::vector<Row> rows;
    if (arguments.overlap.empty()) measure(arguments, "", rows);
    for (const std::string& overlap : split(arguments.overlap)) {
      setenv("SLORA_OVERLAP_TOKENS", overlap.c_str(), 1);
      bench_.reopen_engine();
      std::printf("overlap-tokens %s\n", overlap.c_str());
      measure(arguments, overlap, rows);
    }
    return rows;
  }

 private:
  void measure(const Arguments& arguments, const std::string& overlap, std::vector<Row>& rows) {
    const auto add = [&](const Result& result, int64_t tokens, int64_t outputs) {
      rows.push_back({result, collective_us(result.set, tokens, outputs), overlap});
      std::printf("%-8s %-6s %6d %12.1f us %12.1f us in collectives (%.1f %%)\n",
                  result.what.c_str(), result.set.c_str(), result.batch, result.device_us,
                  rows.back().collective_us, 100 * rows.back().collective_us / result.device_us);
      std::fflush(stdout);
    };
    for (const std::string& set : split(arguments.sets)) {
      bench_.use_set(kLoraRanks, set == "base" ? 0 : kAdapters);
      for (const std::string& text : split(arguments.batches)) {
        const int batch = std::atoi(text.c_str());
        add(bench_.decode(set, batch, 1.0), batch, batch);
      }
      for (const std::string& text : split(arguments.prefill)) {
        const auto tokens = static_cast<uint32_t>(std::atoi(text.c_str()));
        add(bench_.prefill(set, tokens, kAdapters, 1.0), tokens, kAdapters);
      }
    }
  }

  double collective_us(const std::string& set, int64_t tokens, int64_t outputs) {
    const slora_model_info& info = bench_.info();
    Collectives step{tokens, outputs, info.hidden_size, info.vocab_size, info.num_layers};
    // Tokens take the adapters in turn; the mean of the lora_ranks is 30.
    if (is_full_ && set != "base") step.lora_rank_tokens = tokens * 30;
    return timer_.seconds(step) * 1e6;
  }

  bool is_cuda_, is_full_;
  CollectiveTimer timer_;
  Bench bench_;
};

}  // namespace

int main(int argc, char** argv) {
  const Arguments arguments = parse(argc, argv);
  try {
    const std::vector<Row> rows = Run(arguments).all(arguments);
    if (!arguments.json.empty()) write_json(arguments, rows);
  } catch (const core::Error& failure) {
    std::fprintf(stderr, "bench_tp_step: %s\n", failure.what());
    return 1;
  }
  return 0;
}
