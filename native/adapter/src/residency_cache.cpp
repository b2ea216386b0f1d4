// Eviction needs no device work: a page is overwritten by the copy or the kernel that gets it next,
// and both are ordered after every step that read it, because a page leaves an adapter only when no
// step in flight names it.
#include "slora/adapter/residency_cache.hpp"

#include <algorithm>

#include "slora/adapter/page_room.hpp"
#include "slora/core/check.hpp"

namespace slora::adapter {
namespace {

// Loads ahead of need share the link with loads that rows wait for: this much, 5 ms of a 50 GB/s
// link, or one adapter if that is larger.
constexpr uint64_t kMaxAheadBytes = 256u << 20;

}  // namespace

ResidencyCache::ResidencyCache(memory::PagePool& pool, const memory::Arena& arena,
                               std::shared_ptr<device::Device> device, EvictionKind eviction)
    : pool_(pool), loader_(arena, std::move(device)), policy_(make_eviction_policy(eviction)) {}

// ---- standing

Standing ResidencyCache::standing_of(const Adapter& adapter) {
  if (adapter.residency != Residency::kDevice || adapter.is_in_use() || adapter.is_pinned.load())
    return Standing::kFixed;
  if (adapter.num_sequences > 0) return Standing::kHeld;
  return adapter.is_wanted ? Standing::kWanted : Standing::kIdle;
}

void ResidencyCache::refile(Adapter& adapter) {
  const Standing standing = standing_of(adapter);
  if (standing == adapter.standing) return;
  const auto from = static_cast<size_t>(adapter.standing), to = static_cast<size_t>(standing);
  if (has_rank(adapter.standing)) takeable_[from].erase(entry_of(adapter));
  if (adapter.standing != Standing::kFixed) standing_pages_[from] -= adapter.num_pages();
  adapter.standing = standing;
  if (has_rank(standing)) takeable_[to].insert(entry_of(adapter));
  if (standing != Standing::kFixed) standing_pages_[to] += adapter.num_pages();
}

void ResidencyCache::rerank(Adapter& adapter) {
  const auto standing = static_cast<size_t>(adapter.standing);
  const bool is_filed = has_rank(adapter.standing);
  if (is_filed) takeable_[standing].erase(entry_of(adapter));
  adapter.rank = policy_->rank(adapter.item);
  adapter.rank_order = ++num_ranks_;
  if (is_filed) takeable_[standing].insert(entry_of(adapter));
}

void ResidencyCache::hold(Adapter& adapter) {
  ++adapter.num_sequences;
  policy_->used(adapter.item);
  if (adapter.residency != Residency::kHost) rerank(adapter);
  refile(adapter);
}

// The end of a use is a use: what was busy until now is not cold because it began long ago.
void ResidencyCache::let_go(Adapter& adapter) {
  --adapter.num_sequences;
  if (adapter.residency != Residency::kHost) rerank(adapter);
  refile(adapter);
}

void ResidencyCache::set_in_plan(Adapter& adapter, bool is_in_plan) {
  adapter.is_in_plan = is_in_plan;
  refile(adapter);
}

void ResidencyCache::begin_step(Adapter& adapter) {
  ++adapter.num_in_flight;
  adapter.is_unused = false;
  refile(adapter);
}

void ResidencyCache::end_step(Adapter& adapter) {
  --adapter.num_in_flight;
  refile(adapter);
}

void ResidencyCache::set_pinned(Adapter& adapter, bool is_pinned) {
  adapter.is_pinned.store(is_pinned);
  refile(adapter);
}

void ResidencyCache::set_wanted(std::span<Adapter* const> adapters) {
  for (Adapter* adapter : wanted_) adapter->is_wanted = false;
  for (Adapter* adapter : adapters) adapter->is_wanted = true;
  for (Adapter* adapter : wanted_) refile(*adapter);
  wanted_.assign(adapters.begin(), adapters.end());
  for (Adapter* adapter : wanted_) refile(*adapter);
}

// ---- pages

void ResidencyCache::give_back(Adapter& adapter) {
  for (const int32_t page : adapter.pages) pool_.release(page);
  adapter.pages.clear();
  adapter.residency = Residency::kHost;
  --num_resident_;
  refile(adapter);
}

// One that is about to be used goes out of the policy's order, which shall not learn from it.
void ResidencyCache::evict(Adapter& adapter) {
  if (has_rank(adapter.standing)) policy_->evicted(adapter.item, adapter.rank);
  give_back(adapter);
  ++counters_.evictions;
  counters_.unused_loads += adapter.is_unused;
  events_.push_back({adapter.id, false});
}

bool ResidencyCache::evict_one(Standing standing) {
  if (standing == Standing::kWanted) {
    const auto last = std::find_if(wanted_.rbegin(), wanted_.rend(), [](const Adapter* adapter) {
      return adapter->standing == Standing::kWanted;
    });
    if (last == wanted_.rend()) return false;
    evict(**last);
    return true;
  }
  std::set<Entry>& takeable = takeable_[static_cast<size_t>(standing)];
  if (takeable.empty()) return false;
  evict(*takeable.begin()->adapter);
  return true;
}

bool ResidencyCache::evict_until(int32_t free_pages) {
  for (const Standing standing : {Standing::kIdle, Standing::kWanted, Standing::kHeld}) {
    while (pool_.num_free() < free_pages && evict_one(standing)) {
    }
  }
  return pool_.num_free() >= free_pages;
}

bool ResidencyCache::try_load(Adapter& adapter, LoadUrgency urgency) {
  SLORA_CHECK(adapter.residency == Residency::kHost);
  std::vector<int32_t> pages(static_cast<size_t>(adapter.num_pages()));
  if (!pool_.try_acquire(memory::PageOwner::kAdapter, pages)) return false;
  adapter.pages = std::move(pages);
  adapter.residency = Residency::kLoading;
  adapter.is_ahead = urgency == LoadUrgency::kAhead;
  ++num_resident_;
  loading_.push_back(&adapter);
  loading_pages_ += adapter.num_pages();
  if (adapter.is_ahead) ahead_bytes_ += adapter.item.load_bytes;
  loader_.start(adapter, urgency);
  rerank(adapter);
  ++counters_.loads;
  counters_.waited_loads += urgency == LoadUrgency::kNow;
  adapter.is_unused = true;
  counters_.load_bytes += adapter.item.load_bytes;
  return true;
}

void ResidencyCache::load_wanted(PageRoom& room, int32_t growth_pages) {
  int32_t queue_idx = 0;
  for (Adapter* adapter : wanted_) {
    const AheadNeed need{*adapter, queue_idx++, growth_pages};
    if (adapter->residency != Residency::kHost) continue;
    const bool is_first = ahead_bytes_ == 0;
    if (!is_first && ahead_bytes_ + adapter->item.load_bytes > kMaxAheadBytes) return;
    // The rest of the list is needed later than this one: what does not fit ends it.
    if (!room.try_make_ahead(need)) return;
    SLORA_CHECK(try_load(*adapter, LoadUrgency::kAhead));
  }
}

void ResidencyCache::order_after_load(const Adapter& adapter, device::Stream& compute) const {
  if (adapter.residency == Residency::kLoading) compute.wait(adapter.loaded);
}

void ResidencyCache::drop(Adapter& adapter) {
  if (adapter.is_wanted) {
    adapter.is_wanted = false;
    std::erase(wanted_, &adapter);
  }
  if (adapter.residency == Residency::kLoading) {
    // The copy reads the image that is about to go and writes pages that are about to be someone
    // else's.
    adapter.loaded.synchronize();
    std::erase(loading_, &adapter);
    become_resident(adapter);
  }
  if (adapter.residency == Residency::kHost) return;
  give_back(adapter);
  events_.push_back({adapter.id, false});
}

void ResidencyCache::become_resident(Adapter& adapter) {
  loader_.finish(adapter);
  loading_pages_ -= adapter.num_pages();
  if (adapter.is_ahead) ahead_bytes_ -= adapter.item.load_bytes;
  adapter.is_ahead = false;
  adapter.residency = Residency::kDevice;
  events_.push_back({adapter.id, true});
  refile(adapter);
}

void ResidencyCache::poll() {
  if (is_led_) return;
  std::erase_if(loading_, [this](Adapter* adapter) {
    if (!adapter->loaded.is_complete()) return false;
    become_resident(*adapter);
    if (records_settled_) settled_.push_back(adapter->id);
    return true;
  });
}

void ResidencyCache::settle(Adapter& adapter) {
  adapter.loaded.synchronize();
  std::erase(loading_, &adapter);
  become_resident(adapter);
}

size_t ResidencyCache::take_events(ResidencyEvent* out_events, size_t capacity) {
  poll();
  if (capacity == 0)
    events_.clear();  // a caller that never asks must not make the list grow for ever
  const size_t count = std::min(capacity, events_.size());
  std::copy_n(events_.begin(), count, out_events);
  events_.erase(events_.begin(), events_.begin() + static_cast<std::ptrdiff_t>(count));
  return count;
}

bool ResidencyCache::is_valid(std::span<const Adapter* const> adapters, std::string* why) const {
  int32_t pages[kNumStandings] = {}, num_resident = 0, loading_pages = 0;
  uint64_t ahead_bytes = 0;
  for (const Adapter* adapter : adapters) {
    if (adapter->standing != standing_of(*adapter)) {
      *why = core::str_cat("adapter ", adapter->id, " is filed under standing ",
                           static_cast<int>(adapter->standing));
      return false;
    }
    if (adapter->standing != Standing::kFixed)
      pages[static_cast<size_t>(adapter->standing)] += adapter->num_pages();
    num_resident += adapter->residency != Residency::kHost;
    if (adapter->residency != Residency::kLoading) continue;
    loading_pages += adapter->num_pages();
    if (adapter->is_ahead) ahead_bytes += adapter->item.load_bytes;
  }
  if (!std::equal(std::begin(pages), std::end(pages), std::begin(standing_pages_)) ||
      num_resident != num_resident_ || loading_pages != loading_pages_ ||
      ahead_bytes != ahead_bytes_) {
    *why =
        core::str_cat("the cache counts ", num_resident_, " adapters, ", num_evictable_pages(),
                      " evictable and ", loading_pages_, " loading pages; a walk finds ",
                      num_resident, ", ", pages[0] + pages[1] + pages[2], " and ", loading_pages);
    return false;
  }
  return true;
}

}  // namespace slora::adapter
