// What the tests of residency share: a pool, its arena and a cache, with adapters whose bytes are
// all different, and what must hold of them at any time.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "slora/adapter/page_room.hpp"
#include "slora/adapter/residency_cache.hpp"
#include "slora/device/host_device.hpp"

namespace slora::adapter {

inline constexpr int64_t kPageBytes = 64;

class ResidencyTest : public testing::Test {
 protected:
  void make(int32_t num_pages, int32_t num_layers, EvictionKind eviction = EvictionKind::kLru,
            const device::DeviceApi* api = device::host_device_api(),
            int64_t page_bytes = kPageBytes) {
    page_bytes_ = page_bytes;
    device_ = std::make_shared<device::Device>(api, 0, 1);
    arena_ = std::make_unique<memory::Arena>(
        device_, memory::ArenaGeometry{num_pages, num_layers, 16, page_bytes, page_bytes / 4});
    pool_ = std::make_unique<memory::PagePool>(num_pages);
    cache_ = std::make_unique<ResidencyCache>(*pool_, *arena_, device_, eviction);
    room_ = unified_room(*pool_, *cache_);
  }

  void TearDown() override {
    if (!cache_) return;
    for (const auto& adapter : adapters_) cache_->drop(*adapter);
    adapters_.clear();
  }

  Adapter& add(int32_t num_pages) {
    ImageLayout layout;
    layout.num_layers = arena_->geometry().num_layers;
    layout.num_pages = num_pages;
    layout.image_bytes = static_cast<uint64_t>(layout.num_layers * num_pages * page_bytes_);
    PackedImage image(layout, {page_bytes_ / 4, core::DType::kF32}, heap_image_allocator());
    std::mt19937 random(static_cast<uint32_t>(adapters_.size()) + 1);
    for (int32_t layer = 0; layer < layout.num_layers; ++layer)
      for (uint64_t i = 0; i < image.layer_bytes(); ++i)
        image.layer_data(layer)[i] = static_cast<uint8_t>(random());
    adapters_.push_back(std::make_unique<Adapter>(
        adapters_.size() + 1,
        std::make_shared<AdapterContent>(std::move(image), device::Buffer(), ""), device::Buffer(),
        device_));
    return *adapters_.back();
  }

  void load(Adapter& adapter) {
    ASSERT_TRUE(cache_->try_load(adapter, LoadUrgency::kNow));
    adapter.loaded.synchronize();
    cache_->poll();
    ASSERT_EQ(adapter.residency, Residency::kDevice);
  }

  void expect_in_pages(const Adapter& adapter) {
    for (int32_t layer = 0; layer < arena_->geometry().num_layers; ++layer) {
      for (int32_t i = 0; i < adapter.num_pages(); ++i) {
        ASSERT_EQ(std::memcmp(arena_->page(layer, adapter.pages[static_cast<size_t>(i)]),
                              adapter.image.layer_data(layer) + i * page_bytes_,
                              static_cast<size_t>(page_bytes_)),
                  0)
            << "adapter " << adapter.id << " layer " << layer << " page " << i;
      }
    }
  }

  void expect_valid() {
    std::vector<const Adapter*> all;
    for (const auto& adapter : adapters_) all.push_back(adapter.get());
    std::string why;
    ASSERT_TRUE(cache_->is_valid(all, &why)) << why;
    ASSERT_TRUE(pool_->is_valid(&why)) << why;
  }

  int64_t page_bytes_ = kPageBytes;
  std::shared_ptr<device::Device> device_;
  std::unique_ptr<memory::Arena> arena_;
  std::unique_ptr<memory::PagePool> pool_;
  std::vector<std::unique_ptr<Adapter>> adapters_;
  std::unique_ptr<ResidencyCache> cache_;
  std::unique_ptr<PageRoom> room_;
};

}  // namespace slora::adapter
