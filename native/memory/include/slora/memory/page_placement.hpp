// Which free pages an owner gets: the part of the pool that an experiment may do otherwise. The
// pool's own answer is one area for everybody.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "slora/memory/free_runs.hpp"
#include "slora/memory/page_owner.hpp"

namespace slora::memory {

class PagePlacement {
 public:
  virtual ~PagePlacement() = default;
  virtual int32_t num_free() const = 0;
  // Takes out_pages.size() pages, ascending, or takes none and returns false.
  virtual bool try_take(PageOwner owner, std::span<int32_t> out_pages) = 0;
  virtual void put(int32_t page) = 0;
  virtual bool is_free(int32_t page) const = 0;
  virtual bool is_consistent() const = 0;
};

// KV takes the lowest pages, adapters the highest run that fits, or as few runs as a greedy choice
// of the longest finds.
std::unique_ptr<PagePlacement> unified_placement(int32_t num_pages);

}  // namespace slora::memory
