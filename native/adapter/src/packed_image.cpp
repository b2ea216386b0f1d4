// Laying out and filling images. Positions come from core/page_layout.hpp alone.
#include "slora/adapter/packed_image.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

#include "row_convert.hpp"
#include "slora/core/check.hpp"
#include "slora/core/status.hpp"

namespace slora::adapter {
namespace {

using core::DType;
using core::fail;
using core::LoraModule;
using core::PagePosition;
using core::Status;

class HeapAllocator final : public ImageAllocator {
 public:
  void* allocate(uint64_t bytes) override {
    constexpr uint64_t kAlignment = 64;
    return std::aligned_alloc(kAlignment, (bytes + kAlignment - 1) / kAlignment * kAlignment);
  }
  void release(void* memory, uint64_t) noexcept override { std::free(memory); }
};

// The run of pages of one layer while it grows.
struct LayerRun {
  PagePosition cursor = {0, 0};
  int64_t page_elems;

  PagePosition place(int64_t row_elems, int64_t num_rows) {
    // page_layout.hpp counts pages in int32; a single module's rows must not leave that.
    constexpr int64_t kMaxElems = int64_t{1} << 40;
    if (num_rows > kMaxElems / row_elems || cursor.page > INT32_MAX / 4 ||
        num_rows * row_elems / page_elems > INT32_MAX / 4 || num_rows > INT32_MAX / 4) {
      fail(Status::kUnsupported, "an adapter of more than ", INT32_MAX / 4, " pages of ",
           page_elems, " elements");
    }
    const PagePosition begin = core::run_begin(cursor, row_elems, page_elems);
    cursor = core::run_end(begin, row_elems, num_rows, page_elems);
    return begin;
  }

  // A row of `count` fp32 numbers, which begin at a whole number of them in pages of any dtype.
  PagePosition place_floats(int64_t count, DType dtype) {
    const auto elems = static_cast<int32_t>(sizeof(float)) / core::dtype_bytes(dtype);
    cursor.offset = (cursor.offset + elems - 1) / elems * elems;
    return place(count * elems, 1);
  }

  // The cursor's offset may equal page_elems, and is 0 on a page not yet begun.
  int32_t num_pages() const { return cursor.offset == 0 ? cursor.page : cursor.page + 1; }
};

class ImageWriter {
 public:
  ImageWriter(PackedImage& image, model::LoadProgress* progress)
      : image_(image), progress_(progress) {}

  void write(const ModuleWeights& weights, const LoraModule& place) {
    if (place.parts & core::kHasFactor) write_floats(weights, weights.factor, place.factor);
    if (place.parts & core::kHasOffset) write_floats(weights, weights.offset, place.offset);
    if (weights.lora_rank == 0) return;
    const int64_t in_dim = weights.a.shape[1];
    const int64_t out_dim = weights.b.shape[0];
    for (int64_t r = 0; r < weights.a.shape[0]; ++r) {
      convert_row(weights.a, r * in_dim, 1, in_dim, image_.geometry().dtype,
                  at(weights, place.a, in_dim, r));
    }
    for (int64_t r = 0; r < weights.lora_rank; ++r) {
      convert_row(weights.b, r, weights.lora_rank, out_dim, image_.geometry().dtype,
                  at(weights, place.b, out_dim, r));
    }
    done_bytes_ +=
        static_cast<uint64_t>((weights.a.shape[0] * in_dim + weights.lora_rank * out_dim) *
                              core::dtype_bytes(image_.geometry().dtype));
    report(done_bytes_);
  }

  void report(uint64_t done_bytes) {
    const ImageLayout& layout = image_.layout();
    if (progress_ && !progress_->advance(done_bytes, layout.image_bytes - layout.wasted_bytes)) {
      fail(Status::kCancelled, "loading was cancelled");
    }
  }

