// Which adapter gives its pages up first. A policy ranks adapters by what it is told of them and
// knows no pages, engines or time: its decisions follow from the order of uses alone, so that the
// ranks of a group agree and a trace can be replayed.
#pragma once

#include <cstdint>
#include <memory>

namespace slora::adapter {

// The values are those of enum slora_eviction_policy.
enum class EvictionKind : int32_t { kDefault = 0, kLru = 1, kCost = 2 };

// One adapter as policies see it.
struct CacheItem {
  uint64_t adapter_id = 0;
  int32_t num_pages = 0;
  uint64_t load_bytes = 0;  // what it costs to bring it back
  double num_uses = 0;      // sequences that took it, weighed by the policy
};

class EvictionPolicy {
 public:
  virtual ~EvictionPolicy() = default;
  virtual const char* name() const = 0;

  // A sequence takes the adapter, resident or not.
  virtual void used(CacheItem& item) = 0;
  // The rank of an adapter that is used now; the lowest goes first. Ties go by the order of asking.
  virtual double rank(const CacheItem& item) = 0;
  // The adapter of that rank has lost its pages.
  virtual void evicted(CacheItem& item, double rank) = 0;
};

// kDefault: kCost.
std::unique_ptr<EvictionPolicy> make_eviction_policy(EvictionKind kind);

}  // namespace slora::adapter
