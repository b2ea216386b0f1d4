// How a tensor-parallel group cuts a model: which outputs and inputs of each matrix a rank holds.
//
// Heads are cut whole, the intermediate and the vocabulary in runs; the hidden size is not cut. So
// a matrix is column-parallel if its outputs are cut (q, k, v, gate, up, embedding, head) and
// row-parallel if its inputs are (o, down). A rank's own ModelConfig and ModuleTable have its local
// sizes and otherwise say what the whole model's say.
#pragma once

#include <cstdint>
#include <vector>

#include "slora/model/config.hpp"

namespace slora::model {

inline constexpr int32_t kMaxTpSize = 64;

// How a group shares out the LoRA updates. Aligned: along with the base's matrices, which needs no
// collective of its own. Full: both halves of each update are cut, and the intermediate is
// exchanged (S-LoRA, arXiv 2311.03285, section 6).
enum class LoraSharding : int32_t { kAligned = 0, kFull = 1 };

struct ShardSpec {
  int32_t tp_rank = 0;
  int32_t tp_size = 1;
  LoraSharding lora_sharding = LoraSharding::kAligned;

  bool is_whole() const { return tp_size == 1; }
  bool operator==(const ShardSpec&) const = default;
};

struct IndexRange {
  int64_t begin;
  int64_t count;

  int64_t end() const { return begin + count; }
  bool operator==(const IndexRange&) const = default;
};

// Rank tp_rank's run of [0, size). Runs differ by at most 8, and begin at multiples of 8 (what
// vector loads of 16-bit elements want) where `size` is one and there are enough.
IndexRange split_evenly(int64_t size, const ShardSpec& shard);

// Refuses, with value and limit, a tp_size that the model cannot be cut into: kInvalidArgument
// outside 1..kMaxTpSize, kUnsupported where it does not divide the attention heads, where the kv
// heads cannot be shared out alike (neither divides the other), or where there is less than one
// intermediate column or vocabulary row a rank.
void check_shardable(const ModelConfig& config, int32_t tp_size);

// The configuration of a rank's part. kv heads are replicated where there are more ranks than they.
ModelConfig shard_config(const ModelConfig& whole, const ShardSpec& shard);

// The indices along `dim` of the whole model that the rank holds, in its own order: one run, or one
// for each part of a fused dimension. Neighbouring runs are joined.
std::vector<IndexRange> shard_ranges(Dim dim, const ModelConfig& whole, const ShardSpec& shard);

// Whether the inputs of a group's matrix are cut (o, down): its output is a sum over the ranks.
bool is_row_parallel(MatrixKind group);

}  // namespace slora::model
