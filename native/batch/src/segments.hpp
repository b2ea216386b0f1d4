// What makes a segment, and which segments go in pieces.
#pragma once

#include <cstdint>
#include <span>

#include "slora/batch/batch.hpp"

namespace slora::batch {

// Negative, zero or positive, like memcmp; lists that are equal make one segment.
inline int compare_adapters(std::span<const AdapterUse> a, std::span<const AdapterUse> b) {
  if (a.size() != b.size()) return a.size() < b.size() ? -1 : 1;
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i].adapter_id != b[i].adapter_id) return a[i].adapter_id < b[i].adapter_id ? -1 : 1;
    if (a[i].weight != b[i].weight) return a[i].weight < b[i].weight ? -1 : 1;
  }
  return 0;
}

// Whether a segment of so many rows goes in pieces.
inline bool is_short(int64_t segment_tokens) { return segment_tokens <= kernels::kPieceTokens; }

}  // namespace slora::batch
