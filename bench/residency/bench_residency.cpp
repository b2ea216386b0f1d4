// What each eviction policy is worth on a trace: warm starts, loads, how many of them were in vain,
// and the time that rows waited for loads.
//
// usage: bench_residency TRACE.jsonl ... [--pages 7168] [--rows 256] [--adapter-pages 16,8,4,2]
//            [--prefetch 64] [--until SECONDS]
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "residency_simulation.hpp"

namespace {

using namespace slora;

std::vector<bench::TraceRequest> read_trace(const std::string& path) {
  std::ifstream file(path);
  if (!file) {
    std::fprintf(stderr, "bench_residency: cannot open %s\n", path.c_str());
    std::exit(1);
  }
  std::vector<bench::TraceRequest> trace;
  for (std::string line; std::getline(file, line);) {
    try {
      const nlohmann::json request = nlohmann::json::parse(line);
      trace.push_back({request.at("t"), request.at("adapter"), request.at("prompt_tokens"),
                       request.at("output_tokens")});
    } catch (const nlohmann::json::exception& problem) {
      std::fprintf(stderr, "bench_residency: %s, line %zu: %s\n", path.c_str(), trace.size() + 1,
                   problem.what());
      std::exit(1);
    }
  }
  return trace;
}

void print(const std::string& path, const bench::SimulationOptions& options, const char* policy,
           const bench::SimulationResult& result) {
  const auto count = [](uint64_t value) { return static_cast<unsigned long long>(value); };
  const adapter::ResidencyCounters& residency = result.residency;
  std::printf("%-28s %-5s %6d %8llu %8llu %7.1f %8llu %8.3f %8llu %9.2f %9.1f %8.2f %8llu\n",
              path.substr(path.rfind('/') + 1).c_str(), policy, options.num_pages,
              count(result.requests), count(result.admitted),
              100 * double(result.warm) / double(result.admitted), count(residency.loads),
              double(residency.loads) / double(result.admitted), count(residency.unused_loads),
              result.wait_seconds, result.seconds, double(result.requests) / result.seconds,
              count(result.preemptions));
}

}  // namespace

int main(int argc, char** argv) {
  bench::SimulationOptions options;
  std::vector<std::string> paths;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    const char* value = i + 1 < argc ? argv[i + 1] : "";
    if (word == "--pages") {
      options.num_pages = std::atoi(value), ++i;
    } else if (word == "--rows") {
      options.max_rows = std::atoi(value), ++i;
    } else if (word == "--prefetch") {
      options.prefetch = std::atoi(value), ++i;
    } else if (word == "--until") {
      options.end_seconds = std::atof(value), ++i;
    } else if (word == "--adapter-pages") {
      options.adapter_pages.clear();
      std::istringstream list(value);
      for (std::string part; std::getline(list, part, ',');)
        options.adapter_pages.push_back(std::atoi(part.c_str()));
      ++i;
    } else {
      paths.push_back(word);
    }
  }
  if (paths.empty()) {
    std::fprintf(stderr,
                 "usage: bench_residency TRACE.jsonl ... [--pages N] [--rows N] "
                 "[--adapter-pages 16,8,4,2] [--prefetch N] [--until SECONDS]\n");
    return 2;
  }
  std::printf("%-28s %-5s %6s %8s %8s %7s %8s %8s %8s %9s %9s %8s %8s\n", "trace", "evict", "pages",
              "requests", "admitted", "warm %", "loads", "/admit", "unused", "waited s", "seconds",
              "req/s", "preempt");
  for (const std::string& path : paths) {
    const auto trace = read_trace(path);
    for (const auto& request : trace)
      options.num_adapters = std::max(options.num_adapters, request.adapter + 1);
    for (const auto kind : {adapter::EvictionKind::kLru, adapter::EvictionKind::kCost}) {
      options.eviction = kind;
      bench::ResidencySimulation simulation(options);
      print(path, options, kind == adapter::EvictionKind::kLru ? "lru" : "cost",
            simulation.run(trace));
    }
  }
  return 0;
}
