// Eviction needs no device work: a page is overwritten by the copy or the kernel that gets it next,
// and both are ordered after every step that read it, because a page leaves an adapter only when no
// step in flight names it.
#include "slora/adapter/residency_cache.hpp"

#include <algorithm>

#include "slora/core/check.hpp"

namespace slora::adapter {

ResidencyCache::ResidencyCache(memory::PagePool& pool, const memory::Arena& arena,
                               std::shared_ptr<device::Device> device)
    : pool_(pool), arena_(arena), copy_stream_(std::move(device), device::StreamKind::kCopy) {}

bool ResidencyCache::is_evictable(const Adapter& adapter) {
  return adapter.residency == Residency::kDevice && !adapter.is_in_use() &&
         !adapter.is_pinned.load();
}

int32_t ResidencyCache::num_evictable_pages() const {
  int32_t pages = 0;
  for (const Adapter* adapter : lru_) {
    if (is_evictable(*adapter)) pages += adapter->num_pages();
  }
  return pages;
}

int32_t ResidencyCache::num_idle_pages() const {
  int32_t pages = 0;
  for (const Adapter* adapter : lru_) {
    if (is_evictable(*adapter) && adapter->num_sequences == 0) pages += adapter->num_pages();
  }
  return pages;
}

void ResidencyCache::give_back(Adapter& adapter) {
  for (const int32_t page : adapter.pages) pool_.release(page);
  adapter.pages.clear();
  adapter.residency = Residency::kHost;
  lru_.erase(adapter.lru_position);
}

void ResidencyCache::evict(Adapter& adapter) {
  give_back(adapter);
  ++counters_.evictions;
  events_.push_back({adapter.id, false});
}

bool ResidencyCache::evict_until(int32_t free_pages) {
  for (const bool may_be_held : {false, true}) {
    for (auto it = lru_.begin(); it != lru_.end() && pool_.num_free() < free_pages;) {
      Adapter& adapter = **it++;
      if (is_evictable(adapter) && (may_be_held || adapter.num_sequences == 0)) evict(adapter);
    }
  }
  return pool_.num_free() >= free_pages;
}

bool ResidencyCache::try_load(Adapter& adapter) {
  SLORA_CHECK(adapter.residency == Residency::kHost);
  std::vector<int32_t> pages(static_cast<size_t>(adapter.num_pages()));
  if (!pool_.try_acquire(memory::PageOwner::kAdapter, pages)) return false;
  // Ascending ids: neighbours in the arena share a copy.
  std::sort(pages.begin(), pages.end());
  adapter.pages = std::move(pages);
  adapter.residency = Residency::kLoading;
  adapter.lru_position = lru_.insert(lru_.end(), &adapter);
  loading_.push_back(&adapter);

  const int64_t page_bytes = arena_.geometry().page_bytes;
  const auto num_pages = static_cast<int32_t>(adapter.pages.size());
  for (int32_t layer = 0; layer < arena_.geometry().num_layers; ++layer) {
    const uint8_t* source = adapter.image.layer_data(layer);
    for (int32_t begin = 0, end; begin < num_pages; begin = end) {
      end = begin + 1;
      while (end < num_pages && adapter.pages[static_cast<size_t>(end)] ==
                                    adapter.pages[static_cast<size_t>(end - 1)] + 1) {
        ++end;
      }
      copy_stream_.copy(arena_.page(layer, adapter.pages[static_cast<size_t>(begin)]),
                        source + begin * page_bytes,
                        static_cast<uint64_t>((end - begin) * page_bytes));
    }
  }
  adapter.loaded.record(copy_stream_);
  ++counters_.loads;
  counters_.load_bytes += adapter.image.layout().image_bytes;
  return true;
}

void ResidencyCache::touch(Adapter& adapter) {
  lru_.splice(lru_.end(), lru_, adapter.lru_position);
  ++counters_.hits;
}

void ResidencyCache::order_after_load(Adapter& adapter, device::Stream& compute) {
  if (adapter.residency == Residency::kLoading) compute.wait(adapter.loaded);
}

void ResidencyCache::drop(Adapter& adapter) {
  if (adapter.residency == Residency::kHost) return;
  if (adapter.residency == Residency::kLoading) {
    // The copy reads the image that is about to go and writes pages that are about to be someone
    // else's.
    adapter.loaded.synchronize();
    std::erase(loading_, &adapter);
  }
  give_back(adapter);
}

void ResidencyCache::poll() {
  if (is_led_) return;
  std::erase_if(loading_, [this](Adapter* adapter) {
    if (!adapter->loaded.is_complete()) return false;
    adapter->residency = Residency::kDevice;
    events_.push_back({adapter->id, true});
    if (records_settled_) settled_.push_back(adapter->id);
    return true;
  });
}

void ResidencyCache::settle(Adapter& adapter) {
  adapter.loaded.synchronize();
  adapter.residency = Residency::kDevice;
  std::erase(loading_, &adapter);
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

}  // namespace slora::adapter
