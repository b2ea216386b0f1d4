// Who is evicted first, what may be loaded ahead of need; counts against a walk over thousands of
// random changes.
#include "residency_test.hpp"

#include <algorithm>

namespace slora::adapter {
namespace {

using memory::PageOwner;

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

}  // namespace
}  // namespace slora::adapter
