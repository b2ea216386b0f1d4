// One area for everybody: the lowest pages to KV, the highest runs to adapters.
#include "slora/memory/page_placement.hpp"

#include <algorithm>

namespace slora::memory {
namespace {

class Unified final : public PagePlacement {
 public:
  explicit Unified(int32_t num_pages) : free_(num_pages) {}

  int32_t num_free() const override { return free_.num_free(); }

  bool try_take(PageOwner owner, std::span<int32_t> out_pages) override {
    if (static_cast<int32_t>(out_pages.size()) > free_.num_free()) return false;
    if (owner == PageOwner::kKv) {
      for (int32_t& page : out_pages) page = free_.take_lowest();
    } else {
      take_runs(out_pages);
    }
    return true;
  }

  void put(int32_t page) override { free_.put(page); }
  bool is_free(int32_t page) const override { return free_.is_free(page); }
  bool is_consistent() const override { return free_.is_consistent(); }

 private:
  void take_runs(std::span<int32_t> out_pages) {
    for (size_t taken = 0; taken < out_pages.size();) {
      const int32_t run = std::min(static_cast<int32_t>(out_pages.size() - taken), free_.longest());
      int32_t page = free_.take_run(run);
      for (int32_t i = 0; i < run; ++i) out_pages[taken++] = page++;
    }
    std::sort(out_pages.begin(), out_pages.end());
  }

  FreeRuns free_;
};

}  // namespace

std::unique_ptr<PagePlacement> unified_placement(int32_t num_pages) {
  return std::make_unique<Unified>(num_pages);
}

}  // namespace slora::memory
