// Which adapters are in pool pages. Adapters stay after use, in pages that nothing else needs; a
// policy says which of them goes first, and never one that a step in flight reads, that is loading
// or that is pinned.
//
// Every change that bears on whether an adapter may be evicted goes through here, so that counts of
// evictable pages are kept and not summed: nothing here walks all residents. Used under the
// engine's lock.
#pragma once

#include <cstdint>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include "slora/adapter/adapter.hpp"
#include "slora/memory/arena.hpp"
#include "slora/memory/page_pool.hpp"

namespace slora::adapter {

struct ResidencyEvent {
  uint64_t adapter_id;
  bool is_loaded;  // else evicted
};

struct ResidencyCounters {
  uint64_t loads = 0;
  uint64_t load_bytes = 0;
  uint64_t hits = 0;
  uint64_t evictions = 0;
  uint64_t waited_loads = 0;  // of the loads: those that a row waited for
  uint64_t unused_loads = 0;  // evicted before any step read them
};

class PageRoom;

class ResidencyCache {
 public:
  ResidencyCache(memory::PagePool& pool, const memory::Arena& arena,
                 std::shared_ptr<device::Device> device, EvictionKind eviction);

  // Pages that evict_until could free now.
  int32_t num_evictable_pages() const {
    return num_idle_pages() + standing_pages_[static_cast<size_t>(Standing::kHeld)];
  }
  // Of these, pages of adapters that no sequence holds: what can be taken without loading it again
  // for one of them.
  int32_t num_idle_pages() const {
    return standing_pages_[static_cast<size_t>(Standing::kIdle)] +
           standing_pages_[static_cast<size_t>(Standing::kWanted)];
  }
  // Of these, pages of adapters that nobody wants soon either.
  int32_t num_unwanted_pages() const {
    return standing_pages_[static_cast<size_t>(Standing::kIdle)];
  }
  // Pages that copies are being written into.
  int32_t num_loading_pages() const { return loading_pages_; }
  int32_t num_resident() const { return num_resident_; }
  const ResidencyCounters& counters() const { return counters_; }

  // ---- who uses an adapter

  void hold(Adapter& adapter);    // one more sequence
  void let_go(Adapter& adapter);  // one less
  void set_in_plan(Adapter& adapter, bool is_in_plan);
  void begin_step(Adapter& adapter);  // one more step in flight reads its pages
  void end_step(Adapter& adapter);
  void set_pinned(Adapter& adapter, bool is_pinned);
  // These and no others will be needed soon, the soonest first.
  void set_wanted(std::span<Adapter* const> adapters);

  // ---- pages

  // Evicts until `free_pages` pages are free, idle adapters first (see Standing); false (with
  // whatever it evicted gone) if it cannot.
  bool evict_until(int32_t free_pages);
  // Evicts one of a standing: of the wanted the one needed last, of others that of the lowest rank;
  // false if there is none.
  bool evict_one(Standing standing);

  // Takes pages and starts the copy; false, with nothing changed, if too few pages are free.
  bool try_load(Adapter& adapter, LoadUrgency urgency);

  // Makes wanted adapters resident, the soonest first, as far as `room` makes room for them ahead
  // of need and not too much is on its way already. `growth_pages`: see AheadNeed.
  void load_wanted(PageRoom& room, int32_t growth_pages);

  // Counts a hit: a step found it resident or loading.
  void touch() { ++counters_.hits; }

  // Makes `compute` wait for the adapter's copy if that has not ended: for all of it, or, called
  // for every layer in order, for each layer's part before that layer.
  void order_after_load(const Adapter& adapter, device::Stream& compute) const;
  void order_layer(const Adapter& adapter, int32_t layer_idx, device::Stream& compute) const {
    loader_.order_layer(adapter, layer_idx, compute);
  }

  // Gives the pages of an adapter that nobody uses back and forgets it. Waits for a copy under way.
  void drop(Adapter& adapter);

  // Turns copies that have ended into residency.
  void poll();

  // ---- tensor parallel: when a copy has ended depends on time, and ranks must not differ

  // Rank 0 says which adapters have become resident; take_settled() hands out those since the last
  // call.
  void lead() { records_settled_ = true; }
  std::vector<uint64_t> take_settled() { return std::exchange(settled_, {}); }
  // Other ranks do not poll: settle() waits for the copy and makes the adapter resident.
  void follow() { is_led_ = true; }
  void settle(Adapter& adapter);

  // Polls, then hands out up to `capacity` events, oldest first; with capacity 0 events are thrown
  // away.
  size_t take_events(ResidencyEvent* out_events, size_t capacity);

  // The counts are those of a walk over `adapters`, which are all that there are.
  bool is_valid(std::span<const Adapter* const> adapters, std::string* why) const;

 private:
  static constexpr size_t kNumStandings = 4;

  // In the order of eviction.
  struct Entry {
    double rank;
    uint64_t order;
    Adapter* adapter;
    bool operator<(const Entry& other) const {
      return rank != other.rank ? rank < other.rank : order < other.order;
    }
  };

  static Standing standing_of(const Adapter& adapter);
  static bool has_rank(Standing standing) {
    return standing == Standing::kIdle || standing == Standing::kHeld;
  }
  static Entry entry_of(Adapter& adapter) { return {adapter.rank, adapter.rank_order, &adapter}; }
  // After anything that standing_of reads has changed.
  void refile(Adapter& adapter);
  // Used now: asks the policy for its rank again.
  void rerank(Adapter& adapter);
  void become_resident(Adapter& adapter);
  void evict(Adapter& adapter);
  void give_back(Adapter& adapter);

  memory::PagePool& pool_;
  PageLoader loader_;
  std::unique_ptr<EvictionPolicy> policy_;
  std::set<Entry> takeable_[kNumStandings];  // of standings with ranks
  int32_t standing_pages_[kNumStandings] = {};
  int32_t num_resident_ = 0;  // loading ones too
  int32_t loading_pages_ = 0;
  uint64_t ahead_bytes_ = 0;  // of loads under way that no row waited for
  uint64_t num_ranks_ = 0;
  std::vector<Adapter*> wanted_;  // the soonest first; few enough to be walked
  std::vector<Adapter*> loading_;
  std::vector<ResidencyEvent> events_;
  ResidencyCounters counters_;
  bool is_led_ = false;
  bool records_settled_ = false;
  std::vector<uint64_t> settled_;
};

}  // namespace slora::adapter
