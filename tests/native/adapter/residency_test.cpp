// Residency: images arrive in whatever pages there are, layer by layer; who is evicted first;
// counts against a walk over thousands of random changes; policies in simulation.
#include "slora/adapter/residency_cache.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <numeric>
#include <random>

#include "residency_simulation.hpp"
#include "slora/adapter/page_room.hpp"
#include "slora/core/check.hpp"

namespace slora::adapter {
namespace {

using memory::PageOwner;

constexpr int64_t kPageBytes = 64;

// A pool, its arena and a cache, with adapters whose bytes are all different.
class ResidencyTest : public testing::Test {
 protected:
  void make(int32_t num_pages, int32_t num_layers, EvictionKind eviction = EvictionKind::kLru,
            const device::DeviceApi* api = device::host_device_api(),
            int64_t page_bytes = kPageBytes) {
    page_bytes_ = page_bytes;
    device_ = std::make_shared<device::Device>(api, 0, 1);
    arena_ = std::make_unique<memory::Arena>(
        device_, memory::ArenaGeometry{num_pages, num_layers, 16, page_bytes, page_bytes / 4});
    pool_ = std::make_unique<memory::PagePool>(num_pages);
    cache_ = std::make_unique<ResidencyCache>(*pool_, *arena_, device_, eviction);
    room_ = unified_room(*pool_, *cache_);
  }

  void TearDown() override {
    if (!cache_) return;
    for (const auto& adapter : adapters_) cache_->drop(*adapter);
    adapters_.clear();
  }

  Adapter& add(int32_t num_pages) {
    ImageLayout layout;
    layout.num_layers = arena_->geometry().num_layers;
    layout.num_pages = num_pages;
    layout.image_bytes = static_cast<uint64_t>(layout.num_layers * num_pages * page_bytes_);
    PackedImage image(layout, {page_bytes_ / 4, core::DType::kF32}, heap_image_allocator());
    std::mt19937 random(static_cast<uint32_t>(adapters_.size()) + 1);
    for (int32_t layer = 0; layer < layout.num_layers; ++layer)
      for (uint64_t i = 0; i < image.layer_bytes(); ++i)
        image.layer_data(layer)[i] = static_cast<uint8_t>(random());
    adapters_.push_back(std::make_unique<Adapter>(
        adapters_.size() + 1,
        std::make_shared<AdapterContent>(std::move(image), device::Buffer(), ""), device::Buffer(),
        device_));
    return *adapters_.back();
  }

  void load(Adapter& adapter) {
    ASSERT_TRUE(cache_->try_load(adapter, LoadUrgency::kNow));
    adapter.loaded.synchronize();
    cache_->poll();
    ASSERT_EQ(adapter.residency, Residency::kDevice);
  }

  void expect_in_pages(const Adapter& adapter) {
    for (int32_t layer = 0; layer < arena_->geometry().num_layers; ++layer) {
      for (int32_t i = 0; i < adapter.num_pages(); ++i) {
        ASSERT_EQ(std::memcmp(arena_->page(layer, adapter.pages[static_cast<size_t>(i)]),
                              adapter.image.layer_data(layer) + i * page_bytes_,
                              static_cast<size_t>(page_bytes_)),
                  0)
            << "adapter " << adapter.id << " layer " << layer << " page " << i;
      }
    }
  }

  void expect_valid() {
    std::vector<const Adapter*> all;
    for (const auto& adapter : adapters_) all.push_back(adapter.get());
    std::string why;
    ASSERT_TRUE(cache_->is_valid(all, &why)) << why;
    ASSERT_TRUE(pool_->is_valid(&why)) << why;
  }