 private:
  void write_floats(const ModuleWeights& weights, const std::vector<float>& values,
                    PagePosition begin) {
    const auto bytes = values.size() * sizeof(float);
    const auto elems = static_cast<int64_t>(bytes) / core::dtype_bytes(image_.geometry().dtype);
    std::memcpy(at(weights, begin, elems, 0), values.data(), bytes);
    done_bytes_ += bytes;
  }

  // A row that is longer than a page goes on in the next: the pages of a layer are contiguous here.
  uint8_t* at(const ModuleWeights& weights, PagePosition begin, int64_t row_elems,
              int64_t row_idx) const {
    const PageGeometry& geometry = image_.geometry();
    const PagePosition place = core::row_position(begin, row_elems, row_idx, geometry.page_elems);
    const int64_t elem = place.page * geometry.page_elems + place.offset;
    SLORA_CHECK(elem + row_elems <= image_.layout().num_pages * geometry.page_elems);
    return image_.layer_data(weights.layer_idx) + elem * core::dtype_bytes(geometry.dtype);
  }

  PackedImage& image_;
  model::LoadProgress* progress_;
  uint64_t done_bytes_ = 0;
};

void check_geometry(const PageGeometry& geometry) {
  if (geometry.page_elems < 1 || geometry.page_elems > INT32_MAX) {
    fail(Status::kInvalidArgument, "a page of ", geometry.page_elems, " elements; the limit is ",
         INT32_MAX);
  }
}

// Places the fp32 rows of a module; returns the elements they take.
int64_t place_parts(const ModuleWeights& weights, DType dtype, LayerRun& run, LoraModule& entry) {
  const auto num_factors = static_cast<int64_t>(weights.factor.size());
  const auto num_offsets = static_cast<int64_t>(weights.offset.size());
  if (num_factors > 0) {
    entry.parts |= core::kHasFactor;
    entry.factor = run.place_floats(num_factors, dtype);
  }
  if (num_offsets > 0) {
    entry.parts |= core::kHasOffset;
    entry.offset = run.place_floats(num_offsets, dtype);
  }
  return (num_factors + num_offsets) * static_cast<int64_t>(sizeof(float)) /
         core::dtype_bytes(dtype);
}

// The same modules once more, with the lora_ranks that this rank's A has.
void add_shrink_table(const AdapterSource& source, ImageLayout& layout) {
  const size_t num_entries = layout.modules.size();
  layout.modules.resize(2 * num_entries);
  std::copy_n(layout.modules.begin(), num_entries,
              layout.modules.begin() + static_cast<std::ptrdiff_t>(num_entries));
  for (const ModuleWeights& weights : source.modules) {
    if (weights.lora_rank == 0) continue;
    const auto place =
        static_cast<size_t>(weights.layer_idx) * static_cast<size_t>(layout.num_modules) +
        static_cast<size_t>(weights.module_idx);
    layout.modules[num_entries + place].lora_rank = static_cast<int32_t>(weights.a.shape[0]);
  }
}

}  // namespace

const std::shared_ptr<ImageAllocator>& heap_image_allocator() {
  // Never destroyed: images may outlive static objects.
  static const auto& allocator =
      *new std::shared_ptr<ImageAllocator>(std::make_shared<HeapAllocator>());
  return allocator;
}

ImageLayout plan_image(const AdapterSource& source, const model::ModuleTable& table,
                       const PageGeometry& geometry, int32_t min_pages) {
  check_geometry(geometry);
  ImageLayout layout;
  layout.num_layers = table.num_layers;
  layout.num_modules = table.num_modules();
  layout.num_adapted = static_cast<int32_t>(source.modules.size());
  layout.modules.assign(
      static_cast<size_t>(layout.num_layers) * static_cast<size_t>(layout.num_modules),
      LoraModule{0, 0.0f, {0, 0}, {0, 0}});
  std::vector<LayerRun> runs(static_cast<size_t>(layout.num_layers),
                             LayerRun{{0, 0}, geometry.page_elems});
  int64_t used_elems = 0;
  int64_t last_place = -1;
  for (const ModuleWeights& weights : source.modules) {
    const int64_t place = int64_t{weights.layer_idx} * layout.num_modules + weights.module_idx;
    SLORA_CHECK(place > last_place);  // table order, which is the order in the run
    SLORA_CHECK(weights.lora_rank >= 1 || !weights.offset.empty());
    last_place = place;
    LayerRun& run = runs[static_cast<size_t>(weights.layer_idx)];
    LoraModule& entry = layout.modules[static_cast<size_t>(place)];
    entry.lora_rank = weights.lora_rank;
    entry.scale = weights.scale;
    if (weights.lora_rank > 0) {
      const int64_t own_lora_ranks = weights.a.shape[0];
      if (own_lora_ranks > 0) entry.a = run.place(weights.a.shape[1], own_lora_ranks);
      entry.b = run.place(weights.b.shape[0], weights.lora_rank);
      used_elems += own_lora_ranks * weights.a.shape[1] + weights.lora_rank * weights.b.shape[0];
    }
    used_elems += place_parts(weights, geometry.dtype, run, entry);
    layout.has_epilogue |= entry.parts != 0;
    layout.max_lora_rank = std::max(layout.max_lora_rank, weights.lora_rank);
    if (weights.module_idx < 32) layout.module_mask |= 1u << weights.module_idx;
  }
  if (source.shares_lora_ranks) add_shrink_table(source, layout);
  layout.num_pages =
      std::max(1, min_pages);  // an adapter of the head alone has one too: a tenant is never empty
  for (const LayerRun& run : runs) layout.num_pages = std::max(layout.num_pages, run.num_pages());
  layout.image_bytes = static_cast<uint64_t>(layout.num_layers) *
                       static_cast<uint64_t>(layout.num_pages) *
                       static_cast<uint64_t>(geometry.page_bytes());
  layout.wasted_bytes =
      layout.image_bytes - static_cast<uint64_t>(used_elems * core::dtype_bytes(geometry.dtype));
  return layout;
}

PackedImage::PackedImage(ImageLayout layout, PageGeometry geometry,
                         std::shared_ptr<ImageAllocator> allocator)
    : layout_(std::move(layout)), geometry_(geometry), allocator_(std::move(allocator)) {
  data_ = static_cast<uint8_t*>(allocator_->allocate(layout_.image_bytes));
  if (!data_)
    fail(Status::kOutOfMemory, "no memory for an adapter image of ", layout_.image_bytes, " bytes");
  std::memset(data_, 0, layout_.image_bytes);
}

PackedImage::PackedImage(PackedImage&& other) noexcept
    : layout_(std::move(other.layout_)),
      geometry_(other.geometry_),
      allocator_(std::move(other.allocator_)),
      data_(std::exchange(other.data_, nullptr)) {}

PackedImage::~PackedImage() {
  if (data_) allocator_->release(data_, layout_.image_bytes);
}

const uint8_t* PackedImage::layer_data(int32_t layer_idx) const {
  return data_ + static_cast<uint64_t>(layer_idx) * layer_bytes();
}

uint8_t* PackedImage::layer_data(int32_t layer_idx) {
  return data_ + static_cast<uint64_t>(layer_idx) * layer_bytes();
}

PackedImage pack_image(const AdapterSource& source, const model::ModuleTable& table,
                       const PageGeometry& geometry, std::shared_ptr<ImageAllocator> allocator,
                       model::LoadProgress* progress, int32_t min_pages) {
  PackedImage image(plan_image(source, table, geometry, min_pages), geometry, std::move(allocator));
  ImageWriter writer(image, progress);
  writer.report(0);
  for (const ModuleWeights& weights : source.modules) {
    const auto place =
        static_cast<size_t>(weights.layer_idx) * static_cast<size_t>(image.layout().num_modules) +
        static_cast<size_t>(weights.module_idx);
    writer.write(weights, image.layout().modules[place]);
  }
  return image;
}

}  // namespace slora::adapter
