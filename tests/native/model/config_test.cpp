// Configurations as read, and those that are refused.
#include "slora/model/config.hpp"

#include <cmath>

#include "model/test_files.hpp"
#include "slora/model/module_table.hpp"

namespace slora::model {
namespace {

using core::Status;
using nlohmann::json;
using test::expect_refused;

const std::string kAssets = SLORA_ASSETS;

json base_config() {
  return json::parse(test::read_bytes(kAssets + "/demo-model/base/config.json"));
}

ModelConfig parse_with(const json& changes) {
  json config = base_config();
  for (const auto& [key, value] : changes.items()) {
    if (value == "(removed)") {
      config.erase(key);
    } else {
      config[key] = value;
    }
  }
  return parse_config(config.dump(), "config.json");
}

void refuse(Status status, const json& changes, const std::vector<std::string>& parts) {
  expect_refused(status, parts, [&] { parse_with(changes); });
}

TEST(Config, ReadsTheDemoModel) {
  const ModelConfig config = read_config(kAssets + "/demo-model/base");
  EXPECT_EQ(config.architecture->name, "LlamaForCausalLM");
  EXPECT_EQ(config.vocab_size, 4096);
  EXPECT_EQ(config.hidden_size, 256);
  EXPECT_EQ(config.intermediate_size, 688);
  EXPECT_EQ(config.num_layers, 8);
  EXPECT_EQ(config.num_heads, 8);
  EXPECT_EQ(config.num_kv_heads, 4);
  EXPECT_EQ(config.head_size, 32);
  EXPECT_EQ(config.rotary_size, 32);
  EXPECT_EQ(config.max_position, 512);
  EXPECT_EQ(config.rms_norm_eps, 1e-5);
  EXPECT_TRUE(config.tie_word_embeddings);
  EXPECT_EQ(config.stored_dtype, "bfloat16");
  EXPECT_EQ(config.bos_token_ids, (std::vector<int64_t>{4080}));
  EXPECT_EQ(config.eos_token_ids, (std::vector<int64_t>{4081, 4089}));
  EXPECT_EQ(config.rope, RopeConfig());
}

TEST(Config, ReadsTheTinyLlamas) {
  EXPECT_EQ(read_config(kAssets + "/tiny-models/llama-mha").num_kv_heads, 4);
  EXPECT_EQ(read_config(kAssets + "/tiny-models/llama-f32").num_kv_heads, 1);
  const ModelConfig gqa = read_config(kAssets + "/tiny-models/llama3-gqa");
  EXPECT_FALSE(gqa.tie_word_embeddings);
  EXPECT_EQ(gqa.rope, (RopeConfig{RopeType::kLlama3, 500000.0, 8.0, 1.0, 4.0, 32}));
}

TEST(Config, ReadsTheOtherTinyArchitectures) {
  const auto read = [](const char* folder) {
    return read_config(kAssets + "/tiny-models/" + std::string(folder));
  };
  EXPECT_EQ(read("mistral-swa").windows, (std::vector<int32_t>{8, 8}));
  EXPECT_EQ(read("qwen2").windows, (std::vector<int32_t>{0, 0}));
  EXPECT_FALSE(read("qwen2").attention_bias);
  EXPECT_EQ(read("qwen3").head_size, 32);
  const ModelConfig yarn = read("qwen2-yarn");
  EXPECT_EQ(yarn.rope.type, RopeType::kYarn);
  EXPECT_NEAR(yarn.rope.attention_factor, 0.1 * std::log(4.0) + 1, 1e-12);
  const ModelConfig gemma = read("gemma2");
  EXPECT_EQ(gemma.windows, (std::vector<int32_t>{8, 0}));
  EXPECT_EQ(gemma.attention_softcap, 50.0f);
  EXPECT_EQ(gemma.final_softcap, 30.0f);
  EXPECT_FLOAT_EQ(gemma.attention_scale, 1 / std::sqrt(24.0f));
  EXPECT_EQ(read("phi3").rotary_size, 16);
  const ModelConfig biased = read("llama-bias-linear");
  EXPECT_TRUE(biased.attention_bias);
  EXPECT_TRUE(biased.mlp_bias);
  EXPECT_EQ(biased.rope.type, RopeType::kLinear);
}

TEST(Config, UnknownArchitecturesAreRefusedWithTheKnownOnes) {
  refuse(Status::kUnsupported, {{"architectures", {"MixtralForCausalLM"}}},
         {"MixtralForCausalLM", "is not implemented", "Gemma2ForCausalLM"});
}

TEST(Config, WindowsFollowEachArchitecturesRule) {
  const json qwen = {{"architectures", {"Qwen2ForCausalLM"}}, {"sliding_window", 8}};
  json upper = qwen;
  upper["use_sliding_window"] = true;
  upper["max_window_layers"] = 6;
  EXPECT_EQ(parse_with(qwen).windows, std::vector<int32_t>(8, 0));
  EXPECT_EQ(parse_with(upper).windows, (std::vector<int32_t>{0, 0, 0, 0, 0, 0, 8, 8}));
  upper["layer_types"] = {"sliding_attention"};
  refuse(Status::kFormat, upper, {"layer_types", "has 1 entries for 8 layers"});
  EXPECT_EQ(
      parse_with({{"architectures", {"MistralForCausalLM"}}, {"sliding_window", nullptr}}).windows,
      std::vector<int32_t>(8, 0));
}

TEST(Config, PartialRotaryBelongsToPhi3) {
  const json phi = {{"architectures", {"Phi3ForCausalLM"}}, {"partial_rotary_factor", 0.5}};
  EXPECT_EQ(parse_with(phi).rotary_size, 16);
  json tiny = phi;
  tiny["partial_rotary_factor"] = 0.01;
  refuse(Status::kFormat, tiny, {"partial_rotary_factor", "rotates 0 of 32"});
}

TEST(Config, ReadsTheKeyFormOfTransformers5) {
  const ModelConfig config = parse_with(
      {{"rope_theta", "(removed)"},
       {"rope_scaling", "(removed)"},
       {"torch_dtype", "(removed)"},
       {"dtype", "float16"},
       {"rope_parameters", {{"rope_type", "linear"}, {"rope_theta", 5000.0}, {"factor", 2.0}}}});
  EXPECT_EQ(config.stored_dtype, "float16");
  EXPECT_EQ(config.rope.type, RopeType::kLinear);
  EXPECT_EQ(config.rope.theta, 5000.0);
  EXPECT_EQ(config.rope.factor, 2.0);
}

TEST(Config, OldAndNewRopeKeysTogetherMustAgree) {
  const json linear = {{"type", "linear"}, {"factor", 2.0}};
  EXPECT_EQ(parse_with({{"rope_scaling", linear}, {"rope_parameters", linear}}).rope.type,
            RopeType::kLinear);
  refuse(Status::kFormat,
         {{"rope_scaling", linear}, {"rope_parameters", {{"type", "linear"}, {"factor", 4.0}}}},
         {"rope_parameters", "disagrees with rope_scaling"});
}

TEST(Config, DefaultsAreThoseOfTransformers) {
  const ModelConfig config = parse_with({{"head_dim", nullptr},
                                         {"num_key_value_heads", "(removed)"},
                                         {"rms_norm_eps", "(removed)"},
                                         {"tie_word_embeddings", "(removed)"},
                                         {"rope_theta", "(removed)"},
                                         {"eos_token_id", nullptr}});
  EXPECT_EQ(config.head_size, 32);
  EXPECT_EQ(config.num_kv_heads, 8);
  EXPECT_EQ(config.rms_norm_eps, 1e-6);
  EXPECT_FALSE(config.tie_word_embeddings);
  EXPECT_EQ(config.rope.theta, 10000.0);
  EXPECT_TRUE(config.eos_token_ids.empty());
}

TEST(Config, ValuesOutOfTheirLimitsAreRefused) {
  refuse(Status::kFormat, {{"vocab_size", "(removed)"}}, {"config.json: vocab_size is missing"});
  refuse(Status::kFormat, {{"vocab_size", 0}}, {"vocab_size 0 is not in [1, 16777216]"});
  refuse(Status::kFormat, {{"hidden_size", -256}}, {"hidden_size -256"});
  refuse(Status::kFormat, {{"hidden_size", 18446744073709551615u}},
         {"hidden_size 18446744073709551615 is not in"});
  refuse(Status::kFormat, {{"hidden_size", 256.0}}, {"hidden_size 256.0 is not an integer"});
  refuse(Status::kFormat, {{"hidden_size", "256"}}, {"hidden_size \"256\" is not an integer"});
  refuse(Status::kFormat, {{"num_hidden_layers", 1000000}}, {"num_hidden_layers 1000000"});
  refuse(Status::kFormat, {{"num_key_value_heads", 3}},
         {"num_key_value_heads 3 does not divide num_attention_heads 8"});
  refuse(Status::kFormat, {{"head_dim", 31}}, {"head_dim 31", "not an even number"});
  refuse(Status::kFormat, {{"head_dim", nullptr}, {"hidden_size", 250}},
         {"hidden_size 250 is not a multiple"});
  refuse(Status::kFormat, {{"rms_norm_eps", -1e-5}}, {"rms_norm_eps"});
  refuse(Status::kFormat, {{"tie_word_embeddings", "yes"}},
         {"tie_word_embeddings \"yes\" is not true or false"});
  refuse(Status::kFormat, {{"eos_token_id", {1, "x"}}}, {"eos_token_id", "token id"});
  refuse(Status::kFormat, {{"architectures", json::array()}},
         {"architectures [] is not a list of one name"});
  refuse(Status::kFormat, {{"rope_scaling", {{"type", "linear"}}}},
         {"rope_scaling.factor is missing"});
  refuse(Status::kFormat, {{"rope_scaling", 2.0}}, {"rope_scaling 2.0 is not an object"});
  refuse(Status::kFormat,
         {{"rope_scaling",
           {{"type", "llama3"},
            {"factor", 8},
            {"low_freq_factor", 4},
            {"high_freq_factor", 4},
            {"original_max_position_embeddings", 32}}}},
         {"rope_scaling.high_freq_factor 4 is not above low_freq_factor 4"});
}

TEST(Config, OptionsThatChangeTheResultAreRefusedByName) {
  const json options = {{"hidden_act", "gelu"},
                        {"pretraining_tp", 2},
                        {"partial_rotary_factor", 0.5},
                        {"quantization_config", {{"bits", 4}}},
                        {"attn_logit_softcapping", 50.0},
                        {"final_logit_softcapping", 30.0},
                        {"query_pre_attn_scalar", 24},
                        {"num_local_experts", 8},
                        {"embedding_multiplier", 12.0},
                        {"sliding_window", 8},
                        {"is_causal", false},
                        {"auto_map", {{"AutoModelForCausalLM", "x.Y"}}},
                        {"layer_types", {"full_attention", "sliding_attention"}}};
  for (const auto& [key, value] : options.items()) {
    refuse(Status::kUnsupported, {{key, value}},
           {"config.json: " + key + " = ", "is not implemented"});
  }
  for (const char* key : {"attention_bias", "mlp_bias"}) {
    refuse(Status::kUnsupported, {{"architectures", {"MistralForCausalLM"}}, {key, true}},
           {"config.json: " + std::string(key) + " = true is not implemented"});
  }
  for (const char* type : {"ntk", "proportional"}) {
    refuse(Status::kUnsupported, {{"rope_scaling", {{"rope_type", type}, {"factor", 2.0}}}},
           {"rope_scaling.rope_type = \"" + std::string(type) + "\" is not implemented"});
  }
  refuse(Status::kUnsupported,
         {{"rope_scaling", {{"type", "linear"}, {"factor", 2.0}, {"mscale", 1.0}}}},
         {"rope_scaling.mscale = 1.0"});
  refuse(Status::kUnsupported,
         {{"rope_parameters", {{"full_attention", {{"rope_type", "default"}}}}}},
         {"rope options for each kind of layer"});
}

TEST(Config, OptionsWithoutEffectAreIgnored) {
  EXPECT_NO_THROW(parse_with({{"sliding_window", 512},
                              {"use_cache", false},
                              {"attention_dropout", 0.1},
                              {"layer_types", {"full_attention"}},
                              {"auto_map", {{"AutoTokenizer", "x.Y"}}},
                              {"some_new_key", {1, 2}}}));
  EXPECT_NO_THROW(parse_with({{"sliding_window", 8}, {"use_sliding_window", false}}));
}

TEST(Config, ModuleTableOfTheDemoModel) {
  const ModuleTable table = module_table(read_config(kAssets + "/demo-model/base"));
  ASSERT_EQ(table.num_modules(), 7);
  EXPECT_EQ(table.full_name(3, 0), "model.layers.3.self_attn.q_proj");
  const int64_t expected[][3] = {{256, 256, 0}, {256, 128, 256}, {256, 128, 384}, {256, 256, 0},
                                 {256, 688, 0}, {256, 688, 688}, {688, 256, 0}};
  for (int32_t m = 0; m < 7; ++m) {
    const LinearModule& module = table.modules[static_cast<size_t>(m)];
    EXPECT_EQ(module.in_dim, expected[m][0]) << module.name;
    EXPECT_EQ(module.out_dim, expected[m][1]) << module.name;
    EXPECT_EQ(module.column_offset, expected[m][2]) << module.name;
  }
}

}  // namespace
}  // namespace slora::model
