// Parts of tensors by rows and columns. Which rows and columns is model/shard.hpp's to say.
#include "slora/adapter/adapter_shard.hpp"

#include <algorithm>
#include <cstring>
#include <deque>

namespace slora::adapter {
namespace {

using model::IndexRange;
using model::TensorRef;

// Keeps what parts point into: the whole adapter, and what had to be copied out of it.
struct CutStorage {
  std::shared_ptr<const void> whole;
  std::deque<std::vector<uint8_t>> blocks;
};

class Cutter {
 public:
  // Without storage the parts have shapes and no data.
  Cutter(const model::ModelConfig& config, const model::ShardSpec& shard, CutStorage* storage)
      : config_(config), shard_(shard), storage_(storage) {}

  ModuleWeights cut(const ModuleWeights& whole) {
    const model::LinearRow& linear =
        config_.architecture->linears[static_cast<size_t>(whole.module_idx)];
    const bool is_summed = model::is_row_parallel(linear.group);
    const std::vector<IndexRange> outputs = model::shard_ranges(linear.out_dim, config_, shard_);
    ModuleWeights part = whole;
    part.factor = cut_values(whole.factor, outputs);
    part.offset = cut_values(whole.offset, outputs);
    if (is_summed && shard_.tp_rank != 0) std::fill(part.offset.begin(), part.offset.end(), 0.0f);
    if (whole.lora_rank == 0) return part;
    if (is_summed) {
      part.a = columns(whole.a, model::shard_ranges(linear.in_dim, config_, shard_).front());
      if (is_full()) part.b = rows(whole.b, {model::split_evenly(whole.b.shape[0], shard_)});
    } else {
      part.b = rows(whole.b, outputs);
      if (is_full()) part.a = rows(whole.a, {own_lora_ranks(whole.lora_rank)});
    }
    return part;
  }

  WideWeights cut_embedding(const WideWeights& whole) {
    WideWeights part = cut_rows_of_tokens(whole);
    if (whole.lora_rank > 0) part.a = columns(whole.a, vocab());
    return part;
  }

  WideWeights cut_head(const WideWeights& whole) {
    WideWeights part = cut_rows_of_tokens(whole);
    if (whole.lora_rank > 0) part.b = rows(whole.b, {vocab()});
    return part;
  }

 private:
  bool is_full() const { return shard_.lora_sharding == model::LoraSharding::kFull; }
  IndexRange vocab() const { return model::split_evenly(config_.vocab_size, shard_); }

  IndexRange own_lora_ranks(int64_t lora_rank) const {
    const int64_t begin = lora_rank * shard_.tp_rank / shard_.tp_size;
    return {begin, lora_rank * (shard_.tp_rank + 1) / shard_.tp_size - begin};
  }

  static std::vector<float> cut_values(const std::vector<float>& whole,
                                       const std::vector<IndexRange>& ranges) {
    if (whole.empty()) return {};
    std::vector<float> part;
    for (const IndexRange& range : ranges)
      part.insert(part.end(), whole.begin() + range.begin, whole.begin() + range.end());
    return part;
  }

  TensorRef rows(const TensorRef& whole, const std::vector<IndexRange>& ranges) {
    TensorRef part = whole;
    part.shape[0] = 0;
    for (const IndexRange& range : ranges) part.shape[0] += range.count;
    const auto row_bytes =
        static_cast<size_t>(whole.shape[1]) * static_cast<size_t>(core::dtype_bytes(whole.dtype));
    part.bytes = static_cast<uint64_t>(part.shape[0]) * row_bytes;
    if (!storage_) return without_data(part);
    if (ranges.size() == 1) {
      part.data += static_cast<size_t>(ranges.front().begin) * row_bytes;
      return part;
    }
    std::vector<uint8_t>& block = storage_->blocks.emplace_back();
    for (const IndexRange& range : ranges) {
      const uint8_t* begin = whole.data + static_cast<size_t>(range.begin) * row_bytes;
      block.insert(block.end(), begin, begin + static_cast<size_t>(range.count) * row_bytes);
    }
    part.data = block.data();
    return part;
  }

  TensorRef columns(const TensorRef& whole, IndexRange range) {
    TensorRef part = whole;
    part.shape[1] = range.count;
    const auto element_bytes = static_cast<size_t>(core::dtype_bytes(whole.dtype));
    const size_t whole_bytes = static_cast<size_t>(whole.shape[1]) * element_bytes;
    const size_t row_bytes = static_cast<size_t>(range.count) * element_bytes;
    const auto num_rows = static_cast<size_t>(whole.shape[0]);
    part.bytes = num_rows * row_bytes;
    if (!storage_) return without_data(part);
    std::vector<uint8_t>& block = storage_->blocks.emplace_back(part.bytes);
    for (size_t row = 0; row < num_rows; ++row) {
      std::memcpy(block.data() + row * row_bytes,
                  whole.data + row * whole_bytes + static_cast<size_t>(range.begin) * element_bytes,
                  row_bytes);
    }
    part.data = block.data();
    return part;
  }

  static TensorRef without_data(TensorRef tensor) {
    tensor.data = nullptr;
    return tensor;
  }

  // Rows in place of the base's, of the rank's tokens.
  WideWeights cut_rows_of_tokens(const WideWeights& whole) {
    WideWeights part = whole;
    if (!whole.rows.data) return part;
    const IndexRange own = vocab();
    if (whole.row_ids.empty()) {
      part.rows = rows(whole.rows, {own});
      return part;
    }
    part.row_ids.clear();
    part.row_order.clear();
    for (size_t i = 0; i < whole.row_ids.size(); ++i) {
      const int64_t token = whole.row_ids[i] - own.begin;
      if (token < 0 || token >= own.count) continue;
      part.row_ids.push_back(static_cast<int32_t>(token));
      part.row_order.push_back(whole.row_order[i]);
    }
    if (part.row_ids.empty()) part.rows = {};
    return part;
  }

  const model::ModelConfig& config_;
  model::ShardSpec shard_;
  CutStorage* storage_;
};

}  // namespace

AdapterSource cut_adapter(const AdapterSource& whole, const model::ModelConfig& config,
                          const model::ShardSpec& shard) {
  const auto storage = std::make_shared<CutStorage>();
  storage->whole = whole.storage;
  Cutter cutter(config, shard, storage.get());
  AdapterSource part;
  part.exclusive = whole.exclusive;
  for (const ModuleWeights& weights : whole.modules) part.modules.push_back(cutter.cut(weights));
  part.embedding = cutter.cut_embedding(whole.embedding);
  part.head = cutter.cut_head(whole.head);
  part.is_wide = whole.has_wide();
  part.shares_lora_ranks = shard.lora_sharding == model::LoraSharding::kFull;
  part.storage = storage;
  return part;
}

int32_t most_pages(const AdapterSource& whole, const model::ModelConfig& config,
                   const model::ShardSpec& shard, const model::ModuleTable& table,
                   const PageGeometry& geometry) {
  int32_t pages = 0;
  for (int32_t tp_rank = 0; tp_rank < shard.tp_size; ++tp_rank) {
    Cutter cutter(config, {tp_rank, shard.tp_size, shard.lora_sharding}, nullptr);
    AdapterSource shapes;
    for (const ModuleWeights& weights : whole.modules)
      shapes.modules.push_back(cutter.cut(weights));
    pages = std::max(pages, plan_image(shapes, table, geometry).num_pages);
  }
  return pages;
}

}  // namespace slora::adapter
