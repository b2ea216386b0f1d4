// PEFT folders that lie, ask for more than is implemented, or would do less than they say.
#include <cmath>
#include <map>

#include "model/test_files.hpp"
#include "slora/adapter/peft_reader.hpp"

namespace slora::adapter {
namespace {

using core::Status;
using nlohmann::json;
using test::expect_refused;
using test::SafetensorsBuilder;
using test::TempFolder;

// An adapter of rank 2 on q of both layers of a model with hidden size 4, made to be spoilt.
class HostileAdapter : public ::testing::Test {
 protected:
  HostileAdapter() {
    table_.num_layers = 2;
    table_.layer_prefix = "model.layers.";
    table_.modules = {{"self_attn.q_proj", 4, 6, model::MatrixKind::kQkv, 0},
                      {"mlp.down_proj", 8, 4, model::MatrixKind::kDown, 0}};
    config_ = {{"peft_type", "LORA"},
               {"r", 2},
               {"lora_alpha", 4},
               {"target_modules", {"q_proj"}},
               {"bias", "none"}};
    for (const char* layer : {"0", "1"}) {
      tensors_[tensor(layer, "A")] = {2, 4};
      tensors_[tensor(layer, "B")] = {6, 2};
    }
  }

  static std::string tensor(const std::string& layer, const std::string& half) {
    return "base_model.model.model.layers." + layer + ".self_attn.q_proj.lora_" + half + ".weight";
  }

  void write(float value = 0.5f, const std::string& spoilt = "") {
    folder_.write_json("adapter_config.json", config_);
    SafetensorsBuilder builder;
    for (const auto& [name, shape] : tensors_)
      builder.add(name, shape, name == spoilt ? value : 0.5f);
    folder_.write("adapter_model.safetensors", builder.bytes());
  }

  AdapterSource read() { return read_peft_adapter(folder_.path(), table_); }

  void refuse(Status status, const std::vector<std::string>& parts) {
    write();
    expect_refused(status, parts, [&] { read(); });
  }

  void refuse_config(Status status, const std::string& key, const json& value,
                     const std::vector<std::string>& parts) {
    const json before = config_;
    config_[key] = value;
    refuse(status, parts);
    config_ = before;
  }

