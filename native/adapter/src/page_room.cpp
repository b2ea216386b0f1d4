// The engine's own way: one area, adapters before sequences.
#include "slora/adapter/page_room.hpp"

#include "slora/core/check.hpp"

namespace slora::adapter {
namespace {

using core::Status;

// Requests that the next plan or two may admit: eight prompts of 256 tokens fill a step of 2,048.
constexpr int32_t kNumNext = 8;

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

  bool try_make_ahead(const AheadNeed& need) override {
    const int32_t needed = need.adapter.num_pages();
    if (!is_worth_it(need)) return false;
    while (pool_.num_free() < needed) SLORA_CHECK(cache_.evict_one(Standing::kIdle));
    return true;
  }

 private:
  // Growth takes these pages back by evicting what they were taken for. So an adapter whose turn is
  // far leaves the pages that sequences grow into: else it is loaded when one ends and evicted when
  // the others grow, several times before its turn. The next few may take them, for the scheduler
  // admits nobody who does not leave each sequence a page; where half of that is gone already,
  // nobody's turn is near.
  bool is_worth_it(const AheadNeed& need) const {
    const int32_t needed = need.adapter.num_pages();
    const int32_t untaken = pool_.num_free() + cache_.num_unwanted_pages();
    if (need.queue_idx >= kNumNext) return untaken >= needed + need.growth_pages;
    return untaken >= needed &&
           pool_.num_free() + cache_.num_idle_pages() >= needed + need.growth_pages / 2;
  }

  memory::PagePool& pool_;
  ResidencyCache& cache_;
};

}  // namespace

std::unique_ptr<PageRoom> unified_room(memory::PagePool& pool, ResidencyCache& cache) {
  return std::make_unique<Unified>(pool, cache);
}

}  // namespace slora::adapter
