// The unified page pool: which page is whose. Knows no requests, no adapters' contents and no
// memory addresses.
//
// KV pages and adapter pages share one free list, so a burst of long prompts can borrow the room
// that idle adapters hold and give it back. Pages are reference-counted: a page that several
// sequences share goes with the last of them. KV takes the lowest free pages and adapters the
// highest run, so that the many single pages of KV do not break up what adapters are copied into.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "slora/memory/page_owner.hpp"
#include "slora/memory/page_placement.hpp"

namespace slora::memory {

class PagePool {
 public:
  explicit PagePool(int32_t num_pages) : PagePool(num_pages, unified_placement(num_pages)) {}
  PagePool(int32_t num_pages, std::unique_ptr<PagePlacement> placement);

  int32_t num_pages() const { return static_cast<int32_t>(owner_.size()); }
  int32_t num_free() const { return free_->num_free(); }
  int32_t num_owned(PageOwner owner) const { return num_owned_[static_cast<size_t>(owner)]; }

  // Takes out_pages.size() pages for `owner` with one reference each, ascending, or takes none and
  // returns false. O(pages taken * log pages).
  bool try_acquire(PageOwner owner, std::span<int32_t> out_pages);

  // One more reference on a page that is in use.
  void retain(int32_t page);

  // One reference less; the page is free with the last.
  void release(int32_t page);

  PageOwner owner(int32_t page) const { return owner_[static_cast<size_t>(page)]; }
  int32_t num_references(int32_t page) const { return references_[static_cast<size_t>(page)]; }

  // Walks every page: free + kv + adapter = total; the free list holds each free page once and no
  // other; a page is referenced if and only if it is owned. On false, `why` names the first broken
  // rule.
  bool is_valid(std::string* why) const;

 private:
  std::vector<PageOwner> owner_;
  std::vector<int32_t> references_;
  std::unique_ptr<PagePlacement> free_;
  int32_t num_owned_[3] = {0, 0, 0};
};

}  // namespace slora::memory