  int64_t page_bytes_ = kPageBytes;
  std::shared_ptr<device::Device> device_;
  std::unique_ptr<memory::Arena> arena_;
  std::unique_ptr<memory::PagePool> pool_;
  std::vector<std::unique_ptr<Adapter>> adapters_;
  std::unique_ptr<ResidencyCache> cache_;
  std::unique_ptr<PageRoom> room_;
};

// Pages small enough to travel by copy_pages, and large enough that a run travels by itself; in
// pools broken up at random.
TEST_F(ResidencyTest, ImagesArriveWholeInScatteredAndInNeighbouringPages) {
  std::mt19937 random(7);
  for (const int64_t page_bytes : {int64_t{64}, int64_t{12}, int64_t{96 << 10}}) {
    adapters_.clear();
    make(96, 11, EvictionKind::kLru, device::host_device_api(), page_bytes);
    std::vector<int32_t> kv(96);
    ASSERT_TRUE(pool_->try_acquire(PageOwner::kKv, kv));
    std::shuffle(kv.begin(), kv.end(), random);
    // A run of 40 and holes anywhere else.
    for (int32_t page = 50; page < 90; ++page) pool_->release(page);
    std::erase_if(kv, [](int32_t page) { return page >= 50 && page < 90; });
    for (int i = 0; i < 30; ++i) pool_->release(kv[static_cast<size_t>(i)]);
    for (const int32_t pages : {5, 44, 1, 20}) load(add(pages));
    for (const auto& adapter : adapters_) expect_in_pages(*adapter);
    expect_valid();
    for (const auto& adapter : adapters_) cache_->drop(*adapter);
  }
}

// ---- the order of copies, events and waits

struct Call {
  enum Kind { kCopy, kRecord, kWait } kind;
  void* stream;
  const uint8_t* target;  // of copies
  void* event;
};
std::vector<Call> g_calls;

// The host's table, which also writes down what was asked in which order.
const device::DeviceApi* recording_api() {
  static const device::DeviceApi api = [] {
    device::DeviceApi table = *device::host_device_api();
    table.copy_async = [](void* stream, void* to, const void* from, uint64_t bytes,
                          device::ApiError* error) {
      g_calls.push_back({Call::kCopy, stream, static_cast<const uint8_t*>(to), nullptr});
      return device::host_device_api()->copy_async(stream, to, from, bytes, error);
    };
    table.copy_pages = [](void* stream, const device::PageCopy* copy, device::ApiError* error) {
      for (int32_t layer = 0; layer < copy->num_layers; ++layer)
        for (int32_t i = 0; i < copy->num_pages; ++i)
          g_calls.push_back(
              {Call::kCopy, stream,
               copy->slice + layer * copy->slice_bytes + copy->targets[i] * copy->page_bytes,
               nullptr});
      return device::host_device_api()->copy_pages(stream, copy, error);
    };
    table.event_record = [](void* event, void* stream, device::ApiError* error) {
      g_calls.push_back({Call::kRecord, stream, nullptr, event});
      return device::host_device_api()->event_record(event, stream, error);
    };
    table.stream_wait_event = [](void* stream, void* event, device::ApiError* error) {
      g_calls.push_back({Call::kWait, stream, nullptr, event});
      return device::host_device_api()->stream_wait_event(stream, event, error);
    };
    return table;
  }();
  return &api;
}

// Before layer l compute has waited for an event that follows every copy into layer l on its
// stream, and before layer 0 for none that follows the last layer's: the first layers run while the
// others are copied.
TEST_F(ResidencyTest, ALayerWaitsForItsOwnPagesAndNotForLaterLayers) {
  for (const int32_t num_layers : {1, 3, 8, 22, 32}) {
    adapters_.clear();
    make(16, num_layers, EvictionKind::kLru, recording_api());
    Adapter& adapter = add(5);
    device::Stream compute(device_, device::StreamKind::kCompute);
    g_calls.clear();
    ASSERT_TRUE(cache_->try_load(adapter, LoadUrgency::kNow));
    const std::vector<Call> copies = g_calls;
    const auto layer_of = [&](const uint8_t* target) {
      return static_cast<int32_t>((target - arena_->slice(0)) / arena_->geometry().slice_bytes());
    };
    // The layers whose copies all come before the record of `event`.
    const auto layers_before = [&](const void* event) {
      std::vector<int32_t> pages(static_cast<size_t>(num_layers));
      for (const Call& call : copies) {
        if (call.kind == Call::kRecord && call.event == event) break;
        if (call.kind == Call::kCopy) ++pages[static_cast<size_t>(layer_of(call.target))];
      }
      int32_t layers = 0;
      while (layers < num_layers && pages[static_cast<size_t>(layers)] == 5) ++layers;
      return layers;
    };
    int32_t waited = 0;
    for (int32_t layer = 0; layer < num_layers; ++layer) {
      g_calls.clear();
      cache_->order_layer(adapter, layer, compute);
      for (const Call& call : g_calls) {
        ASSERT_EQ(call.kind, Call::kWait);
        ASSERT_EQ(call.stream, compute.handle());
        waited = std::max(waited, layers_before(call.event));
      }
      ASSERT_GT(waited, layer) << "layer " << layer << " of " << num_layers << " may run too early";
      ASSERT_LE(waited, layer + (num_layers + 7) / 8) << "layer " << layer << " waits too long";
    }
    compute.synchronize();
    cache_->drop(adapter);
  }
}

TEST_F(ResidencyTest, LoadsAheadOfNeedHaveAStreamOfTheirOwn) {
  make(32, 2, EvictionKind::kLru, recording_api());
  Adapter& now = add(4);
  Adapter& ahead = add(4);
  g_calls.clear();
  ASSERT_TRUE(cache_->try_load(ahead, LoadUrgency::kAhead));
  const void* ahead_stream = g_calls.front().stream;
  g_calls.clear();
  ASSERT_TRUE(cache_->try_load(now, LoadUrgency::kNow));
  for (const Call& call : g_calls) EXPECT_NE(call.stream, ahead_stream);
}

// ---- who goes first

TEST_F(ResidencyTest, IdleAdaptersGoBeforeWantedBeforeHeldAndOthersNever) {
  make(12, 1);
  Adapter *in_flight = &add(2), *pinned = &add(2), *held = &add(2), *wanted = &add(2),
          *old = &add(2), *fresh = &add(2);
  for (const auto& adapter : adapters_) load(*adapter);
  cache_->hold(*in_flight);
  cache_->begin_step(*in_flight);
  cache_->set_pinned(*pinned, true);
  cache_->hold(*held);
  cache_->set_wanted(std::vector<Adapter*>{wanted});
  EXPECT_EQ(cache_->num_idle_pages(), 6);
  EXPECT_EQ(cache_->num_evictable_pages(), 8);
  const std::vector<Adapter*> order = {old, fresh, wanted, held};
  for (size_t i = 0; i < order.size(); ++i) {
    ASSERT_TRUE(cache_->evict_until(static_cast<int32_t>(2 * i) + 1));
    for (size_t j = 0; j < order.size(); ++j)
      EXPECT_EQ(order[j]->residency, j <= i ? Residency::kHost : Residency::kDevice) << i << j;
    expect_valid();
  }
  EXPECT_FALSE(cache_->evict_until(9));
  EXPECT_EQ(in_flight->residency, Residency::kDevice);
  EXPECT_EQ(pinned->residency, Residency::kDevice);
  cache_->end_step(*in_flight);
  EXPECT_TRUE(cache_->evict_until(10));
  EXPECT_EQ(in_flight->residency, Residency::kHost);
}

TEST_F(ResidencyTest, WhatIsWantedIsLoadedWithoutTakingWhatIsWantedSooner) {
  make(10, 1);
  Adapter *first = &add(4), *second = &add(4), *third = &add(4), *idle = &add(2);
  load(*first);
  load(*idle);
  const std::vector<Adapter*> wanted = {first, second, third};
  cache_->set_wanted(wanted);
  cache_->load_wanted(*room_, 0);
  EXPECT_NE(second->residency, Residency::kHost);
  EXPECT_EQ(first->residency, Residency::kDevice) << "taken for one that is needed later";
  EXPECT_EQ(third->residency, Residency::kHost) << "there was no room left";
  expect_valid();
  // Room that sequences need to grow is not taken.
  cache_->drop(*second);
  cache_->set_wanted(wanted);
  cache_->load_wanted(*room_, 14);
  EXPECT_EQ(second->residency, Residency::kHost);
  cache_->load_wanted(*room_, 12);
  EXPECT_NE(second->residency, Residency::kHost);
}

// Of those that wait the one needed last goes first, whatever the policy ranks them by.
TEST_F(ResidencyTest, OfTheWantedTheOneNeededLastGoesFirst) {
  make(8, 1);
  Adapter *first = &add(2), *second = &add(2), *third = &add(2), *fourth = &add(2);
  for (Adapter* adapter : {third, first, fourth, second}) load(*adapter);
  cache_->set_wanted(std::vector<Adapter*>{first, second, third, fourth});
  const std::vector<Adapter*> order = {fourth, third, second, first};
  for (size_t i = 0; i < order.size(); ++i) {
    ASSERT_TRUE(cache_->evict_until(static_cast<int32_t>(2 * i) + 1));
    for (size_t j = 0; j < order.size(); ++j)
      EXPECT_EQ(order[j]->residency, j <= i ? Residency::kHost : Residency::kDevice) << i << j;
    expect_valid();
  }
}

// The next eight may take pages that sequences grow into; later ones leave those alone.
TEST_F(ResidencyTest, WhatIsNeededLaterLeavesRoomToGrow) {
  for (const int32_t growth_pages : {24, 25, 28, 29}) {
    adapters_.clear();
    make(64, 1);
    std::vector<Adapter*> wanted;
    for (int i = 0; i < 12; ++i) wanted.push_back(&add(4));
    cache_->set_wanted(wanted);
    for (int i = 0; i < 3; ++i) cache_->load_wanted(*room_, growth_pages);
    const auto loaded = std::count_if(wanted.begin(), wanted.end(), [](const Adapter* adapter) {
      return adapter->residency != Residency::kHost;
    });
    // Eight take 32 pages; a ninth leaves 28, a tenth 24.
    EXPECT_EQ(loaded, growth_pages <= 24 ? 10 : growth_pages <= 28 ? 9 : 8) << growth_pages;
    expect_valid();
    for (const auto& adapter : adapters_) cache_->drop(*adapter);
  }
}

// Nobody is preempted (kDeferredPages) for what was loaded ahead, even while it is being copied.
TEST_F(ResidencyTest, KvTakesWhatWasLoadedAheadBeforeAnybodyIsPreempted) {
  make(16, 1);
  Adapter *first = &add(4), *second = &add(4), *third = &add(4);
  cache_->set_wanted(std::vector<Adapter*>{first, second, third});
  cache_->load_wanted(*room_, 0);
  RoomNeed need;
  need.kv_pages = 10;
  need.other_loads = cache_->num_loading_pages();
  ASSERT_EQ(need.other_loads, 12);
  EXPECT_EQ(room_->make(need), core::Status::kDeferredAdapter);
  for (Adapter* adapter : {first, second, third}) adapter->loaded.synchronize();
  cache_->poll();
  need.other_loads = 0;
  EXPECT_EQ(room_->make(need), core::Status::kOk);
  EXPECT_EQ(pool_->num_free(), 12);
  EXPECT_EQ(first->residency, Residency::kDevice);
  // Loads ahead do not take it back at once: the sequences that grew would.
  std::vector<int32_t> kv(10);
  ASSERT_TRUE(pool_->try_acquire(PageOwner::kKv, kv));
  cache_->load_wanted(*room_, 16);
  EXPECT_EQ(pool_->num_free(), 2);
  need.kv_pages = 6;
  EXPECT_EQ(room_->make(need), core::Status::kOk);
  EXPECT_EQ(first->residency, Residency::kHost);
  need.kv_pages = 7;
  EXPECT_EQ(room_->make(need), core::Status::kDeferredPages);
  for (const int32_t page : kv) pool_->release(page);
  expect_valid();
}

TEST_F(ResidencyTest, CountsAreThoseOfAWalkWhateverHappens) {
  for (const EvictionKind kind : {EvictionKind::kLru, EvictionKind::kCost}) {
    adapters_.clear();
    make(60, 2, kind);
    std::mt19937 random(41);
    for (int i = 0; i < 25; ++i) add(1 + static_cast<int32_t>(random() % 7));
    for (int step = 0; step < 6000; ++step) {
      Adapter& adapter = *adapters_[random() % adapters_.size()];
      switch (random() % 9) {
        case 0:
          cache_->hold(adapter);
          break;
        case 1:
          if (adapter.num_sequences > 0 && adapter.num_in_flight == 0) cache_->let_go(adapter);
          break;
        case 2:
          if (adapter.num_sequences > 0 && adapter.residency != Residency::kHost)
            cache_->begin_step(adapter);
          break;
        case 3:
          if (adapter.num_in_flight > 0) cache_->end_step(adapter);
          break;
        case 4:
          cache_->set_pinned(adapter, random() % 4 == 0);
          break;
        case 5: {
          std::vector<Adapter*> wanted;
          for (int i = 0; i < 4; ++i)
            wanted.push_back(adapters_[random() % adapters_.size()].get());
          cache_->set_wanted(wanted);
          cache_->load_wanted(*room_, static_cast<int32_t>(random() % 10));
          break;
        }
        case 6:
          if (adapter.residency == Residency::kHost && cache_->evict_until(adapter.num_pages())) {
            ASSERT_TRUE(cache_->try_load(adapter, LoadUrgency::kNow));
          }
          break;
        case 7:
          cache_->poll();
          break;
        default:
          if (adapter.num_sequences == 0 && adapter.num_in_flight == 0) cache_->drop(adapter);
      }
      expect_valid();
      ASSERT_EQ(pool_->num_free() + pool_->num_owned(PageOwner::kAdapter), 60);
    }
    for (const auto& adapter : adapters_) cache_->drop(*adapter);
    ASSERT_EQ(pool_->num_free(), 60);
  }
}

TEST_F(ResidencyTest, CountsLoadsThatRowsWaitForAndLoadsInVain) {
  make(12, 1);
  Adapter &read = add(2), &unread = add(2), &dropped = add(2);
  load(read);
  cache_->hold(read);
  cache_->begin_step(read);
  cache_->end_step(read);
  cache_->let_go(read);
  cache_->set_wanted(std::vector<Adapter*>{&unread, &dropped});
  cache_->load_wanted(*room_, 0);
  dropped.loaded.synchronize();
  cache_->poll();
  cache_->drop(dropped);  // its owner wanted it so
  ASSERT_TRUE(cache_->evict_until(12));
  const ResidencyCounters& counters = cache_->counters();
  EXPECT_EQ(counters.loads, 3u);
  EXPECT_EQ(counters.waited_loads, 1u);
  EXPECT_EQ(counters.unused_loads, 1u);
  EXPECT_EQ(counters.evictions, 2u);
  // Loaded again and evicted without being read: earlier reads do not count.
  load(read);
  ASSERT_TRUE(cache_->evict_until(12));
  EXPECT_EQ(counters.unused_loads, 2u);
}

// Eviction events must tell of every adapter that loses its pages: who listens keeps no entry for
// one that is gone.
TEST_F(ResidencyTest, EveryLoadIsFollowedByOneEviction) {
  make(8, 1);
  Adapter& adapter = add(4);
  load(adapter);
  cache_->drop(adapter);
  ResidencyEvent events[4];
  ASSERT_EQ(cache_->take_events(events, 4), 2u);
  EXPECT_TRUE(events[0].is_loaded);
  EXPECT_FALSE(events[1].is_loaded);
  EXPECT_EQ(events[1].adapter_id, adapter.id);
}

// ---- policies

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

}  // namespace
}  // namespace slora::adapter
