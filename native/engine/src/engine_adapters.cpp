// Adapters of an engine: reading and packing without the lock, registering and forgetting under it.
#include <cstring>

#include "slora/adapter/peft_reader.hpp"
#include "slora/adapter/wide_image.hpp"
#include "slora/core/check.hpp"
#include "slora/engine/engine.hpp"

namespace slora::engine {
namespace {

using core::Status;

// Images live in memory that asynchronous copies may read.
class PinnedImages final : public adapter::ImageAllocator {
 public:
  explicit PinnedImages(std::shared_ptr<device::Device> device) : device_(std::move(device)) {}

  void* allocate(uint64_t bytes) override {
    void* memory = nullptr;
    device::ApiError error{};
    const int32_t status = device_->api().memory_alloc(
        device_->handle(), device::MemoryKind::kPinned, bytes, &memory, &error);
    if (status != 0) throw core::Error(static_cast<Status>(status), error.message);
    return memory;
  }

  void release(void* memory, uint64_t) noexcept override {
    device_->api().memory_free(device_->handle(), device::MemoryKind::kPinned, memory);
  }

 private:
  std::shared_ptr<device::Device> device_;
};

}  // namespace

std::shared_ptr<adapter::Adapter> Engine::load_adapter(const AdapterOptions& options,
                                                       model::LoadProgress* progress) {
  std::shared_ptr<adapter::AdapterContent> content =
      options.image_of ? options.image_of->content : make_content(options, progress);
  try {
    device::Buffer table = upload_table(content->image.layout().modules);
    const std::lock_guard<std::mutex> lock(mutex_);
    if (options.image_of && !options.image_of->is_open) {
      core::fail(Status::kInvalidArgument, "share_image_of is adapter ", options.image_of->id,
                 ", which is unloaded");
    }
    auto loaded = std::make_shared<adapter::Adapter>(next_adapter_id_++, content, std::move(table),
                                                     model_->backend.device);
    residency_.set_pinned(*loaded, options.is_pinned);
    adapters_.emplace(loaded->id, loaded);
    ++content->num_adapters;
    return loaded;
  } catch (...) {
    if (!options.image_of) {
      const std::lock_guard<std::mutex> lock(mutex_);
      host_adapter_bytes_ -= content->held_bytes();
    }
    throw;
  }
}

// Reads and packs; its bytes are in the budget when it returns.
std::shared_ptr<adapter::AdapterContent> Engine::make_content(const AdapterOptions& options,
                                                              model::LoadProgress* progress) {
  const adapter::AdapterSource source =
      options.synthetic_lora_rank > 0
          ? adapter::synthetic_adapter(model_->modules, options.synthetic_seed,
                                       static_cast<int32_t>(options.synthetic_lora_rank),
                                       options.synthetic_modules)
          : adapter::read_peft_adapter(
                options.path, {&model_->modules, &model_->config, model_->checkpoint_folder});
  const adapter::PageGeometry pages{arena_.geometry().page_elems, model_->weights->dtype()};
  const adapter::ImageLayout layout = adapter::plan_image(source, model_->modules, pages);
  if (layout.num_pages > pool_.num_pages()) {
    core::fail(Status::kUnsupported, "the adapter needs ", layout.num_pages,
               " pages, the pool has ", pool_.num_pages());
  }
  const uint64_t wide_bytes = adapter::wide_image_bytes(source, pages.dtype);
  const uint64_t image_bytes = layout.image_bytes + wide_bytes;
  if (host_adapter_budget_ != 0 && image_bytes > host_adapter_budget_) {
    core::fail(Status::kUnsupported, "the adapter's image takes ", image_bytes,
               " bytes, the host adapter budget is ", host_adapter_budget_);
  }
  {
    // Taken before packing, so that loads beside each other cannot pass the budget together.
    const std::lock_guard<std::mutex> lock(mutex_);
    if (host_adapter_budget_ != 0 && host_adapter_bytes_ + image_bytes > host_adapter_budget_) {
      core::fail(Status::kOutOfMemory, "the adapter's image takes ", image_bytes, " bytes, ",
                 host_adapter_budget_ - host_adapter_bytes_, " of the host adapter budget of ",
                 host_adapter_budget_, " are left");
    }
    host_adapter_bytes_ += image_bytes;
  }
  try {
    adapter::PackedImage image =
        adapter::pack_image(source, model_->modules, pages,
                            std::make_shared<PinnedImages>(model_->backend.device), progress);
    return std::make_shared<adapter::AdapterContent>(
        std::move(image), upload_wide(source, wide_bytes), source.exclusive);
  } catch (...) {
    const std::lock_guard<std::mutex> lock(mutex_);
    host_adapter_bytes_ -= image_bytes;
    throw;
  }
}

device::Buffer Engine::upload_table(const std::vector<core::LoraModule>& modules) {
  const uint64_t bytes = modules.size() * sizeof(core::LoraModule);
  device::Buffer table(model_->backend.device, device::MemoryKind::kDevice, bytes);
  const std::lock_guard<std::mutex> lock(upload_mutex_);
  SLORA_CHECK(bytes <= table_staging_.bytes());
  std::memcpy(table_staging_.data(), modules.data(), bytes);
  upload_.copy(table.data(), table_staging_.data(), bytes);
  upload_.synchronize();
  return table;
}

device::Buffer Engine::upload_wide(const adapter::AdapterSource& source, uint64_t bytes) {
  if (bytes == 0) return {};
  device::Buffer staging(model_->backend.device, device::MemoryKind::kPinned, bytes);
  device::Buffer block(model_->backend.device, device::MemoryKind::kDevice, bytes);
  adapter::pack_wide_image(source, model_->weights->dtype(), staging.data(), block.data());
  const std::lock_guard<std::mutex> lock(upload_mutex_);
  upload_.copy(block.data(), staging.data(), bytes);
  upload_.synchronize();
  return block;
}

void Engine::unload_adapter(const std::shared_ptr<adapter::Adapter>& adapter) {
  const std::lock_guard<std::mutex> lock(mutex_);
  adapter->is_open = false;
  forget_if_unused(*adapter);
}

// The last holder's leaving frees pages and image; `adapter` may be gone afterwards.
void Engine::forget_if_unused(adapter::Adapter& adapter) {
  if (adapter.is_open || adapter.num_sequences > 0 || adapter.num_in_flight > 0) return;
  const auto it = adapters_.find(adapter.id);
  if (it == adapters_.end()) return;
  residency_.drop(adapter);
  if (--adapter.content->num_adapters == 0) host_adapter_bytes_ -= adapter.content->held_bytes();
  adapters_.erase(it);
}

void Engine::set_pinned(adapter::Adapter& adapter, bool is_pinned) {
  const std::lock_guard<std::mutex> lock(mutex_);
  residency_.set_pinned(adapter, is_pinned);
}

AdapterState Engine::adapter_state(const adapter::Adapter& adapter) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return {static_cast<uint32_t>(adapter.num_sequences), adapter.residency};
}

}  // namespace slora::engine
