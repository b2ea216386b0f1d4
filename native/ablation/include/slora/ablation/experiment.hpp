// One engine's experiment: what is put in place of the engine's own parts. An engine without one
// has a null pointer and no other trace of it.
#pragma once

#include <memory>
#include <span>

#include "slora/adapter/page_room.hpp"
#include "slora/batch/batch.hpp"
#include "slora/forward/forward_pass.hpp"
#include "slora/memory/page_placement.hpp"

namespace slora::ablation {

// The values are those of enum slora_experiment_memory and enum slora_experiment_lora.
enum class MemoryMode : int32_t { kUnified = 0, kSplit = 1 };
enum class LoraMode : int32_t { kPaged = 0, kPadded = 1, kMerged = 2 };

struct ExperimentOptions {
  MemoryMode memory = MemoryMode::kUnified;
  LoraMode lora = LoraMode::kPaged;
  uint64_t mean_adapter_bytes = 0;  // kSplit: of one image
  int32_t concurrency = 0;          // kSplit: adapters at a time

  bool is_none() const { return memory == MemoryMode::kUnified && lora == LoraMode::kPaged; }
};

class MergedWeights;

class Experiment {
 public:
  // kInvalidArgument with value and limit; kUnsupported if the backend lacks an operation;
  // kOutOfMemory for the copy of the weights that kMerged keeps.
  Experiment(const ExperimentOptions& options, const forward::Backend& backend,
             const forward::ModelView& model, const memory::ArenaGeometry& geometry);
  ~Experiment();

  // ---- memory: null for the engine's own

  std::unique_ptr<memory::PagePlacement> placement() const;
  std::unique_ptr<adapter::PageRoom> room(memory::PagePool& pool,
                                          adapter::ResidencyCache& cache) const;
  // As a caller should see the pages: what KV cannot have is the adapters', used or not.
  void adjust(uint32_t& free_pages, uint32_t& adapter_pages, uint32_t& evictable_pages) const;

  // ---- LoRA

  // The engine's backend, with other LoRA operations where the mode has them.
  forward::Backend backend() const { return backend_; }
  // Batches have shapes that no recording covers.
  bool allows_graphs() const { return options_.lora == LoraMode::kPaged; }
  // Refuses, with the reason, what the mode cannot compute.
  void check_adapters(std::span<adapter::Adapter* const> adapters,
                      std::span<const float> weights) const;
  // Refuses a step that the mode cannot run: merged weights serve one adapter at a time.
  void check_step(std::span<adapter::Adapter* const> adapters, int32_t num_plain_rows) const;
  // Called with the batch packed and its adapter, if it has one, in pages; may change the batch.
  void before_step(device::Stream& compute, batch::Batch& batch, const memory::Arena& arena,
                   const adapter::Adapter* adapter);

 private:
  ExperimentOptions options_;
  forward::Backend backend_;
  kernels::KernelApi kernels_;  // what backend_ points to where it differs
  int32_t num_pages_;
  int32_t region_pages_ = 0;
  std::unique_ptr<MergedWeights> merged_;
};

}  // namespace slora::ablation
