// The walk over a checkpoint: which matrices come, in which order, and which checkpoints are
// refused.
#include "slora/model/weights.hpp"

#include <cmath>
#include <map>
#include <set>

#include "model/recording_sink.hpp"
#include "model/test_files.hpp"

namespace slora::model {
namespace {

using core::Status;
using test::expect_refused;
using test::SafetensorsBuilder;
using test::TempFolder;

const std::string kAssets = SLORA_ASSETS;

void expect_complete(const RecordingSink& sink) {
  for (const auto& [key, matrix] : sink.matrices) {
    for (size_t r = 0; r < matrix.is_set.size(); ++r)
      ASSERT_TRUE(matrix.is_set[r]) << key.first << " row " << r;
  }
}

TEST(Weights, EveryLlamaLoadsWhole) {
  const std::tuple<const char*, int, size_t, uint64_t> models[] = {
      // folder, layers, matrices, parameters (base: half its data's bytes; gqa: the index's
      // total_parameters)
      {"/demo-model/base", 8, 1 + 8 * 4, 6'852'864},
      {"/tiny-models/llama-mha", 2, 1 + 2 * 4, 0},
      {"/tiny-models/llama-f32", 1, 1 + 1 * 4, 0},
      {"/tiny-models/llama3-gqa", 2, 2 + 2 * 4, 96'576}};
  for (const auto& [folder, num_layers, num_matrices, num_parameters] : models) {
    const ModelConfig config = read_config(kAssets + folder);
    const WeightPlan plan = plan_weights(config, TensorSet::open_model(kAssets + folder));
    RecordingSink sink;
    load_weights(plan, sink, nullptr);
    EXPECT_EQ(sink.matrices.size(), num_matrices) << folder;
    EXPECT_EQ(sink.vectors.size(), static_cast<size_t>(2 * num_layers + 1)) << folder;
    expect_complete(sink);
    if (num_parameters) {
      EXPECT_EQ(plan.num_parameters, num_parameters) << folder;
    }
  }
}

TEST(Weights, GroupsHoldTheirModulesInOrder) {
  const std::string folder = kAssets + "/tiny-models/llama3-gqa";
  const TensorSet tensors = TensorSet::open_model(folder);
  RecordingSink sink;
  load_weights(plan_weights(read_config(folder), tensors), sink, nullptr);
  const auto expect_rows = [&](const RecordingSink::Matrix& matrix, int64_t row_offset,
                               const std::string& name) {
    const std::vector<float> expected = to_floats(tensors.get(name));
    const auto begin = matrix.values.begin() + row_offset * matrix.k;
    EXPECT_TRUE(std::equal(expected.begin(), expected.end(), begin)) << name;
  };
  const std::string layer = "model.layers.1.";
  expect_rows(sink.at(MatrixKind::kQkv, 1), 0, layer + "self_attn.q_proj.weight");
  expect_rows(sink.at(MatrixKind::kQkv, 1), 64, layer + "self_attn.k_proj.weight");
  expect_rows(sink.at(MatrixKind::kQkv, 1), 96, layer + "self_attn.v_proj.weight");
  expect_rows(sink.at(MatrixKind::kO, 1), 0, layer + "self_attn.o_proj.weight");
  expect_rows(sink.at(MatrixKind::kGateUp, 1), 0, layer + "mlp.gate_proj.weight");
  expect_rows(sink.at(MatrixKind::kGateUp, 1), 80, layer + "mlp.up_proj.weight");
  expect_rows(sink.at(MatrixKind::kDown, 1), 0, layer + "mlp.down_proj.weight");
  expect_rows(sink.at(MatrixKind::kHead, -1), 0, "lm_head.weight");
  EXPECT_EQ(sink.at(MatrixKind::kQkv, 1).n, 128);
  EXPECT_EQ((sink.vectors.at({static_cast<int>(VectorKind::kMlpInputNorm), 1})),
            to_floats(tensors.get(layer + "post_attention_layernorm.weight")));
}

TEST(Weights, SyntheticPlansHaveTheSameMatrices) {
  for (const char* folder : {"/demo-model/base", "/tiny-models/llama3-gqa"}) {
    const ModelConfig config = read_config(kAssets + folder);
    const WeightPlan real = plan_weights(config, TensorSet::open_model(kAssets + folder));
    const WeightPlan synthetic = plan_synthetic_weights(config);
    ASSERT_EQ(real.matrices.size(), synthetic.matrices.size());
    for (size_t i = 0; i < real.matrices.size(); ++i) {
      EXPECT_EQ(real.matrices[i].id, synthetic.matrices[i].id);
      EXPECT_EQ(real.matrices[i].n, synthetic.matrices[i].n);
      EXPECT_EQ(real.matrices[i].k, synthetic.matrices[i].k);
    }
    EXPECT_EQ(real.num_parameters, synthetic.num_parameters);
    RecordingSink sink;
    fill_weights(synthetic, 7, sink, nullptr);
    expect_complete(sink);
    EXPECT_EQ(sink.vectors.begin()->second.front(), 1.0f);
  }
}

class CountingProgress final : public LoadProgress {
 public:
  explicit CountingProgress(int stop_after) : stop_after_(stop_after) {}
  bool advance(uint64_t done, uint64_t total) override {
    EXPECT_GE(done, done_);
    EXPECT_LE(done, total);
    done_ = done;
    total_ = total;
    return ++calls_ < stop_after_;
  }
  int stop_after_;
  int calls_ = 0;
  uint64_t done_ = 0;
  uint64_t total_ = 0;
};

TEST(Weights, ProgressEndsAtItsTotalAndCanCancel) {
  const std::string folder = kAssets + "/demo-model/base";
  const WeightPlan plan = plan_weights(read_config(folder), TensorSet::open_model(folder));
  RecordingSink sink;
  CountingProgress whole(INT32_MAX);
  load_weights(plan, sink, &whole);
  EXPECT_EQ(whole.done_, whole.total_);
  EXPECT_EQ(whole.total_, plan.source_bytes);
  RecordingSink part;
  CountingProgress stopped(5);
  expect_refused(Status::kCancelled, {"cancelled"}, [&] { load_weights(plan, part, &stopped); });
  EXPECT_EQ(stopped.calls_, 5);
  CountingProgress synthetic(2);
  RecordingSink filled;
  expect_refused(Status::kCancelled, {"cancelled"}, [&] {
    fill_weights(plan_synthetic_weights(read_config(folder)), 1, filled, &synthetic);
  });
}

// A model of one layer, hidden 4, two heads of 2, one kv head, ff 6, vocab 8, made to be spoilt.
class HostileWeights : public ::testing::Test {
 protected:
  using Tensors = std::map<std::string, std::vector<int64_t>>;

  HostileWeights() {
    const nlohmann::json config = {{"architectures", {"LlamaForCausalLM"}},
                                   {"vocab_size", 8},
                                   {"hidden_size", 4},
                                   {"intermediate_size", 6},
                                   {"num_hidden_layers", 1},
                                   {"num_attention_heads", 2},
                                   {"num_key_value_heads", 1},
                                   {"max_position_embeddings", 16},
                                   {"tie_word_embeddings", true}};
    config_ = parse_config(config.dump(), "config.json");
    const std::string layer = "model.layers.0.";
    tensors_ = {{"model.embed_tokens.weight", {8, 4}},
                {"model.norm.weight", {4}},
                {layer + "input_layernorm.weight", {4}},
                {layer + "post_attention_layernorm.weight", {4}},
                {layer + "self_attn.q_proj.weight", {4, 4}},
                {layer + "self_attn.k_proj.weight", {2, 4}},
                {layer + "self_attn.v_proj.weight", {2, 4}},
                {layer + "self_attn.o_proj.weight", {4, 4}},
                {layer + "mlp.gate_proj.weight", {6, 4}},
                {layer + "mlp.up_proj.weight", {6, 4}},
                {layer + "mlp.down_proj.weight", {4, 6}}};
  }

  TensorSet build(float value = 0.5f, const std::string& spoilt = "") {
    SafetensorsBuilder builder;
    for (const auto& [name, shape] : tensors_)
      builder.add(name, shape, name == spoilt ? value : 0.5f);
    return TensorSet::open_file(folder_.write("model.safetensors", builder.bytes()));
  }

  void refuse(Status status, const std::vector<std::string>& parts) {
    const TensorSet tensors = build();
    expect_refused(status, parts, [&] { plan_weights(config_, tensors); });
  }

  TempFolder folder_;
  ModelConfig config_;
  Tensors tensors_;
};

TEST_F(HostileWeights, TheModelItselfIsFine) {
  RecordingSink sink;
  load_weights(plan_weights(config_, build()), sink, nullptr);
  expect_complete(sink);
}

TEST_F(HostileWeights, MissingTensorsAreNamed) {
  tensors_.erase("model.layers.0.mlp.up_proj.weight");
  refuse(Status::kFormat,
         {"model.safetensors: tensor 'model.layers.0.mlp.up_proj.weight' is missing"});
}

TEST_F(HostileWeights, OtherShapesAreNamed) {
  tensors_["model.layers.0.self_attn.k_proj.weight"] = {4, 4};
  refuse(Status::kFormat,
         {"'model.layers.0.self_attn.k_proj.weight' has shape [4, 4]; expected [2, 4]"});
}

TEST_F(HostileWeights, TensorsThatWouldChangeTheResultAreRefused) {
  tensors_["model.layers.0.self_attn.q_proj.bias"] = {4};
  refuse(Status::kUnsupported,
         {"'model.layers.0.self_attn.q_proj.bias' has no place in LlamaForCausalLM"});
  tensors_.erase("model.layers.0.self_attn.q_proj.bias");
  tensors_["model.layers.1.input_layernorm.weight"] = {4};
  refuse(Status::kUnsupported, {"'model.layers.1.input_layernorm.weight' has no place"});
}

TEST_F(HostileWeights, RecomputedBuffersAreIgnored) {
  tensors_["model.layers.0.self_attn.rotary_emb.inv_freq"] = {1};
  EXPECT_NO_THROW(plan_weights(config_, build()));
}

TEST_F(HostileWeights, ATiedHeadMayBeStoredTwiceButNotDiffer) {
  tensors_["lm_head.weight"] = {8, 4};
  EXPECT_TRUE(plan_weights(config_, build()).is_tied);
  const TensorSet tensors = build(0.25f, "lm_head.weight");
  expect_refused(
      Status::kFormat,
      {"'lm_head.weight' differs from 'model.embed_tokens.weight'", "tie_word_embeddings"},
      [&] { plan_weights(config_, tensors); });
}

TEST_F(HostileWeights, AnUntiedModelNeedsItsHead) {
  config_.tie_word_embeddings = false;
  refuse(Status::kFormat, {"tensor 'lm_head.weight' is missing"});
}

TEST_F(HostileWeights, NanIsRefusedWithItsTensor) {
  RecordingSink sink;
  const TensorSet matrix = build(NAN, "model.layers.0.mlp.down_proj.weight");
  expect_refused(Status::kFormat, {"'model.layers.0.mlp.down_proj.weight' holds NaN at element 0"},
                 [&] { load_weights(plan_weights(config_, matrix), sink, nullptr); });
  const TensorSet norm = build(INFINITY, "model.norm.weight");
  expect_refused(Status::kFormat, {"'model.norm.weight' holds infinity"},
                 [&] { plan_weights(config_, norm); });
}

}  // namespace
}  // namespace slora::model
