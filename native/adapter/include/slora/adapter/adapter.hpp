// One revision of one adapter in the engine: its host image, which others may share, its module
// table on the device, and where it is resident.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "slora/adapter/eviction_policy.hpp"
#include "slora/adapter/packed_image.hpp"
#include "slora/adapter/page_loader.hpp"
#include "slora/core/wide_module.hpp"
#include "slora/device/device.hpp"

namespace slora::adapter {

// The values are those of enum slora_residency.
enum class Residency : int32_t { kHost = 0, kLoading = 1, kDevice = 2 };

// What a resident adapter's pages are to whoever needs room, in the order in which they are taken:
// idle ones first, then those of adapters that a waiting request is said to need soon (the one
// needed last goes first), then those that sequences hold which are not in this step. kFixed: not
// to be taken now.
enum class Standing : uint8_t { kIdle, kWanted, kHeld, kFixed };

// What an adapter is made of, once in memory however many adapters share it.
struct AdapterContent {
  AdapterContent(PackedImage packed, device::Buffer wide, std::string exclusive_part)
      : image(std::move(packed)),
        wide_block(std::move(wide)),
        exclusive(std::move(exclusive_part)) {}

  uint64_t held_bytes() const { return image.layout().image_bytes + wide_block.bytes(); }

  const PackedImage image;
  const device::Buffer wide_block;  // see wide_image.hpp; empty: embedding and head are the base's
  const std::string exclusive;      // AdapterSource::exclusive
  int32_t num_adapters = 0;         // that the engine knows; guarded by its lock
};

// Everything below `module_table` is guarded by the engine's lock.
struct Adapter {
  Adapter(uint64_t adapter_id, std::shared_ptr<AdapterContent> made_of, device::Buffer table,
          std::shared_ptr<device::Device> device)
      : id(adapter_id),
        content(std::move(made_of)),
        image(content->image),
        module_table(std::move(table)),
        loaded(std::move(device)),
        item{adapter_id, image.layout().num_pages, image.layout().image_bytes} {}

  // core::WideModule [2] on the device, or null.
  const core::WideModule* wide() const { return content->wide_block.as<core::WideModule>(); }
  int32_t num_pages() const { return image.layout().num_pages; }
  bool is_in_use() const { return num_in_flight > 0 || is_in_plan; }

  const uint64_t id;
  const std::shared_ptr<AdapterContent> content;
  const PackedImage& image;           // of the content
  const device::Buffer module_table;  // core::LoraModule [L, modules a layer] on the device

  bool is_open = true;     // its handle has not been unloaded
  uint64_t last_plan = 0;  // number of the last plan that named it

  // ---- the residency cache's: others read

  std::atomic<bool> is_pinned{false};
  int32_t num_sequences = 0;  // that hold it
  int32_t num_in_flight = 0;  // steps in flight that read its pages
  bool is_in_plan = false;    // named by the plan that is being reserved
  bool is_wanted = false;     // named by the last list of those needed soon

  Residency residency = Residency::kHost;
  std::vector<int32_t> pages;          // while loading or resident, ascending
  std::unique_ptr<LoadStages> stages;  // while loading
  device::Event loaded;                // completes with the copy
  bool is_ahead = false;               // while loading: no row waits for it
  bool is_unused = false;              // no step has read these pages
  CacheItem item;
  Standing standing = Standing::kFixed;
  double rank = 0;          // the policy's, while resident
  uint64_t rank_order = 0;  // breaks ties: when the rank was asked for
};

}  // namespace slora::adapter
