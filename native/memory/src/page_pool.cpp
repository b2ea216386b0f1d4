// Only owner_[page] knows whose a page is, so all returns go through release(), never to free_
// directly.
#include "slora/memory/page_pool.hpp"

#include "slora/core/check.hpp"

namespace slora::memory {

PagePool::PagePool(int32_t num_pages, std::unique_ptr<PagePlacement> placement)
    : owner_(static_cast<size_t>(num_pages), PageOwner::kFree),
      references_(static_cast<size_t>(num_pages), 0),
      free_(std::move(placement)) {
  num_owned_[static_cast<size_t>(PageOwner::kFree)] = num_pages;
}

bool PagePool::try_acquire(PageOwner owner, std::span<int32_t> out_pages) {
  SLORA_CHECK(owner != PageOwner::kFree);
  const int32_t count = static_cast<int32_t>(out_pages.size());
  if (!free_->try_take(owner, out_pages)) return false;
  for (const int32_t page : out_pages) {
    owner_[static_cast<size_t>(page)] = owner;
    references_[static_cast<size_t>(page)] = 1;
  }
  num_owned_[static_cast<size_t>(owner)] += count;
  num_owned_[static_cast<size_t>(PageOwner::kFree)] -= count;
  return true;
}

void PagePool::retain(int32_t page) {
  SLORA_CHECK(page >= 0 && page < num_pages() && references_[static_cast<size_t>(page)] > 0);
  ++references_[static_cast<size_t>(page)];
}

void PagePool::release(int32_t page) {
  SLORA_CHECK(page >= 0 && page < num_pages() && references_[static_cast<size_t>(page)] > 0);
  if (--references_[static_cast<size_t>(page)] > 0) return;
  PageOwner& owner = owner_[static_cast<size_t>(page)];
  --num_owned_[static_cast<size_t>(owner)];
  ++num_owned_[static_cast<size_t>(PageOwner::kFree)];
  owner = PageOwner::kFree;
  free_->put(page);
}

bool PagePool::is_valid(std::string* why) const {
  auto broken = [why](auto&&... parts) {
    if (why) *why = core::str_cat(parts...);
    return false;
  };
  int32_t counted[3] = {0, 0, 0};
  for (int32_t page = 0; page < num_pages(); ++page) {
    const PageOwner owner = owner_[static_cast<size_t>(page)];
    ++counted[static_cast<size_t>(owner)];
    const int32_t references = references_[static_cast<size_t>(page)];
    if ((owner == PageOwner::kFree) != (references == 0)) {
      return broken("page ", page, " has owner ", static_cast<int>(owner), " and ", references,
                    " references");
    }
  }
  for (int owner = 0; owner < 3; ++owner) {
    if (counted[owner] != num_owned_[owner]) {
      return broken("owner ", owner, " has ", counted[owner], " pages, counted as ",
                    num_owned_[owner]);
    }
  }
  if (num_free() != counted[0])
    return broken("the free runs hold ", num_free(), " of ", counted[0], " free pages");
  for (int32_t page = 0; page < num_pages(); ++page) {
    if (free_->is_free(page) != (owner(page) == PageOwner::kFree))
      return broken("the free runs have page ", page, " wrongly");
  }
  if (!free_->is_consistent()) return broken("a node of the free runs differs from its children");
  return true;
}

}  // namespace slora::memory
