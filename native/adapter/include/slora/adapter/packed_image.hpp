// The host image of an adapter: its rows in exactly the layout of device pages, written once.
//
// The arena has one slice a layer and a page id names the same place in each, so an adapter takes
// num_pages ids and the image is layer-major: layer l's pages lie one after another, and a load is
// one copy a layer and run of page ids. Inside a layer the run of pages is laid out by
// core/page_layout.hpp: for each module it has, in table order, the rows of A, then the rows of B
// transposed.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "slora/adapter/adapter_source.hpp"
#include "slora/core/dtype.hpp"
#include "slora/core/page_layout.hpp"
#include "slora/model/module_table.hpp"
#include "slora/model/weights.hpp"

namespace slora::adapter {

// A page of one layer's slice.
struct PageGeometry {
  int64_t page_elems = 0;
  core::DType dtype = core::DType::kF32;

  int64_t page_bytes() const { return page_elems * core::dtype_bytes(dtype); }
};

// Where image bytes come from: plain memory, or pinned memory of a backend. Thread-safe if packing
// is.
class ImageAllocator {
 public:
  virtual ~ImageAllocator() = default;
  virtual void* allocate(
      uint64_t bytes) = 0;  // 64-byte aligned; null or a thrown error if there is no room
  virtual void release(void* memory, uint64_t bytes) noexcept = 0;
};

// Plain memory; lives for ever.
const std::shared_ptr<ImageAllocator>& heap_image_allocator();

// Where the modules of an adapter will lie and how many pages that takes; costs no memory for
// weights.
struct ImageLayout {
  // [L, num_modules]; lora_rank 0 where the adapter leaves a module alone. Where ranks share
  // lora_ranks, as many again for the shrink, with the rank's own.
  std::vector<core::LoraModule> modules;
  int32_t num_layers = 0;
  int32_t num_modules = 0;  // a layer: the model's, not the adapter's
  int32_t num_pages = 0;    // page ids: the most any layer needs
  int32_t num_adapted = 0;  // (layer, module) pairs it changes
  int32_t max_lora_rank = 0;
  uint32_t module_mask = 0;   // bit i: module i is changed in some layer
  bool has_epilogue = false;  // some module has a factor or an offset
  uint64_t image_bytes = 0;   // L * num_pages * page_bytes
  uint64_t wasted_bytes = 0;  // of image_bytes: what no row fills
};

// `min_pages`: what other ranks' parts of the adapter need.
ImageLayout plan_image(const AdapterSource& source, const model::ModuleTable& table,
                       const PageGeometry& geometry, int32_t min_pages = 1);

class PackedImage {
 public:
  PackedImage(ImageLayout layout, PageGeometry geometry, std::shared_ptr<ImageAllocator> allocator);
  PackedImage(PackedImage&& other) noexcept;
  PackedImage(const PackedImage&) = delete;
  PackedImage& operator=(const PackedImage&) = delete;
  ~PackedImage();

  const ImageLayout& layout() const { return layout_; }
  const PageGeometry& geometry() const { return geometry_; }
  // num_pages * page_bytes of layer `layer_idx`.
  const uint8_t* layer_data(int32_t layer_idx) const;
  uint8_t* layer_data(int32_t layer_idx);
  uint64_t layer_bytes() const {
    return static_cast<uint64_t>(layout_.num_pages * geometry_.page_bytes());
  }

 private:
  ImageLayout layout_;
  PageGeometry geometry_;
  std::shared_ptr<ImageAllocator> allocator_;
  uint8_t* data_ = nullptr;
};

// fp32 pages hold the file's values exactly; bf16 and fp16 pages round to nearest even. Bytes that
// no row fills are zero. kOutOfMemory if the allocator has no room; kUnsupported naming the tensor
// if a value does not fit the dtype; kCancelled if `progress` (may be null; counts image bytes)
// says stop.
PackedImage pack_image(const AdapterSource& source, const model::ModuleTable& table,
                       const PageGeometry& geometry,
                       std::shared_ptr<ImageAllocator> allocator = heap_image_allocator(),
                       model::LoadProgress* progress = nullptr, int32_t min_pages = 1);

}  // namespace slora::adapter
