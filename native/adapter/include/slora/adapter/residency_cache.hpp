// Which adapters are in pool pages. Adapters stay after use, in pages that nothing else needs; the
// one that was used longest ago goes first, and never one that a step in flight reads, that is
// loading or that is pinned.
//
// Used under the engine's lock.
#pragma once

#include <cstdint>
#include <list>
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
};

class ResidencyCache {
 public:
  ResidencyCache(memory::PagePool& pool, const memory::Arena& arena,
                 std::shared_ptr<device::Device> device);

  // Pages that evict_until could free now. O(resident adapters).
  int32_t num_evictable_pages() const;
  // Of these, pages of adapters that no sequence holds: what can be taken without loading it again
  // soon.
  int32_t num_idle_pages() const;
  int32_t num_resident() const { return static_cast<int32_t>(lru_.size()); }
  const ResidencyCounters& counters() const { return counters_; }

  // Evicts until `free_pages` pages are free: the coldest of those that no sequence holds, then the
  // coldest of those that only waiting sequences hold; false (with whatever it evicted gone)
  // if it cannot.
  bool evict_until(int32_t free_pages);

  // Takes pages and starts the copy; false, with nothing changed, if too few pages are free.
  bool try_load(Adapter& adapter);

  // Marks a resident or loading adapter as used now, and counts a hit.
  void touch(Adapter& adapter);

  // Makes `compute` wait for the adapter's copy if that has not ended.
  void order_after_load(Adapter& adapter, device::Stream& compute);

  // Gives the pages of a resident adapter back (its revision is gone). Waits for a copy under way.
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

 private:
  static bool is_evictable(const Adapter& adapter);
  void evict(Adapter& adapter);
  void give_back(Adapter& adapter);

  memory::PagePool& pool_;
  const memory::Arena& arena_;
  device::Stream copy_stream_;
  std::list<Adapter*> lru_;  // loading and resident adapters, used longest ago first
  std::vector<Adapter*> loading_;
  std::vector<ResidencyEvent> events_;
  ResidencyCounters counters_;
  bool is_led_ = false;
  bool records_settled_ = false;
  std::vector<uint64_t> settled_;
};

}  // namespace slora::adapter
