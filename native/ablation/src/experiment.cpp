// Puts the parts of one experiment together and refuses what it cannot serve.
#include "slora/ablation/experiment.hpp"

#include <algorithm>

#include "merged_weights.hpp"
#include "slora/core/status.hpp"
#include "split_memory.hpp"

namespace slora::ablation {
namespace {

using core::fail;
using core::Status;

// The rule, not a hand: the mean adapter times the adapters at a time. KV keeps a tenth at least.
int32_t region_of(const ExperimentOptions& options, const memory::ArenaGeometry& geometry) {
  if (options.mean_adapter_bytes == 0 || options.concurrency < 1) {
    fail(Status::kInvalidArgument, "split memory needs mean_adapter_bytes, which is ",
         options.mean_adapter_bytes, ", and concurrency, which is ", options.concurrency,
         "; both must be at least 1");
  }
  const auto bytes_a_page = static_cast<uint64_t>(geometry.page_bytes * geometry.num_layers);
  const uint64_t pages = (options.mean_adapter_bytes + bytes_a_page - 1) / bytes_a_page *
                         static_cast<uint64_t>(options.concurrency);
  const uint64_t most = static_cast<uint64_t>(geometry.num_pages) * 9 / 10;
  return static_cast<int32_t>(std::max<uint64_t>(1, std::min(pages, most)));
}

}  // namespace

Experiment::Experiment(const ExperimentOptions& options, const forward::Backend& backend,
                       const forward::ModelView& model, const memory::ArenaGeometry& geometry)
    : options_(options),
      backend_(backend),
      kernels_(*backend.kernels),
      num_pages_(geometry.num_pages) {
  if (options.memory == MemoryMode::kSplit) {
    if (geometry.num_pages < 2)
      fail(Status::kInvalidArgument, "split memory needs a pool of at least 2 pages, it has ",
           geometry.num_pages);
    region_pages_ = region_of(options, geometry);
  }
  if (options.lora == LoraMode::kPadded) {
    if (!kernels_.lora_shrink_padded || !kernels_.lora_expand_padded)
      fail(Status::kUnsupported, "the backend has no padded LoRA operations");
    kernels_.lora_shrink = kernels_.lora_shrink_padded;
    kernels_.lora_expand = kernels_.lora_expand_padded;
    kernels_.takes_updates = false;  // they would come by expands that are not padded
    kernels_.most_found_rows = 0;
    backend_.kernels = &kernels_;
  }
  if (options.lora == LoraMode::kMerged) {
    if (!kernels_.lora_merge) fail(Status::kUnsupported, "the backend cannot merge adapters");
    merged_ = std::make_unique<MergedWeights>(backend, model);
  }
}

Experiment::~Experiment() = default;

std::unique_ptr<memory::PagePlacement> Experiment::placement() const {
  return options_.memory == MemoryMode::kSplit ? split_placement(num_pages_, region_pages_)
                                               : memory::unified_placement(num_pages_);
}

std::unique_ptr<adapter::PageRoom> Experiment::room(memory::PagePool& pool,
                                                    adapter::ResidencyCache& cache) const {
  return options_.memory == MemoryMode::kSplit ? split_room(pool, cache, num_pages_, region_pages_)
                                               : adapter::unified_room(pool, cache);
}

void Experiment::adjust(uint32_t& free_pages, uint32_t& adapter_pages,
                        uint32_t& evictable_pages) const {
  if (options_.memory != MemoryMode::kSplit) return;
  free_pages -= static_cast<uint32_t>(region_pages_) - adapter_pages;
  adapter_pages = static_cast<uint32_t>(region_pages_);
  evictable_pages = 0;
}

void Experiment::check_adapters(std::span<adapter::Adapter* const> adapters,
                                std::span<const float> weights) const {
  if (options_.memory == MemoryMode::kSplit) {
    for (const adapter::Adapter* adapter : adapters) {
      if (adapter->num_pages() > region_pages_)
        fail(Status::kUnsupported, "adapter ", adapter->id, " needs ", adapter->num_pages(),
             " pages, the split leaves ", region_pages_, " for adapters");
    }
  }
  if (options_.lora == LoraMode::kPaged) return;
  if (adapters.size() > 1)
    fail(Status::kUnsupported, "the experiment computes one adapter a sequence, not ",
         adapters.size());
  if (options_.lora != LoraMode::kMerged) return;
  for (size_t i = 0; i < adapters.size(); ++i) {
    if (adapters[i]->image.layout().has_epilogue || adapters[i]->wide() || weights[i] != 1.0f) {
      fail(Status::kUnsupported, "adapter ", adapters[i]->id, " with weight ", weights[i],
           " is more than an update of linear modules of weight 1, "
           "which is all that is merged");
    }
  }
}

void Experiment::check_step(std::span<adapter::Adapter* const> adapters,
                            int32_t num_plain_rows) const {
  if (options_.lora != LoraMode::kMerged) return;
  if (adapters.size() + (num_plain_rows > 0) <= 1) return;
  fail(Status::kInvalidPlan, "the plan has ", adapters.size(), " adapters and ", num_plain_rows,
       " rows without one; merged weights serve one adapter or none in a step");
}

void Experiment::before_step(device::Stream& compute, batch::Batch& batch,
                             const memory::Arena& arena, const adapter::Adapter* adapter) {
  if (!merged_) return;
  merged_->merge(compute, batch, arena, adapter ? adapter->id : 0);
  batch.lora.num_segments = 0;
  batch.has_lora_epilogue = false;
}

}  // namespace slora::ablation
