// Policies of eviction and of loads ahead of need, by themselves and in simulations.
#include "slora/adapter/eviction_policy.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "residency_simulation.hpp"
#include "slora/adapter/page_room.hpp"
#include "slora/core/check.hpp"

namespace slora::adapter {
namespace {

TEST(EvictionPolicy, CostKeepsTheOftenUsedAndAgesThem) {
  const auto policy = make_eviction_policy(EvictionKind::kCost);
  CacheItem often{1, 4, 4u << 20, 0}, once{2, 4, 4u << 20, 0};
  for (int i = 0; i < 5; ++i) policy->used(often);
  policy->used(once);
  const double of_often = policy->rank(often), of_once = policy->rank(once);
  EXPECT_GT(of_often, of_once);
  // Everything else goes round: in time a newcomer outranks what was popular once.
  CacheItem passing{3, 4, 4u << 20, 0};
  double newest = 0;
  for (int i = 0; i < 20; ++i) {
    policy->used(passing);
    newest = policy->rank(passing);
    policy->evicted(passing, newest);
  }
  EXPECT_GT(newest, of_often);
}

TEST(EvictionPolicy, RefusesUnknownKinds) {
  EXPECT_THROW(make_eviction_policy(static_cast<EvictionKind>(3)), core::Error);
}

// Requests for adapters by a power law, 12 a second.
std::vector<bench::TraceRequest> skewed_trace(double alpha, int32_t num_adapters) {
  std::mt19937 random(42);
  std::uniform_real_distribution<double> uniform;
  std::vector<bench::TraceRequest> trace;
  double seconds = 0;
  for (int i = 0; i < 1500; ++i) {
    seconds += uniform(random) / 6;
    const auto adapter = static_cast<int32_t>(std::pow(uniform(random), 1 / alpha) * num_adapters);
    trace.push_back({seconds, adapter, 8 + static_cast<int32_t>(random() % 504),
                     8 + static_cast<int32_t>(random() % 504)});
  }
  return trace;
}

bench::SimulationResult simulate(const std::vector<bench::TraceRequest>& trace,
                                 EvictionKind eviction) {
  bench::SimulationOptions options;
  options.eviction = eviction;
  options.num_pages = 4096;
  options.num_adapters = 1000;
  return bench::ResidencySimulation(options).run(trace);
}

TEST(EvictionPolicy, CostLoadsLessThanLruWhereUseIsSkewedAndNotMoreWhereItIsEven) {
  const auto skewed = skewed_trace(0.2, 1000);
  const auto lru = simulate(skewed, EvictionKind::kLru);
  const auto cost = simulate(skewed, EvictionKind::kCost);
  EXPECT_EQ(lru.requests, 1500u);
  EXPECT_EQ(cost.requests, 1500u);
  EXPECT_LT(cost.wait_seconds, lru.wait_seconds);
  EXPECT_GT(cost.warm, lru.warm);
  const auto even = skewed_trace(1, 1000);
  EXPECT_LE(simulate(even, EvictionKind::kCost).wait_seconds,
            1.02 * simulate(even, EvictionKind::kLru).wait_seconds);
}

// ---- loads ahead of need

// Takes whatever is free for whoever waits.
class WhateverFits final : public PageRoom {
 public:
  WhateverFits(memory::PagePool& pool, ResidencyCache& cache)
      : pool_(pool), cache_(cache), unified_(unified_room(pool, cache)) {}
  core::Status make(const RoomNeed& need) override { return unified_->make(need); }
  bool try_make_ahead(const AheadNeed& need) override {
    const int32_t needed = need.adapter.num_pages();
    if (pool_.num_free() + cache_.num_unwanted_pages() < needed) return false;
    while (pool_.num_free() < needed) SLORA_CHECK(cache_.evict_one(Standing::kIdle));
    return true;
  }

 private:
  memory::PagePool& pool_;
  ResidencyCache& cache_;
  std::unique_ptr<PageRoom> unified_;
};

// At saturation, adapters nearly all distinct: loads that come too early are evicted by growing
// sequences and made again; none at all lets rows wait for every load.
TEST(PrefetchPolicy, LoadsInTimeAndHardlyAnyInVain) {
  auto trace = skewed_trace(1, 2000);
  for (bench::TraceRequest& request : trace) request.seconds /= 5;  // 60 a second
  bench::SimulationOptions options;
  options.eviction = EvictionKind::kCost;
  options.num_pages = 4096;
  options.num_adapters = 2000;
  const auto unified = bench::ResidencySimulation(options).run(trace);
  options.room = [](memory::PagePool& pool, ResidencyCache& cache) -> std::unique_ptr<PageRoom> {
    return std::make_unique<WhateverFits>(pool, cache);
  };
  const auto greedy = bench::ResidencySimulation(options).run(trace);
  options.prefetch = 0;
  const auto without = bench::ResidencySimulation(options).run(trace);
  for (const auto& result : {unified, greedy, without}) EXPECT_EQ(result.requests, 1500u);
  EXPECT_LE(unified.residency.unused_loads, unified.residency.loads / 20);
  EXPECT_LE(unified.residency.loads, unified.admitted);
  EXPECT_LE(unified.wait_seconds, 1.05 * greedy.wait_seconds);
  EXPECT_LE(unified.wait_seconds, 0.25 * without.wait_seconds);
  EXPECT_GT(greedy.residency.loads, 2 * unified.residency.loads);
}

// ---- whose pages go first

// Some pages of adapters that nobody uses stay where sequences want to grow: a sequence goes first.
class KeepsAdapters final : public PageRoom {
 public:
  KeepsAdapters(memory::PagePool& pool, ResidencyCache& cache)
      : pool_(pool), cache_(cache), unified_(unified_room(pool, cache)) {}
  core::Status make(const RoomNeed& need) override {
    constexpr int32_t kKeptPages = 1024;
    if (need.kv_pages == 0) return unified_->make(need);
    while (pool_.num_free() < need.kv_pages && cache_.num_idle_pages() > kKeptPages &&
           (cache_.evict_one(Standing::kIdle) || cache_.evict_one(Standing::kWanted))) {
    }
    return pool_.num_free() >= need.kv_pages ? core::Status::kOk : core::Status::kDeferredPages;
  }
  bool try_make_ahead(const AheadNeed& need) override { return unified_->try_make_ahead(need); }

 private:
  memory::PagePool& pool_;
  ResidencyCache& cache_;
  std::unique_ptr<PageRoom> unified_;
};

TEST(ReclaimOrder, AdaptersBeforeSequencesPreemptsHardlyAnybodyAndEndsSooner) {
  auto trace = skewed_trace(0.2, 1000);
  for (bench::TraceRequest& request : trace) request.seconds /= 5;
  bench::SimulationOptions options;
  options.num_pages = 4096;
  options.num_adapters = 1000;
  const auto unified = bench::ResidencySimulation(options).run(trace);
  options.room = [](memory::PagePool& pool, ResidencyCache& cache) -> std::unique_ptr<PageRoom> {
    return std::make_unique<KeepsAdapters>(pool, cache);
  };
  const auto keeping = bench::ResidencySimulation(options).run(trace);
  EXPECT_EQ(unified.requests, 1500u);
  EXPECT_EQ(keeping.requests, 1500u);
  EXPECT_LT(10 * unified.preemptions, keeping.preemptions);
  EXPECT_LT(unified.seconds, keeping.seconds);
}

}  // namespace
}  // namespace slora::adapter
