// How room is made for a plan: whose pages go so that KV can grow and adapters can be loaded. A
// part that an experiment may do otherwise.
#pragma once

#include <memory>
#include <span>

#include "slora/adapter/residency_cache.hpp"
#include "slora/core/status.hpp"

namespace slora::adapter {

// What a plan needs that it does not have.
struct RoomNeed {
  int32_t kv_pages = 0;
  std::span<Adapter* const> adapters;  // to be loaded
  int32_t other_loads = 0;             // pages of loads under way that the plan does not use
};

class PageRoom {
 public:
  virtual ~PageRoom() = default;

  // kOk: the pool now has what is needed. kDeferredPages or kDeferredAdapter: it cannot now.
  virtual core::Status make(const RoomNeed& need) = 0;

  // Makes room for an adapter ahead of need in free pages and those of idle adapters that nobody
  // wants, if `spare_pages` free or evictable pages remain.
  virtual bool try_make_ahead(const Adapter& adapter, int32_t spare_pages) = 0;
};

// KV and adapters take each other's pages.
std::unique_ptr<PageRoom> unified_room(memory::PagePool& pool, ResidencyCache& cache);

}  // namespace slora::adapter