  TempFolder folder_;
  model::ModuleTable table_;
  json config_;
  std::map<std::string, std::vector<int64_t>> tensors_;
};

TEST_F(HostileAdapter, TheAdapterItselfIsFine) {
  write();
  const AdapterSource source = read();
  ASSERT_EQ(source.modules.size(), 2u);
  EXPECT_EQ(source.modules[1].scale, 2.0f);
}

TEST_F(HostileAdapter, HalvesWithoutTheirOtherHalfAreRefused) {
  tensors_.erase(tensor("1", "B"));
  refuse(Status::kFormat,
         {"'" + tensor("1", "A") + "' is there without '" + tensor("1", "B") + "'"});
  tensors_.erase(tensor("1", "A"));
  tensors_[tensor("1", "B")] = {6, 2};
  refuse(Status::kFormat,
         {"'" + tensor("1", "B") + "' is there without '" + tensor("1", "A") + "'"});
}

TEST_F(HostileAdapter, TensorsThatMatchNoModuleAreNeverIgnored) {
  for (const char* name :
       {"base_model.model.model.layers.2.self_attn.q_proj.lora_A.weight",
        "base_model.model.model.layers.00.self_attn.q_proj.lora_A.weight",
        "base_model.model.model.layers.0.self_attn.w_proj.lora_A.weight",
        "model.layers.0.self_attn.q_proj.lora_A.weight",
        "base_model.model.model.layers.0.self_attn.q_proj.lora_A.default.weight", ""}) {
    tensors_[name] = {2, 4};
    refuse(Status::kFormat, {"tensor '" + std::string(name) + "' matches no module of the model"});
    tensors_.erase(name);
  }
}

TEST_F(HostileAdapter, TensorsOfOtherDialectsAreNamed) {
  const std::string layer = "base_model.model.model.layers.0.self_attn.q_proj";
  const std::pair<std::string, const char*> foreign[] = {
      {layer + ".lora_magnitude_vector", "DoRA"},
      {layer + ".lora_B.bias", "LoRA bias"},
      {"base_model.model.lm_head.weight", "head"},
      {"base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta", "embeddings"}};
  for (const auto& [name, what] : foreign) {
    tensors_[name] = {2};
    refuse(Status::kUnsupported, {"tensor '" + name + "' is not implemented", what});
    tensors_.erase(name);
  }
}

TEST_F(HostileAdapter, AFileWithoutLoraTensorsIsRefused) {
  tensors_.clear();
  refuse(Status::kFormat, {"is missing, but adapter_config.json targets"});
  config_["target_modules"] = {"nothing"};
  refuse(Status::kFormat, {"no LoRA tensors"});
}

TEST_F(HostileAdapter, ShapesAndRanksMustFit) {
  tensors_[tensor("0", "A")] = {2, 5};
  refuse(Status::kFormat, {"lora_A.weight' has shape [2, 5]; expected [2, 4]"});
  tensors_[tensor("0", "A")] = {3, 4};
  refuse(Status::kFormat, {"lora_A.weight' has shape [3, 4]; expected [2, 4]"});
  tensors_[tensor("0", "A")] = {2, 4};
  tensors_[tensor("0", "B")] = {2, 6};
  refuse(Status::kFormat, {"lora_B.weight' has shape [2, 6]; expected [6, 2]"});
  tensors_[tensor("0", "B")] = {6, 2};
  refuse_config(Status::kFormat, "rank_pattern", {{"layers.1.self_attn.q_proj", 3}},
                {"expected [3, 4]"});
}

TEST_F(HostileAdapter, NanAndInfinityAreRefusedWithTheirTensor) {
  write(NAN, tensor("1", "B"));
  expect_refused(Status::kFormat, {"'" + tensor("1", "B") + "' holds NaN at element 0"},
                 [&] { read(); });
  write(-INFINITY, tensor("0", "A"));
  expect_refused(Status::kFormat, {"'" + tensor("0", "A") + "' holds infinity at element 0"},
                 [&] { read(); });
}

TEST_F(HostileAdapter, FileAndConfigurationMustAgree) {
  refuse_config(Status::kFormat, "target_modules", {"down_proj"},
                {"does not target 'model.layers.0.self_attn.q_proj'"});
  refuse_config(Status::kFormat, "target_modules", {"q_proj", "down_proj"},
                {"targets 'model.layers.0.mlp.down_proj'"});
  refuse_config(Status::kFormat, "target_modules", "all-linear",
                {"targets 'model.layers.0.mlp.down_proj'"});
  refuse_config(Status::kFormat, "target_modules", ".*layers\\.0.*q_proj",
                {"does not target 'model.layers.1."});
  refuse_config(Status::kFormat, "target_modules", {"proj"},
                {"does not target"});  // a suffix begins after a dot
  refuse_config(Status::kFormat, "exclude_modules", {"q_proj"}, {"does not target"});
  refuse_config(Status::kFormat, "layers_to_transform", {0}, {"does not target 'model.layers.1."});
  refuse_config(Status::kFormat, "layers_to_transform", 1, {"does not target 'model.layers.0."});
}

TEST_F(HostileAdapter, WhatIsNotImplementedIsRefusedByName) {
  const json options = {{"bias", "some"},
                        {"modules_to_save", {"score"}},
                        {"trainable_token_indices", {{"lm_head", {1}}}},
                        {"layer_replication", {{0, 1}}},
                        {"alora_invocation_tokens", {1, 2}},
                        {"megatron_config", {{"a", 1}}},
                        {"target_parameters", {"x"}},
                        {"use_qalora", true},
                        {"task_type", "SEQ_CLS"},
                        {"peft_type", "IA3"},
                        {"init_lora_weights", "pissa_niter_16"},
                        {"a_key_of_next_year", 1}};
  for (const auto& [key, value] : options.items()) {
    refuse_config(Status::kUnsupported, key, value,
                  {"adapter_config.json: " + key + " = ", "is not implemented"});
  }
  for (const char* target : {"lm_head", "embed_tokens", "model.embed_tokens"}) {
    refuse_config(Status::kFormat, "target_modules", {"q_proj", target},
                  {"is missing, but adapter_config.json targets", target});
  }
  refuse_config(Status::kUnsupported, "rank_pattern", {{"(?i)q_proj", 2}},
                {"'(?i)q_proj'", "is not implemented"});
}

TEST_F(HostileAdapter, DialectsThatNeedTheBaseAreRefusedWithoutIt) {
  const std::pair<const char*, json> options[] = {{"use_dora", true},
                                                  {"bias", "all"},
                                                  {"bias", "lora_only"},
                                                  {"modules_to_save", {"lm_head"}},
                                                  {"modules_to_save", {"embed_tokens"}},
                                                  {"trainable_token_indices", {1}}};
  for (const auto& [key, value] : options) {
    refuse_config(Status::kUnsupported, key, value,
                  {key, "is not implemented without the base model's checkpoint"});
  }
}

TEST_F(HostileAdapter, OptionsOfDialectsMustBeWellFormed) {
  refuse_config(Status::kFormat, "bias", 1, {"bias 1 is not a string"});
  refuse_config(Status::kFormat, "use_dora", "yes", {"use_dora \"yes\" is not true or false"});
  refuse_config(Status::kFormat, "modules_to_save", "lm_head",
                {"modules_to_save \"lm_head\" is not a list of names"});
  refuse_config(Status::kFormat, "modules_to_save", {1}, {"modules_to_save [1]"});
  refuse_config(Status::kFormat, "trainable_token_indices", {"x"},
                {"trainable_token_indices", "not a list of token ids"});
  refuse_config(Status::kFormat, "trainable_token_indices", 7,
                {"trainable_token_indices 7 is not a list of token ids"});
  refuse_config(Status::kUnsupported, "trainable_token_indices",
                {{"embed_tokens", {1}}, {"other", {2}}}, {"trainable_token_indices"});
  config_["use_dora"] = true;
  refuse_config(Status::kUnsupported, "lora_bias", true, {"lora_bias", "together with use_dora"});
  config_.erase("use_dora");
  config_["modules_to_save"] = {"lm_head"};
  refuse_config(Status::kUnsupported, "ensure_weight_tying", true, {"ensure_weight_tying = true"});
}

TEST_F(HostileAdapter, LoraBiasMustBeThereAndFit) {
  config_["lora_bias"] = true;
  refuse(Status::kFormat, {"self_attn.q_proj.lora_B.bias"});
  const std::string bias = "base_model.model.model.layers.0.self_attn.q_proj.lora_B.bias";
  tensors_[bias] = {5};
  refuse(Status::kFormat, {bias, "has shape [5]; expected [6]"});
  tensors_[bias] = {6};
  tensors_["base_model.model.model.layers.1.self_attn.q_proj.lora_B.bias"] = {6};
  write();
  const AdapterSource source = read();
  EXPECT_EQ(source.modules[0].offset, std::vector<float>(6, 1.0f));  // scale 2, bias 0.5
  EXPECT_TRUE(source.exclusive.empty());
}

TEST_F(HostileAdapter, FanInFanOutIsWithoutEffectOnLinearModulesAsInPeft) {
  config_["fan_in_fan_out"] = true;
  write();
  EXPECT_EQ(read().modules.size(), 2u);
}

TEST_F(HostileAdapter, WhatChangesNothingIsIgnored) {
  config_.update({{"lora_dropout", 0.3},
                  {"init_lora_weights", "gaussian"},
                  {"megatron_core", "megatron.core"},
                  {"a_key_of_next_year", nullptr},
                  {"another", false},
                  {"auto_mapping", {{"base_model_class", "X"}}},
                  {"task_type", nullptr}});
  write();
  EXPECT_EQ(read().modules.size(), 2u);
}

TEST_F(HostileAdapter, ValuesOutOfTheirLimitsAreRefused) {
  refuse_config(Status::kFormat, "r", 0, {"r 0 is not in [1, 65536]"});
  refuse_config(Status::kFormat, "r", nullptr, {"r is missing"});
  refuse_config(Status::kFormat, "r", 2.0, {"r 2.0 is not an integer"});
  refuse_config(Status::kFormat, "lora_alpha", 0, {"lora_alpha 0 makes the adapter do nothing"});
  refuse_config(Status::kFormat, "lora_alpha", "4", {"lora_alpha \"4\" is not a number"});
  refuse_config(Status::kFormat, "use_rslora", 1, {"use_rslora 1 is not true or false"});
  refuse_config(Status::kFormat, "target_modules", nullptr, {"target_modules null is missing"});
  refuse_config(Status::kFormat, "target_modules", {1},
                {"target_modules [1] is not a list of names"});
  refuse_config(Status::kFormat, "target_modules", "(q_proj", {"pattern '(q_proj'"});
  refuse_config(Status::kFormat, "rank_pattern", {1}, {"rank_pattern is not an object"});
  refuse_config(Status::kFormat, "rank_pattern", {{"q_proj", 0}},
                {"rank_pattern.q_proj 0 is not in [1, 65536]"});
  refuse_config(Status::kFormat, "rank_pattern", {{"q_proj", {1}}},
                {"rank_pattern.q_proj", "is not an integer"});
  refuse_config(Status::kFormat, "alpha_pattern", {{"q_proj", 0.0}},
                {"alpha_pattern.q_proj 0.0 makes"});
  refuse_config(Status::kFormat, "rank_pattern", {{"a)|(b", 2}}, {"pattern 'a)|(b'"});
  refuse_config(Status::kFormat, "layers_to_transform", {-1}, {"holds a negative layer"});
}

TEST_F(HostileAdapter, TheFirstMatchingPatternInTheFileHolds) {
  write();
  const std::string rest = R"("peft_type":"LORA","r":2,"lora_alpha":4,"target_modules":["q_proj"])";
  folder_.write("adapter_config.json",
                R"({"alpha_pattern":{"z_proj":1,"q_proj":6,"layers.*":10},)" + rest + "}");
  EXPECT_EQ(read().modules[0].scale, 3.0f);
  folder_.write("adapter_config.json",
                R"({"alpha_pattern":{"layers.*":10,"q_proj":6},)" + rest + "}");
  EXPECT_EQ(read().modules[0].scale, 5.0f);
  folder_.write("adapter_config.json",
                R"({"alpha_pattern":{"proj":10,"1.self_attn.q_proj":6},)" + rest + "}");
  EXPECT_EQ(read().modules[0].scale, 2.0f);
  EXPECT_EQ(read().modules[1].scale, 3.0f);
}

TEST_F(HostileAdapter, BrokenFilesAreRefused) {
  expect_refused(Status::kIo, {"adapter_config.json", "cannot open"}, [&] { read(); });
  write();
  folder_.write("adapter_config.json", "{\"a\":" + std::string(1'000'000, '['));
  expect_refused(Status::kFormat, {"adapter_config.json", "nests deeper than 64"}, [&] { read(); });
  folder_.write("adapter_config.json",
                R"({"peft_type":"LORA","r":2,"r":4,"target_modules":["q_proj"]})");
  expect_refused(Status::kFormat, {"key 'r' appears twice"}, [&] { read(); });
  folder_.write("adapter_config.json", "[]");
  expect_refused(Status::kFormat, {"no object"}, [&] { read(); });
  write();
  const std::string whole = test::read_bytes(folder_.file("adapter_model.safetensors"));
  folder_.write("adapter_model.safetensors", whole.substr(0, whole.size() - 4));
  expect_refused(Status::kFormat, {"adapter_model.safetensors", "do not lie in"}, [&] { read(); });
  std::filesystem::remove(folder_.file("adapter_model.safetensors"));
  expect_refused(Status::kIo, {"adapter_model.safetensors", "cannot open"}, [&] { read(); });
  folder_.write("adapter_model.bin", "x");
  expect_refused(Status::kUnsupported, {"adapter_model.bin is a pickle"}, [&] { read(); });
}

TEST_F(HostileAdapter, ManyHeavyPatternsAreBoundedTogether) {
  json patterns;
  for (int i = 0; i < 300; ++i) patterns["(a|b){400}" + std::to_string(i)] = 2;
  refuse_config(Status::kFormat, "rank_pattern", patterns,
                {"the patterns of rank_pattern together are too large"});
}

TEST_F(HostileAdapter, OtherDtypesAreRefused) {
  write();
  SafetensorsBuilder builder;
  for (const auto& [name, shape] : tensors_)
    builder.add(name, shape, std::vector<float>(shape[0] * shape[1]), "I32");
  folder_.write("adapter_model.safetensors", builder.bytes());
  expect_refused(Status::kUnsupported, {"has dtype I32"}, [&] { read(); });
}

}  // namespace
}  // namespace slora::adapter
