// The arena: the pool's memory, cut into one slice a layer and each slice into equal pages. A page
// id names the same place in every slice, so one page table serves all layers.
#pragma once

#include <cstdint>
#include <memory>

#include "slora/device/device.hpp"

namespace slora::memory {

struct ArenaGeometry {
  int32_t num_pages;
  int32_t num_layers;
  int32_t tokens_per_page;
  int64_t
      page_bytes;  // of one slice: [2, tokens_per_page, num_kv_heads, head_size] in the page dtype
  int64_t page_elems;

  int64_t slice_bytes() const { return page_bytes * num_pages; }
  int64_t arena_bytes() const { return slice_bytes() * num_layers; }
  int32_t pages_for_tokens(int64_t tokens) const {
    return static_cast<int32_t>((tokens + tokens_per_page - 1) / tokens_per_page);
  }
};

class Arena {
 public:
  Arena(std::shared_ptr<device::Device> device, const ArenaGeometry& geometry)
      : geometry_(geometry),
        memory_(std::move(device), device::MemoryKind::kDevice,
                static_cast<uint64_t>(geometry.arena_bytes())) {}

  const ArenaGeometry& geometry() const { return geometry_; }
  uint8_t* slice(int32_t layer) const { return memory_.data() + layer * geometry_.slice_bytes(); }
  uint8_t* page(int32_t layer, int32_t page_idx) const {
    return slice(layer) + page_idx * geometry_.page_bytes;
  }

 private:
  ArenaGeometry geometry_;
  device::Buffer memory_;
};

}  // namespace slora::memory
