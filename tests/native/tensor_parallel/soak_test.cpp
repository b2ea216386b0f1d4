// Hours in minutes: random batches over two ranks while adapters come and go on another thread.
// Every answer is the one that the request has alone, and nothing grows. SLORA_SOAK_SECONDS says
// how long; without it a second, which keeps the test honest.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <thread>

#include "support/demo.hpp"

namespace slora::test {
namespace {

using Clock = std::chrono::steady_clock;

int soak_seconds() {
  const char* seconds = std::getenv("SLORA_SOAK_SECONDS");
  return seconds ? std::atoi(seconds) : 1;
}

int64_t resident_kib() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    long long kib = 0;
    if (std::sscanf(line.c_str(), "VmRSS: %lld kB", &kib) == 1) return kib;
  }
  return 0;
}

slora_engine_options cramped() {
  slora_engine_options options = SLORA_ENGINE_OPTIONS_INIT;
  options.pool_bytes = 4u << 20;
  options.max_sequences = 24;
  options.max_batch_tokens = 96;
  options.max_batch_rows = 12;
  return options;
}

std::vector<Request> requests_of_all(const DemoEngine& demo) {
  std::vector<Request> requests;
  std::mt19937 random(5);
  for (const std::string& name : demo_adapter_names()) {
    const auto golden = read_json(demo_path("goldens/" + name + ".json"));
    Request request;
    request.prompt = golden["cases"][0]["ids"].get<std::vector<int32_t>>();
    request.adapters = demo.use(name);
    request.num_new_tokens = 8;
    request.sampling.temperature = random() % 2 == 0 ? 0.0f : 0.8f;
    request.sampling.seed = random();
    requests.push_back(request);
  }
  return requests;
}

class Soak : public testing::TestWithParam<int32_t> {};

TEST_P(Soak, AnswersStayTheSameAndNothingGrows) {
  const DemoEngine demo(SLORA_DTYPE_F32, cramped(), 2, Ranks{2, GetParam()});
  const std::vector<Request> requests = requests_of_all(demo);
  std::vector<Completion> alone;
  for (const Request& request : requests)
    alone.push_back(run_requests(demo.engine.get(), {request})[0]);
  const uint32_t host_adapters = counters(demo.engine.get()).host_adapters;
  const int64_t before_kib = resident_kib();

  std::atomic<bool> is_over{false};
  std::atomic<int> num_loads{0};
  std::thread visitor([&] {
    while (!is_over.load()) {
      const auto& names = demo_adapter_names();
      const std::string& name = names[static_cast<size_t>(num_loads.load()) % names.size()];
      const AdapterHandle guest = load_adapter(demo.engine.get(), demo_path("adapters/" + name));
      slora_error error = SLORA_ERROR_INIT;
      slora_adapter_set_pinned(guest.get(), 0, &error);
      ++num_loads;
    }
  });
  std::mt19937 chaos(17);
  const auto end = Clock::now() + std::chrono::seconds(soak_seconds());
  uint64_t num_compared = 0;
  bool is_same = true;
  while (Clock::now() < end && is_same) {
    std::vector<size_t> chosen(3 + chaos() % 10);
    std::vector<Request> batch;
    for (size_t& i : chosen) {
      i = chaos() % requests.size();
      batch.push_back(requests[i]);
    }
    const std::vector<Completion> completions =
        run_requests(demo.engine.get(), batch, {&chaos, 0.05});
    for (size_t i = 0; i < chosen.size(); ++i, ++num_compared)
      is_same = is_same && completions[i] == alone[chosen[i]];
  }
  is_over.store(true);
  visitor.join();
  EXPECT_TRUE(is_same) << "after " << num_compared << " answers";
  const slora_pool_counters after = counters(demo.engine.get());
  EXPECT_EQ(after.kv_pages, 0u);
  EXPECT_EQ(after.host_adapters, host_adapters);
  EXPECT_EQ(after.free_pages + after.adapter_pages, after.total_pages);
  EXPECT_GT(num_loads.load(), 0);
  // Buffers grow with the largest batch seen; 64 MiB is far above that and far below a leak's
  // worth.
  EXPECT_LT(resident_kib() - before_kib, 64 << 10);
  std::printf("%llu answers, %d loads, %llu steps, %llu evictions, %lld KiB more\n",
              static_cast<unsigned long long>(num_compared), num_loads.load(),
              static_cast<unsigned long long>(after.steps),
              static_cast<unsigned long long>(after.adapter_evictions),
              static_cast<long long>(resident_kib() - before_kib));
}

INSTANTIATE_TEST_SUITE_P(Sharding, Soak,
                         testing::Values(SLORA_LORA_SHARDING_ALIGNED, SLORA_LORA_SHARDING_FULL),
                         [](const auto& param_info) {
                           return param_info.param == SLORA_LORA_SHARDING_FULL ? "full" : "aligned";
                         });

}  // namespace
}  // namespace slora::test
