// Adapters of an engine: reading and packing without the lock, registering and forgetting under it.
#include <cstring>

#include "command.hpp"
#include "packed_adapter.hpp"
#include "rank_answer.hpp"
#include "slora/adapter/adapter_shard.hpp"
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
  if (group_) return load_adapter_on_all(options, progress);
  std::unique_ptr<PackedAdapter> packed = pack_adapter(options, progress);
  return register_adapter(options, std::move(*packed));
}

std::unique_ptr<PackedAdapter> Engine::pack_adapter(const AdapterOptions& options,
                                                    model::LoadProgress* progress) {
  auto packed = std::make_unique<PackedAdapter>();
  if (options.image_of_id != 0) {
    packed->content = content_of(options.image_of_id);
  } else {
    packed->content = make_content(options, progress, packed->host_bytes);
  }
  packed->table = upload_table(packed->content->image.layout().modules);
  return packed;
}

std::shared_ptr<adapter::AdapterContent> Engine::content_of(uint64_t adapter_id) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto it = adapters_.find(adapter_id);
  if (it == adapters_.end() || !it->second->is_open) {
    core::fail(Status::kInvalidArgument, "share_image_of is adapter ", adapter_id,
               ", which is unloaded");
  }
  return it->second->content;
}

// Reads and packs; its bytes are in the budget when it returns.
std::shared_ptr<adapter::AdapterContent> Engine::make_content(const AdapterOptions& options,
                                                              model::LoadProgress* progress,
                                                              HostBytes& out_host_bytes) {
  adapter::AdapterSource source =
      options.synthetic_lora_rank > 0
          ? adapter::synthetic_adapter(model_->modules, options.synthetic_seed,
                                       static_cast<int32_t>(options.synthetic_lora_rank),
                                       options.synthetic_modules)
          : adapter::read_peft_adapter(
                options.path, {&model_->modules, &model_->config, model_->checkpoint_folder});
  const adapter::PageGeometry pages{arena_.geometry().page_elems, model_->weights->dtype()};
  int32_t min_pages = 1;
  if (group_) {
    min_pages = adapter::most_pages(source, model_->config, model_->shard, model_->modules, pages);
    source = adapter::cut_adapter(source, model_->config, model_->shard);
  }
  const adapter::ImageLayout layout =
      adapter::plan_image(source, model_->modules, pages, min_pages);
  if (layout.num_pages > pool_.num_pages()) {
    core::fail(Status::kUnsupported, "the adapter needs ", layout.num_pages,
               " pages, the pool has ", pool_.num_pages());
  }
  const uint64_t wide_bytes = adapter::wide_image_bytes(source, pages.dtype);
  const uint64_t image_bytes = layout.image_bytes + wide_bytes;
  // On a group, rank 0's budget is everybody's.
  const uint64_t budget = follows() ? 0 : host_adapter_budget_;
  if (budget != 0 && image_bytes > budget) {
    core::fail(Status::kUnsupported, "the adapter's image takes ", image_bytes,
               " bytes, the host adapter budget is ", budget);
  }
  // Taken before packing, so that loads beside each other cannot pass the budget together.
  out_host_bytes = HostBytes(host_adapter_bytes_, budget, image_bytes);
  adapter::PackedImage image = adapter::pack_image(
      source, model_->modules, pages, std::make_shared<PinnedImages>(model_->backend.device),
      progress, min_pages);
  return std::make_shared<adapter::AdapterContent>(
      std::move(image), upload_wide(source, wide_bytes), source.exclusive);
}

std::shared_ptr<adapter::Adapter> Engine::register_adapter(const AdapterOptions& options,
                                                           PackedAdapter packed) {
  const std::lock_guard<std::mutex> lock(mutex_);
  return enter(options, std::move(packed));
}

std::shared_ptr<adapter::Adapter> Engine::enter(const AdapterOptions& options,
                                                PackedAdapter packed) {
  const std::shared_ptr<adapter::AdapterContent>& content = packed.content;
  auto loaded = std::make_shared<adapter::Adapter>(next_adapter_id_, content,
                                                   std::move(packed.table), model_->backend.device);
  residency_.set_pinned(*loaded, options.is_pinned);
  adapters_.emplace(loaded->id, loaded);
  ++next_adapter_id_;
  packed.host_bytes.keep();
  // Who shared its image may have gone meanwhile, and taken the image out of the count.
  if (content->num_adapters++ == 0 && options.image_of_id != 0)
    host_adapter_bytes_ += content->held_bytes();
  return loaded;
}

// The ranks read and pack at once; then each says how that went, and all register the adapter or
// all forget it.
std::shared_ptr<adapter::Adapter> Engine::load_adapter_on_all(const AdapterOptions& options,
                                                              model::LoadProgress* progress) {
  Command begin{.kind = CommandKind::kBeginLoad, .adapter = options};
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    throw_if_poisoned();
    begin.ticket = num_loads_++;
    tell(begin);
  }
  RankAnswer own;
  std::unique_ptr<PackedAdapter> packed;
  own.note([&] { packed = pack_adapter(options, progress); });
  const std::lock_guard<std::mutex> lock(mutex_);
  throw_if_poisoned();
  tell({.kind = CommandKind::kEndLoad, .id = next_adapter_id_, .ticket = begin.ticket});
  std::vector<RankAnswer> answers;
  try {
    answers = exchange_answers(*group_, own);
  } catch (const core::Error& failure) {
    poison(failure.status(), failure.what());
  }
  if (const RankAnswer* failed = first_failure(answers)) failed->raise();
  return enter(options, std::move(*packed));
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
  if (leads()) tell({.kind = CommandKind::kUnload, .id = adapter->id});
}

void Engine::set_pinned(adapter::Adapter& adapter, bool is_pinned) {
  const std::lock_guard<std::mutex> lock(mutex_);
  residency_.set_pinned(adapter, is_pinned);
  if (leads()) tell({.kind = CommandKind::kSetPinned, .id = adapter.id, .is_pinned = is_pinned});
}

std::shared_ptr<adapter::Adapter> Engine::find_adapter(uint64_t adapter_id) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto it = adapters_.find(adapter_id);
  return it == adapters_.end() ? nullptr : it->second;
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

AdapterState Engine::adapter_state(const adapter::Adapter& adapter) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return {static_cast<uint32_t>(adapter.num_sequences), adapter.residency};
}

}  // namespace slora::engine
