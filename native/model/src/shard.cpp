// The one place that knows how a model is cut.
#include "slora/model/shard.hpp"

#include <algorithm>

#include "slora/core/status.hpp"

namespace slora::model {
namespace {

using core::fail;
using core::Status;

IndexRange query_heads(const ModelConfig& whole, const ShardSpec& shard) {
  const int64_t count = whole.num_heads / shard.tp_size;
  return {shard.tp_rank * count, count};
}

IndexRange kv_heads(const ModelConfig& whole, const ShardSpec& shard) {
  if (whole.num_kv_heads >= shard.tp_size) {
    const int64_t count = whole.num_kv_heads / shard.tp_size;
    return {shard.tp_rank * count, count};
  }
  return {int64_t{shard.tp_rank} * whole.num_kv_heads / shard.tp_size, 1};
}

IndexRange times(IndexRange range, int64_t factor) {
  return {range.begin * factor, range.count * factor};
}

void append(std::vector<IndexRange>& ranges, IndexRange range, int64_t offset) {
  range.begin += offset;
  if (!ranges.empty() && ranges.back().end() == range.begin) {
    ranges.back().count += range.count;
  } else {
    ranges.push_back(range);
  }
}

}  // namespace

IndexRange split_evenly(int64_t size, const ShardSpec& shard) {
  constexpr int64_t kGrain = 8;
  const int64_t grain = size % kGrain == 0 && size / kGrain >= shard.tp_size ? kGrain : 1;
  const int64_t grains = size / grain;
  const int64_t begin = grains * shard.tp_rank / shard.tp_size * grain;
  const int64_t end = grains * (shard.tp_rank + 1) / shard.tp_size * grain;
  return {begin, end - begin};
}

void check_shardable(const ModelConfig& config, int32_t tp_size) {
  if (tp_size < 1 || tp_size > kMaxTpSize)
    fail(Status::kInvalidArgument, "tp_size is ", tp_size, ", the limit is 1..", kMaxTpSize);
  if (config.num_heads % tp_size != 0) {
    fail(Status::kUnsupported, "tp_size is ", tp_size, ", which does not divide the model's ",
         config.num_heads, " attention heads");
  }
  if (config.num_kv_heads % tp_size != 0 && tp_size % config.num_kv_heads != 0) {
    fail(Status::kUnsupported, "tp_size is ", tp_size, ", which neither divides the model's ",
         config.num_kv_heads, " key-value heads nor is a multiple of them");
  }
  const int64_t fewest = std::min(config.intermediate_size, config.vocab_size);
  if (fewest < tp_size) {
    fail(Status::kUnsupported, "tp_size is ", tp_size,
         ", the model's intermediate_size and vocab_size allow at most ", fewest);
  }
}

ModelConfig shard_config(const ModelConfig& whole, const ShardSpec& shard) {
  ModelConfig local = whole;
  local.num_heads = static_cast<int32_t>(query_heads(whole, shard).count);
  local.num_kv_heads = static_cast<int32_t>(kv_heads(whole, shard).count);
  local.intermediate_size = split_evenly(whole.intermediate_size, shard).count;
  local.vocab_size = split_evenly(whole.vocab_size, shard).count;
  return local;
}

std::vector<IndexRange> shard_ranges(Dim dim, const ModelConfig& whole, const ShardSpec& shard) {
  const IndexRange query = times(query_heads(whole, shard), whole.head_size);
  const IndexRange key_value = times(kv_heads(whole, shard), whole.head_size);
  const IndexRange intermediate = split_evenly(whole.intermediate_size, shard);
  std::vector<IndexRange> ranges;
  switch (dim) {
    case Dim::kHidden:
    case Dim::kHead:
      append(ranges, {0, dim_of(dim, whole)}, 0);
      break;
    case Dim::kIntermediate:
      append(ranges, intermediate, 0);
      break;
    case Dim::kQuery:
      append(ranges, query, 0);
      break;
    case Dim::kKeyValue:
      append(ranges, key_value, 0);
      break;
    case Dim::kQkv:
      append(ranges, query, 0);
      append(ranges, key_value, dim_of(Dim::kQuery, whole));
      append(ranges, key_value, dim_of(Dim::kQuery, whole) + dim_of(Dim::kKeyValue, whole));
      break;
    case Dim::kGateUp:
      append(ranges, intermediate, 0);
      append(ranges, intermediate, whole.intermediate_size);
      break;
    case Dim::kVocab:
      append(ranges, split_evenly(whole.vocab_size, shard), 0);
      break;
  }
  return ranges;
}

bool is_row_parallel(MatrixKind group) {
  return group == MatrixKind::kO || group == MatrixKind::kDown;
}

}  // namespace slora::model
