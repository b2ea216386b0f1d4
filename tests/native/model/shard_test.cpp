// The ranks' parts of a model: together they are the whole, and sizes that cannot be cut are refused.
#include "slora/model/shard.hpp"

#include <filesystem>
#include <string>

#include "model/recording_sink.hpp"
#include "model/test_files.hpp"

namespace slora::model {
namespace {

using core::Status;
using test::expect_refused;

const std::string kAssets = SLORA_ASSETS;

TEST(Shard, RunsCoverASizeInOrderAndAreNearlyEqual) {
  for (const int64_t size : {1, 7, 8, 80, 320, 688, 4096, 11008, 32003}) {
    for (int32_t tp_size = 1; tp_size <= std::min<int64_t>(size, 9); ++tp_size) {
      SCOPED_TRACE(core::str_cat(size, " over ", tp_size));
      int64_t end = 0, least = size, most = 0;
      for (int32_t tp_rank = 0; tp_rank < tp_size; ++tp_rank) {
        const IndexRange own = split_evenly(size, {tp_rank, tp_size});
        EXPECT_EQ(own.begin, end);
        if (size % 8 == 0 && size >= 8 * tp_size) {
          EXPECT_EQ(own.begin % 8, 0);
        }
        end = own.end();
        least = std::min(least, own.count);
        most = std::max(most, own.count);
      }
      EXPECT_EQ(end, size);
      EXPECT_GE(least, 1);
      EXPECT_LE(most - least, 8);
    }
  }
}

TEST(Shard, FusedDimensionsAreCutInEachOfTheirParts) {
  const ModelConfig config = read_config(kAssets + "/tiny-models/phi3");  // 4 heads, 2 kv, 16 each
  EXPECT_EQ(shard_ranges(Dim::kQkv, config, {}), (std::vector<IndexRange>{{0, 128}}));
  EXPECT_EQ(shard_ranges(Dim::kQkv, config, {1, 2}),
            (std::vector<IndexRange>{{32, 32}, {80, 16}, {112, 16}}));
  EXPECT_EQ(shard_ranges(Dim::kGateUp, config, {1, 2}),
            (std::vector<IndexRange>{{40, 40}, {120, 40}}));
  // Four ranks, two kv heads: each is held twice.
  for (int32_t tp_rank = 0; tp_rank < 4; ++tp_rank) {
    EXPECT_EQ(shard_ranges(Dim::kKeyValue, config, {tp_rank, 4}),
              (std::vector<IndexRange>{{tp_rank / 2 * 16, 16}}));
  }
  EXPECT_EQ(shard_config(config, {3, 4}).num_kv_heads, 1);
}

TEST(Shard, SizesThatCannotBeCutAreRefused) {
  ModelConfig config = read_config(kAssets + "/demo-model/base");  // 8 heads, 4 kv
  expect_refused(Status::kInvalidArgument, {"tp_size is 0", "1..64"},
                 [&] { check_shardable(config, 0); });
  expect_refused(Status::kUnsupported, {"tp_size is 3", "8 attention heads"},
                 [&] { check_shardable(config, 3); });
  config.num_heads = 12;
  config.num_kv_heads = 6;
  expect_refused(Status::kUnsupported, {"tp_size is 4", "6 key-value heads"},
                 [&] { check_shardable(config, 4); });
  EXPECT_NO_THROW(check_shardable(config, 12));
  config.intermediate_size = 5;
  expect_refused(Status::kUnsupported, {"tp_size is 6", "at most 5"},
                 [&] { check_shardable(config, 6); });
}

// Rows and columns of a matrix that rank's part holds, of the whole model's.
void expect_part(const RecordingSink::Matrix& part, const RecordingSink::Matrix& whole,
                 const MatrixPlan& plan) {
  ASSERT_EQ(part.k, plan.k);
  for (const FillPart& run : plan.parts) {
    for (int64_t r = 0; r < run.num_rows; ++r) {
      for (int64_t c = 0; c < part.k; ++c) {
        ASSERT_EQ(part.values[static_cast<size_t>((run.row_offset + r) * part.k + c)],
                  whole.values[static_cast<size_t>((run.whole_row + r) * whole.k +
                                                   run.whole_column + c)])
            << "row " << r << " of the run at " << run.row_offset << ", column " << c;
      }
    }
  }
}

class ShardedModels : public testing::TestWithParam<std::string> {};

// Each rank's rows are the whole's, from files and as random numbers; each element of the whole is
// held by some rank, once unless it belongs to a replicated kv head.
TEST_P(ShardedModels, PartsAreThoseOfTheWhole) {
  const std::string folder = kAssets + "/" + GetParam();
  const ModelConfig config = read_config(folder);
  const TensorSet tensors = TensorSet::open_model(folder);
  RecordingSink whole, random;
  load_weights(plan_weights(config, tensors), whole, nullptr);
  fill_weights(plan_synthetic_weights(config), 7, random, nullptr);
  for (const int32_t tp_size : {2, 4}) {
    std::map<Key, int64_t> held;
    uint64_t parameters = 0;
    for (int32_t tp_rank = 0; tp_rank < tp_size; ++tp_rank) {
      SCOPED_TRACE(core::str_cat("rank ", tp_rank, " of ", tp_size));
      const ShardSpec shard{tp_rank, tp_size};
      const WeightPlan plan = plan_weights(config, tensors, shard);
      const WeightPlan synthetic = plan_synthetic_weights(config, shard);
      RecordingSink part, random_part;
      load_weights(plan, part, nullptr);
      fill_weights(synthetic, 7, random_part, nullptr);
      parameters = plan.num_parameters;
      ASSERT_EQ(plan.matrices.size(), whole.matrices.size());
      for (const MatrixPlan& matrix : plan.matrices) {
        const Key key = RecordingSink::key(matrix.id);
        expect_part(part.matrices.at(key), whole.matrices.at(key), matrix);
        expect_part(random_part.matrices.at(key), random.matrices.at(key), matrix);
        held[key] += matrix.n * matrix.k;
      }
      for (const auto& [key, values] : whole.vectors) {
        const bool is_summed = key.first == static_cast<int>(VectorKind::kOBias) ||
                               key.first == static_cast<int>(VectorKind::kDownBias);
        EXPECT_EQ(part.vectors.count(key), is_summed && tp_rank > 0 ? 0u : 1u);
      }
    }
    EXPECT_EQ(parameters, plan_weights(config, tensors).num_parameters);
    for (const auto& [key, matrix] : whole.matrices) {
      const int64_t replicas = std::max(0, tp_size - config.num_kv_heads);
      const int64_t extra = key.first == static_cast<int>(MatrixKind::kQkv)
                                ? 2 * replicas * config.head_size * config.hidden_size
                                : 0;
      EXPECT_EQ(held.at(key), matrix.n * matrix.k + extra) << key.first;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Models, ShardedModels,
                         testing::Values("demo-model/base", "tiny-models/llama-mha",
                                         "tiny-models/llama-bias-linear", "tiny-models/llama3-gqa",
                                         "tiny-models/qwen2-yarn", "tiny-models/phi3",
                                         "tiny-models/gemma2"),
                         [](const auto& param_info) {
                           std::string name = param_info.param;
                           for (char& c : name) c = c == '/' || c == '-' ? '_' : c;
                           return name;
                         });

}  // namespace
}  // namespace slora::model
