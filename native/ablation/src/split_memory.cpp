// First fit in the region of adapters, and room made in one area without looking at the other.
#include "split_memory.hpp"

#include "slora/memory/page_pool.hpp"

namespace slora::ablation {
namespace {

using adapter::Standing;
using core::Status;
using memory::PageOwner;

class SplitPlacement final : public memory::PagePlacement {
 public:
  SplitPlacement(int32_t num_pages, int32_t region_pages)
      : region_begin_(num_pages - region_pages), kv_(region_begin_), region_(region_pages) {}

  int32_t num_free() const override { return kv_.num_free() + region_.num_free(); }

  bool try_take(PageOwner owner, std::span<int32_t> out_pages) override {
    const auto count = static_cast<int32_t>(out_pages.size());
    if (count == 0) return true;
    if (owner == PageOwner::kKv) {
      if (count > kv_.num_free()) return false;
      for (int32_t& page : out_pages) page = kv_.take_lowest();
      return true;
    }
    // First fit: FreeRuns looks from the high end.
    if (count > region_.longest()) return false;
    int32_t page = region_begin_ + region_.take_run(count);
    for (int32_t& out : out_pages) out = page++;
    return true;
  }

  void put(int32_t page) override {
    if (page < region_begin_) {
      kv_.put(page);
    } else {
      region_.put(page - region_begin_);
    }
  }
  bool is_free(int32_t page) const override {
    return page < region_begin_ ? kv_.is_free(page) : region_.is_free(page - region_begin_);
  }
  bool is_consistent() const override { return kv_.is_consistent() && region_.is_consistent(); }

 private:
  int32_t region_begin_;
  memory::FreeRuns kv_;
  memory::FreeRuns region_;
};

class SplitRoom final : public adapter::PageRoom {
 public:
  SplitRoom(memory::PagePool& pool, adapter::ResidencyCache& cache, int32_t num_pages,
            int32_t region_pages)
      : pool_(pool), cache_(cache), num_pages_(num_pages), region_pages_(region_pages) {}

  Status make(const adapter::RoomNeed& need) override {
    const int32_t kv_pages = num_pages_ - region_pages_;
    if (need.kv_pages > kv_pages - pool_.num_owned(PageOwner::kKv)) return Status::kDeferredPages;
    while (!fits(need.adapters)) {
      if (!cache_.evict_one(Standing::kIdle) && !cache_.evict_one(Standing::kWanted) &&
          !cache_.evict_one(Standing::kHeld))
        return Status::kDeferredAdapter;
    }
    return Status::kOk;
  }

  // KV does not grow into the region, so there is nothing to leave.
  bool try_make_ahead(const adapter::AheadNeed& need) override {
    // Only if all idle ones together are enough: they are not spent on what then does not fit.
    const int32_t free = region_pages_ - pool_.num_owned(PageOwner::kAdapter);
    if (free + cache_.num_unwanted_pages() < need.adapter.num_pages()) return false;
    const auto* one = &need.adapter;
    while (!fits(std::span(const_cast<adapter::Adapter* const*>(&one), 1))) {
      if (!cache_.evict_one(Standing::kIdle)) return false;
    }
    return true;
  }

 private:
  // Whether adapters fit one after another, each in one piece: tried on a copy.
  bool fits(std::span<adapter::Adapter* const> adapters) const {
    if (adapters.empty()) return true;
    memory::FreeRuns region(region_pages_);
    for (int32_t page = 0; page < region_pages_; ++page) {
      if (pool_.owner(num_pages_ - region_pages_ + page) != PageOwner::kFree) region.take(page);
    }
    for (const adapter::Adapter* adapter : adapters) {
      if (adapter->num_pages() > region.longest()) return false;
      region.take_run(adapter->num_pages());
    }
    return true;
  }

  memory::PagePool& pool_;
  adapter::ResidencyCache& cache_;
  int32_t num_pages_;
  int32_t region_pages_;
};

}  // namespace

std::unique_ptr<memory::PagePlacement> split_placement(int32_t num_pages, int32_t region_pages) {
  return std::make_unique<SplitPlacement>(num_pages, region_pages);
}

std::unique_ptr<adapter::PageRoom> split_room(memory::PagePool& pool,
                                              adapter::ResidencyCache& cache, int32_t num_pages,
                                              int32_t region_pages) {
  return std::make_unique<SplitRoom>(pool, cache, num_pages, region_pages);
}

}  // namespace slora::ablation
