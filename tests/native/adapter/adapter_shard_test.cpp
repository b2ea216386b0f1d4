// Parts of adapters: products of the parts are parts of the products, whole rows follow the
// vocabulary, and every rank needs as many pages as any.
#include "slora/adapter/adapter_shard.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "slora/adapter/peft_reader.hpp"
#include "slora/core/status.hpp"
#include "slora/model/config.hpp"

namespace slora::adapter {
namespace {

using model::IndexRange;
using model::LoraSharding;
using model::ShardSpec;

const std::string kAssets = SLORA_ASSETS;

// B A as [out, in], from lora_ranks [begin, begin + a rows) of b.
std::vector<double> product(const model::TensorRef& a, const model::TensorRef& b, int64_t begin) {
  const std::vector<float> av = model::to_floats(a), bv = model::to_floats(b);
  const int64_t in = a.shape[1], out = b.shape[0], stride = b.shape[1];
  std::vector<double> sum(static_cast<size_t>(out * in));
  for (int64_t o = 0; o < out; ++o) {
    for (int64_t r = 0; r < a.shape[0]; ++r) {
      for (int64_t i = 0; i < in; ++i)
        sum[static_cast<size_t>(o * in + i)] +=
            double{bv[static_cast<size_t>(o * stride + begin + r)]} *
            av[static_cast<size_t>(r * in + i)];
    }
  }
  return sum;
}

// Adds each rank's part of a module's update where it belongs; the sum is the whole's.
void expect_whole(const AdapterSource& whole, const model::ModelConfig& config, int32_t tp_size,
                  LoraSharding sharding) {
  const bool is_full = sharding == LoraSharding::kFull;
  std::vector<AdapterSource> parts;
  for (int32_t i = 0; i < tp_size; ++i)
    parts.push_back(cut_adapter(whole, config, {i, tp_size, sharding}));
  for (size_t m = 0; m < whole.modules.size(); ++m) {
    const ModuleWeights& module = whole.modules[m];
    if (module.lora_rank == 0) continue;
    SCOPED_TRACE("module " + std::to_string(m));
    const auto& linear = config.architecture->linears[static_cast<size_t>(module.module_idx)];
    const bool is_summed = model::is_row_parallel(linear.group);
    const int64_t in = module.a.shape[1];
    std::vector<double> sum(static_cast<size_t>(module.b.shape[0] * in));
    std::vector<int> held(sum.size());
    for (int32_t i = 0; i < tp_size; ++i) {
      const ShardSpec shard{i, tp_size, sharding};
      const ModuleWeights& part = parts[static_cast<size_t>(i)].modules[m];
      EXPECT_EQ(part.lora_rank, module.lora_rank);
      // With full sharding another rank's half is needed: A of all ranks for this rank's B
      // (column-parallel), or B of all ranks for this rank's columns of A (row-parallel).
      for (int32_t other = 0; other < (is_full ? tp_size : 1); ++other) {
        const ModuleWeights& peer =
            is_full ? parts[static_cast<size_t>(other)].modules[m] : part;
        const ShardSpec peer_shard{is_full ? other : i, tp_size, sharding};
        const model::TensorRef& a = is_summed ? part.a : peer.a;
        const model::TensorRef& b = is_summed ? peer.b : part.b;
        const int64_t first_rank =
            is_full && !is_summed ? int64_t{module.lora_rank} * other / tp_size : 0;
        const std::vector<double> update = product(a, b, first_rank);
        const auto inputs =
            is_summed ? model::shard_ranges(linear.in_dim, config, shard)
                      : std::vector<IndexRange>{{0, in}};
        const auto outputs =
            !is_summed ? model::shard_ranges(linear.out_dim, config, shard)
            : is_full  ? std::vector<IndexRange>{model::split_evenly(module.b.shape[0], peer_shard)}
                       : std::vector<IndexRange>{{0, module.b.shape[0]}};
        size_t at = 0;
        for (const IndexRange& rows : outputs) {
          for (int64_t o = rows.begin; o < rows.end(); ++o) {
            for (int64_t c = 0; c < inputs.front().count; ++c) {
              const auto place = static_cast<size_t>(o * in + inputs.front().begin + c);
              sum[place] += update[at++];
              held[place] += is_full && !is_summed ? other == 0 : 1;
            }
          }
        }
        ASSERT_EQ(at, update.size());
      }
    }
    const std::vector<double> expected = product(module.a, module.b, 0);
    for (size_t i = 0; i < expected.size(); ++i) {
      ASSERT_GE(held[i], 1);  // more than once only for a replicated kv head
      ASSERT_NEAR(sum[i] / held[i], expected[i], 1e-9) << i;
    }
  }
}

TEST(AdapterShard, UpdatesOfThePartsAreTheWhole) {
  const std::pair<const char*, const char*> adapters[] = {
      {"tiny-models/llama-mha", "rslora-all-r8"},  {"tiny-models/llama-mha", "rank-pattern"},
      {"tiny-models/llama3-gqa", "bf16-r16"},      {"tiny-models/phi3", "rslora-all-r8"},
      {"tiny-models/qwen2-yarn", "rslora-all-r8"}, {"tiny-models/gemma2", "rslora-all-r8"}};
  for (const auto& [folder, name] : adapters) {
    const std::string path = kAssets + "/" + folder;
    const model::ModelConfig config = model::read_config(path);
    const model::ModuleTable table = model::module_table(config);
    const AdapterSource whole =
        read_peft_adapter(path + "/adapters/" + name, BaseModel{&table, &config, path});
    const PageGeometry pages{256, core::DType::kF32};
    for (const int32_t tp_size : {2, 4}) {
      for (const LoraSharding sharding : {LoraSharding::kAligned, LoraSharding::kFull}) {
        SCOPED_TRACE(core::str_cat(folder, " ", name, " over ", tp_size, " ",
                                   sharding == LoraSharding::kFull ? "full" : "aligned"));
        expect_whole(whole, config, tp_size, sharding);
        int32_t most = 0;
        for (int32_t i = 0; i < tp_size; ++i) {
          const AdapterSource part = cut_adapter(whole, config, {i, tp_size, sharding});
          most = std::max(most, plan_image(part, table, pages).num_pages);
          const ImageLayout agreed = plan_image(
              part, table, pages,
              most_pages(whole, config, {i, tp_size, sharding}, table, pages));
          EXPECT_GE(agreed.num_pages, most);
        }
        EXPECT_EQ(most_pages(whole, config, {0, tp_size, sharding}, table, pages), most);
      }
    }
  }
}

// Of dora-all: q, k, v have biases and factors; o has neither offset nor bias.
TEST(AdapterShard, FactorsAndOffsetsBelongToOutputs) {
  const std::string path = kAssets + "/tiny-models/llama-bias-linear";
  const model::ModelConfig config = model::read_config(path);
  const model::ModuleTable table = model::module_table(config);
  const AdapterSource whole =
      read_peft_adapter(path + "/adapters/bias-all", BaseModel{&table, &config, path});
  size_t num_summed = 0;
  for (int32_t i = 0; i < 2; ++i) {
    const ShardSpec shard{i, 2};
    const AdapterSource part = cut_adapter(whole, config, shard);
    ASSERT_EQ(part.modules.size(), whole.modules.size());
    for (size_t m = 0; m < whole.modules.size(); ++m) {
      const std::vector<float>& all = whole.modules[m].offset;
      const std::vector<float>& own = part.modules[m].offset;
      const auto& linear =
          config.architecture->linears[static_cast<size_t>(whole.modules[m].module_idx)];
      if (model::is_row_parallel(linear.group)) {
        ++num_summed;
        EXPECT_EQ(own, i == 0 ? all : std::vector<float>(all.size(), 0.0f));
        continue;
      }
      const IndexRange range = model::shard_ranges(linear.out_dim, config, shard).front();
      EXPECT_EQ(own, std::vector<float>(all.begin() + range.begin, all.begin() + range.end()));
    }
  }
  EXPECT_GT(num_summed, 0u);
}

TEST(AdapterShard, RowsOfTokensFollowTheVocabulary) {
  const std::string path = kAssets + "/tiny-models/llama3-gqa";
  const model::ModelConfig config = model::read_config(path);
  const model::ModuleTable table = model::module_table(config);
  const BaseModel base{&table, &config, path};
  const AdapterSource tokens = read_peft_adapter(path + "/adapters/trainable-tokens", base);
  const AdapterSource saved = read_peft_adapter(path + "/adapters/modules-to-save", base);
  const AdapterSource embed = read_peft_adapter(path + "/adapters/embed", base);
  std::vector<int32_t> ids, order;
  int64_t num_saved = 0, num_columns = 0;
  for (int32_t i = 0; i < 4; ++i) {
    const ShardSpec shard{i, 4};
    const IndexRange own = model::split_evenly(config.vocab_size, shard);
    const AdapterSource part = cut_adapter(tokens, config, shard);
    EXPECT_TRUE(part.has_wide());  // alike on all ranks, whoever has rows
    EXPECT_EQ(part.embedding.rows.data == nullptr, part.embedding.row_ids.empty());
    for (size_t k = 0; k < part.embedding.row_ids.size(); ++k) {
      EXPECT_LT(part.embedding.row_ids[k], own.count);
      ids.push_back(static_cast<int32_t>(own.begin) + part.embedding.row_ids[k]);
      order.push_back(part.embedding.row_order[k]);
    }
    const AdapterSource saved_part = cut_adapter(saved, config, shard);
    for (const auto& [wide, all] : {std::pair{&saved_part.embedding, &saved.embedding},
                                    std::pair{&saved_part.head, &saved.head}}) {
      if (!all->rows.data) continue;
      EXPECT_EQ(wide->rows.shape[0], own.count);
      EXPECT_EQ(model::to_floats(wide->rows),
                model::to_floats(all->rows.rows(own.begin, own.count)));
      num_saved += own.count;
    }
    num_columns += cut_adapter(embed, config, shard).embedding.a.shape[1];
  }
  EXPECT_EQ(ids, tokens.embedding.row_ids);
  EXPECT_EQ(order, tokens.embedding.row_order);
  EXPECT_EQ(num_saved % config.vocab_size, 0);
  EXPECT_GT(num_saved, 0);
  EXPECT_EQ(num_columns, config.vocab_size);
}

}  // namespace
}  // namespace slora::adapter
