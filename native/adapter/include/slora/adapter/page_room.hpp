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

// An adapter that a waiting request needs, to be loaded before a plan names it.
struct AheadNeed {
  const Adapter& adapter;
  int32_t queue_idx;     // its place among those needed soon; 0: the soonest
  int32_t growth_pages;  // that running sequences are about to take
};

class PageRoom {
 public:
  virtual ~PageRoom() = default;

  // kOk: the pool now has what is needed. kDeferredPages or kDeferredAdapter: it cannot now.
  virtual core::Status make(const RoomNeed& need) = 0;

  // Makes room for an adapter ahead of need in free pages and those of idle adapters that nobody
  // wants; false, with nothing changed where the room is one area, if those pages are better left.
  virtual bool try_make_ahead(const AheadNeed& need) = 0;
};

// KV and adapters take each other's pages.
std::unique_ptr<PageRoom> unified_room(memory::PagePool& pool, ResidencyCache& cache);

}  // namespace slora::adapter
