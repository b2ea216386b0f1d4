// The engine's own way: one area, adapters before sequences.
#include "slora/adapter/page_room.hpp"

#include "slora/core/check.hpp"

namespace slora::adapter {
namespace {

using core::Status;

class Unified final : public PageRoom {
 public:
  Unified(memory::PagePool& pool, ResidencyCache& cache) : pool_(pool), cache_(cache) {}

  Status make(const RoomNeed& need) override {
    int32_t needed = need.kv_pages;
    for (const Adapter* adapter : need.adapters) needed += adapter->num_pages();
    if (pool_.num_free() >= needed) return Status::kOk;
    const int32_t available = pool_.num_free() + cache_.num_evictable_pages();
    if (available < need.kv_pages) {
      // Loads that end soon make their pages takeable: no reason to preempt anybody.
      return available + need.other_loads >= need.kv_pages ? Status::kDeferredAdapter
                                                           : Status::kDeferredPages;
    }
    if (available < needed) return Status::kDeferredAdapter;
    SLORA_CHECK(cache_.evict_until(needed));
    return Status::kOk;
  }

  bool try_make_ahead(const Adapter& adapter, int32_t spare_pages) override {
    const int32_t needed = adapter.num_pages();
    if (pool_.num_free() + cache_.num_unwanted_pages() < needed) return false;
    if (pool_.num_free() + cache_.num_evictable_pages() < needed + spare_pages) return false;
    while (pool_.num_free() < needed) SLORA_CHECK(cache_.evict_one(Standing::kIdle));
    return true;
  }

 private:
  memory::PagePool& pool_;
  ResidencyCache& cache_;
};

}  // namespace

std::unique_ptr<PageRoom> unified_room(memory::PagePool& pool, ResidencyCache& cache) {
  return std::make_unique<Unified>(pool, cache);
}

}  // namespace slora::adapter
