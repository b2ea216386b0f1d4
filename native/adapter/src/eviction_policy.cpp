// The two policies. bench/residency replays the traces through both.
#include "slora/adapter/eviction_policy.hpp"

#include <algorithm>

#include "slora/core/status.hpp"

namespace slora::adapter {
namespace {

// Least recently used: the rank is the time of the last use.
class Lru final : public EvictionPolicy {
 public:
  const char* name() const override { return "lru"; }
  void used(CacheItem&) override {}
  double rank(const CacheItem&) override { return clock_ += 1; }
  void evicted(CacheItem&, double) override {}

 private:
  double clock_ = 0;
};

// GreedyDual-Size-Frequency (L. Cherkasova, "Improving WWW Proxies Performance with Greedy-Dual-
// Size-Frequency Caching Policy", HPL-98-69R1, 1998): rank = L + uses * cost / size, and L, the
// rank of the last evicted, ages all who have not been used since. Cost is the time of a load, in
// bytes of the link; size is pages. Uses outlive an eviction by half, since the image stays in host
// memory and what was popular mostly is.
class Cost final : public EvictionPolicy {
 public:
  const char* name() const override { return "cost"; }

  void used(CacheItem& item) override { item.num_uses += 1; }

  double rank(const CacheItem& item) override {
    const double cost = kLoadStartBytes + static_cast<double>(item.load_bytes);
    return floor_ + std::max(item.num_uses, 1.0) * cost / std::max(item.num_pages, 1);
  }

  void evicted(CacheItem& item, double rank) override {
    floor_ = std::max(floor_, rank);
    item.num_uses *= kKeptUses;
  }

 private:
  // A load's fixed part, about 20 us of launches and events, at 50 GB/s.
  static constexpr double kLoadStartBytes = 1e6;
  static constexpr double kKeptUses = 0.5;
  double floor_ = 0;
};

}  // namespace

std::unique_ptr<EvictionPolicy> make_eviction_policy(EvictionKind kind) {
  switch (kind) {
    case EvictionKind::kLru:
      return std::make_unique<Lru>();
    case EvictionKind::kDefault:
    case EvictionKind::kCost:
      return std::make_unique<Cost>();
  }
  core::fail(core::Status::kInvalidArgument, "eviction_policy is ", static_cast<int32_t>(kind),
             ", the limit is 0..", static_cast<int32_t>(EvictionKind::kCost));
}

}  // namespace slora::adapter
