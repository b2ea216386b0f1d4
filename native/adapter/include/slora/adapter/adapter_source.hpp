// An adapter's weights before packing: which modules of which layers it changes, by how much, and
// where A and B lie.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "slora/model/module_table.hpp"
#include "slora/model/safetensors.hpp"

namespace slora::adapter {

// y' = factor * (y + scale * B (A x)) + offset, y the base module's output
struct ModuleWeights {
  int32_t layer_idx;
  int32_t module_idx;  // into the model's ModuleTable
  int32_t lora_rank;   // 0: no update, an offset only
  float scale;         // lora_alpha / lora_rank, or lora_alpha / sqrt(lora_rank) with rsLoRA
  model::TensorRef a;  // [lora_rank, in_dim]
  model::TensorRef b;  // [out_dim, lora_rank]
  std::vector<float> factor = {};  // [out_dim]; empty: 1 (DoRA)
  std::vector<float> offset = {};  // [out_dim]; empty: 0 (biases)
};

// What the adapter does to the embedding or to the head.
struct WideWeights {
  int32_t lora_rank = 0;  // 0: no update
  float scale = 0;
  model::TensorRef a;  // embedding: [lora_rank, V]; head: [lora_rank, H]
  model::TensorRef b;  // embedding: [H, lora_rank]; head: [V, lora_rank]
  // Rows in place of the base's: row_order[i] of `rows` is the row of token row_ids[i] (ascending);
  // both empty: `rows` has every row. `rows.data` null: none.
  model::TensorRef rows;  // [.., H]
  std::vector<int32_t> row_ids;
  std::vector<int32_t> row_order;

  bool is_empty() const { return lora_rank == 0 && rows.data == nullptr; }
};

struct AdapterSource {
  std::vector<ModuleWeights> modules;  // by layer, then module; each pair at most once
  WideWeights embedding;
  WideWeights head;
  // Why the adapter's sum with others, or a part of it, is not defined; empty: it is.
  std::string exclusive;
  std::shared_ptr<const void> storage;  // keeps what the tensors point into
  // Of a rank's part (adapter_shard.hpp). It may lack all wide rows of a wide adapter, and where
  // lora_ranks are shared, ModuleWeights::lora_rank is that of b, and a has the rank's own.
  bool is_wide = false;
  bool shares_lora_ranks = false;

  bool has_wide() const { return is_wide || !embedding.is_empty() || !head.is_empty(); }
};

// Random weights: A uniform within 1 / sqrt(in_dim) as PEFT begins, B uniform within 1 /
// sqrt(out_dim), scale 1. The same seed gives the same weights on every machine. `module_mask` bit
// i: module i; 0: all. kInvalidArgument if lora_rank < 1 or the mask names a module the table
// lacks.
AdapterSource synthetic_adapter(const model::ModuleTable& table, uint64_t seed, int32_t lora_rank,
                                uint32_t module_mask);

}  // namespace slora::adapter
