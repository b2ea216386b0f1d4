// Every adapter of the demo and of the tiny models: read, or refused with the reason that its
// README states.
#include "slora/adapter/peft_reader.hpp"

#include <cmath>

#include "model/test_files.hpp"

namespace slora::adapter {
namespace {

using core::Status;
using test::expect_refused;

const std::string kAssets = SLORA_ASSETS;

model::ModuleTable demo_table() {
  return model::module_table(model::read_config(kAssets + "/demo-model/base"));
}

model::ModuleTable tiny_table(const std::string& name) {
  return model::module_table(model::read_config(kAssets + "/tiny-models/" + name));
}

AdapterSource read_demo(const std::string& name) {
  return read_peft_adapter(kAssets + "/demo-model/adapters/" + name, demo_table());
}

AdapterSource read_tiny(const std::string& model, const std::string& name) {
  const model::ModuleTable table = tiny_table(model);
  const model::ModelConfig config = model::read_config(kAssets + "/tiny-models/" + model);
  return read_peft_adapter(kAssets + "/tiny-models/" + model + "/adapters/" + name,
                           {&table, &config, kAssets + "/tiny-models/" + model});
}

constexpr uint32_t kQ = 1, kK = 2, kV = 4, kO = 8, kGate = 16, kUp = 32, kDown = 64, kAll = 127;

TEST(PeftReader, ReadsEveryDemoAdapterAsItsReadmeSays) {
  const struct {
    const char* name;
    int32_t lora_rank;
    float scale;
    uint32_t modules;
  } adapters[] = {
      {"kjv", 16, 2.0f, kQ | kK | kV | kO},
      {"shakespeare", 32, 2.0f, kQ | kK | kV | kO},
      {"devil", 8, 2.0f, kQ | kK | kV | kO},
      {"manpage", 16, 4.0f, kAll},  // rsLoRA: 16 / sqrt(16)
      {"python", 64, 2.0f, kQ | kV},
      {"fairytale", 8, 2.0f, kQ | kK | kV | kO},
      {"poem", 4, 2.0f, kQ | kV},
      {"latin", 32, 1.0f, kGate | kUp | kDown},
      {"german", 64, 1.0f, kQ | kK | kV | kO},
      {"upper", 16, 2.0f, kAll},
      {"reverse", 16, 2.0f, kAll},
      {"spell", 8, 4.0f, kAll},
      {"piglatin", 16, 1.0f, kAll},
      {"arith", 32, 2.0f, kAll},
      {"roman", 8, 2.0f, kAll},
      {"sentiment", 4, 2.0f, kQ | kV},
      {"chat", 16, 2.0f, kAll},
  };
  for (const auto& adapter : adapters) {
    const AdapterSource source = read_demo(adapter.name);
    EXPECT_EQ(source.modules.size(), 8u * static_cast<size_t>(__builtin_popcount(adapter.modules)))
        << adapter.name;
    for (const ModuleWeights& weights : source.modules) {
      EXPECT_TRUE(adapter.modules >> weights.module_idx & 1) << adapter.name;
      EXPECT_EQ(weights.lora_rank, adapter.lora_rank) << adapter.name;
      EXPECT_EQ(weights.scale, adapter.scale) << adapter.name;
    }
  }
}

TEST(PeftReader, JsonHasTheRanksAndScalesOfItsPatterns) {
  const AdapterSource source = read_demo("json");
  ASSERT_EQ(source.modules.size(), 56u);
  for (const ModuleWeights& weights : source.modules) {
    const bool is_down = weights.module_idx == 6;
    const bool is_first_q = weights.module_idx == 0 && weights.layer_idx == 0;
    EXPECT_EQ(weights.lora_rank, is_down ? 16 : is_first_q ? 4 : 8);
    EXPECT_EQ(weights.scale, is_down ? 64.0f / 16 : is_first_q ? 16.0f / 4 : 16.0f / 8);
    EXPECT_EQ(weights.a.shape[0], weights.lora_rank);
    EXPECT_EQ(weights.b.shape[1], weights.lora_rank);
  }
}

TEST(PeftReader, ReadsTheTinyLoraAdapters) {
  const struct {
    const char* model;
    const char* name;
    size_t num_modules;
  } adapters[] = {
      {"llama-mha", "lora-qv-r4", 4},
      {"llama-mha", "rslora-all-r8", 14},
      {"llama-mha", "rank-pattern", 14},
      {"llama-mha", "one-layer", 2},
      {"llama-mha", "regex", 2},
      {"llama-mha", "all-linear", 14},
      {"llama-mha", "dropout-fp16", 4},
      {"llama-mha", "exclude", 10},
      {"llama-f32", "lora-qv-r4", 2},
      {"llama-f32", "rslora-all-r8", 7},
      {"llama3-gqa", "lora-qv-r4", 4},
      {"llama3-gqa", "rslora-all-r8", 14},
      {"llama3-gqa", "bf16-r16", 14},
      {"llama-mha", "dora", 6},
      {"llama-mha", "lora-bias", 4},
      {"llama3-gqa", "lm-head", 4},
      {"llama3-gqa", "embed", 2},
      {"llama3-gqa", "modules-to-save", 4},
      {"llama3-gqa", "trainable-tokens", 4},
      {"llama-bias-linear", "bias-all", 14},
      {"llama-bias-linear", "bias-lora-only", 4},
      {"qwen2", "dora-all", 14},
      {"phi3", "lora-qkv-r4", 4},
  };
  for (const auto& adapter : adapters) {
    EXPECT_EQ(read_tiny(adapter.model, adapter.name).modules.size(), adapter.num_modules)
        << adapter.name;
  }
}

TEST(PeftReader, PatternKeysMayBeExpressionsAndTheFirstMatchHolds) {
  for (const ModuleWeights& weights : read_tiny("llama-mha", "rank-pattern").modules) {
    const int32_t lora_rank = weights.module_idx == 0                             ? 8
                              : weights.module_idx == 6 && weights.layer_idx == 1 ? 2
                                                                                  : 4;
    EXPECT_EQ(weights.lora_rank, lora_rank);
    EXPECT_EQ(weights.scale,
              (weights.layer_idx == 0 ? 16.0f : 8.0f) / static_cast<float>(lora_rank));
  }
}

TEST(PeftReader, RsLoraDividesByTheRoot) {
  EXPECT_EQ(read_tiny("llama-mha", "rslora-all-r8").modules[0].scale,
            static_cast<float>(8 / std::sqrt(8.0)));
}

TEST(PeftReader, RefusesTheOtherTinyDialectsByName) {
  const struct {
    const char* model;
    const char* name;
    std::vector<std::string> reasons;
  } adapters[] = {
      {"llama-mha", "legacy-bin", {"adapter_model.bin is a pickle", "safe_serialization=True"}},
      {"llama-mha", "ia3", {"peft_type = \"IA3\""}},
      {"llama-mha", "prompt-tuning", {"peft_type = \"PROMPT_TUNING\""}},
      {"llama-mha", "vera", {"peft_type = \"VERA\""}},
      {"llama-mha", "lokr", {"peft_type = \"LOKR\""}},
  };
  for (auto adapter : adapters) {
    adapter.reasons.push_back(adapter.name);
    expect_refused(Status::kUnsupported, adapter.reasons,
                   [&] { read_tiny(adapter.model, adapter.name); });
  }
}

TEST(PeftReader, EveryTinyLlamaAdapterIsInOneOfTheTwoLists) {
  size_t num_adapters = 0;
  for (const char* name : {"llama-mha", "llama-f32", "llama3-gqa"}) {
    const auto folder =
        std::filesystem::directory_iterator(kAssets + "/tiny-models/" + name + "/adapters");
    num_adapters += static_cast<size_t>(std::distance(begin(folder), end(folder)));
  }
  EXPECT_EQ(num_adapters, 19u + 5u);
}

TEST(PeftReader, DialectsCarryTheirFactorsOffsetsAndRows) {
  const AdapterSource dora = read_tiny("qwen2", "dora-all");
  EXPECT_EQ(dora.exclusive, "DoRA");
  for (const ModuleWeights& weights : dora.modules) {
    EXPECT_EQ(weights.factor.size(), static_cast<size_t>(weights.b.shape[0]));
    // q, k and v have biases, which the factor must not touch.
    EXPECT_EQ(weights.offset.empty(), weights.module_idx > 2) << weights.module_idx;
  }
  const AdapterSource bias = read_tiny("llama-bias-linear", "bias-all");
  EXPECT_EQ(bias.exclusive, "biases of its own");
  EXPECT_EQ(bias.modules[1].lora_rank, 0);  // k is not targeted
  EXPECT_EQ(bias.modules[1].offset.size(), 32u);
  EXPECT_TRUE(read_tiny("llama-mha", "lora-bias").exclusive.empty());
  const AdapterSource tokens = read_tiny("llama3-gqa", "trainable-tokens");
  EXPECT_EQ(tokens.embedding.row_ids, (std::vector<int32_t>{5, 70, 300}));
  EXPECT_TRUE(tokens.head.is_empty());
  const AdapterSource head = read_tiny("llama3-gqa", "lm-head");
  EXPECT_EQ(head.head.lora_rank, 4);
  EXPECT_EQ(head.head.rows.data, nullptr);  // the stored base matrix is the base's own
  EXPECT_TRUE(head.exclusive.empty());
}

TEST(PeftReader, AnAdapterOfAnotherModelIsRefused) {
  expect_refused(Status::kFormat, {"lora_A.weight' has shape [4, 64]; expected [4, 256]"}, [] {
    model::ModuleTable table = demo_table();
    table.num_layers = 2;
    read_peft_adapter(kAssets + "/tiny-models/llama-mha/adapters/lora-qv-r4", table);
  });
  expect_refused(Status::kFormat,
                 {"layers.1.self_attn.q_proj.lora_A.weight' matches no module of the model"}, [] {
                   model::ModuleTable table = tiny_table("llama-mha");
                   table.num_layers = 1;
                   read_peft_adapter(kAssets + "/tiny-models/llama-mha/adapters/lora-qv-r4", table);
                 });
  expect_refused(
      Status::kFormat,
      {"layers.2.self_attn.q_proj.lora_A.weight' is missing, but adapter_config.json targets"}, [] {
        model::ModuleTable table = tiny_table("llama-mha");
        table.num_layers = 3;
        read_peft_adapter(kAssets + "/tiny-models/llama-mha/adapters/lora-qv-r4", table);
      });
}

TEST(Synthetic, SameSeedSameWeightsAndMasksHold) {
  const model::ModuleTable table = tiny_table("llama3-gqa");
  const AdapterSource all = synthetic_adapter(table, 5, 3, 0);
  ASSERT_EQ(all.modules.size(), 14u);
  const AdapterSource again = synthetic_adapter(table, 5, 3, 0);
  const AdapterSource other = synthetic_adapter(table, 6, 3, kQ | kDown);
  ASSERT_EQ(other.modules.size(), 4u);
  EXPECT_EQ(other.modules[3].module_idx, 6);
  EXPECT_EQ(model::to_floats(all.modules[9].b), model::to_floats(again.modules[9].b));
  EXPECT_NE(model::to_floats(all.modules[0].a), model::to_floats(other.modules[0].a));
  for (const ModuleWeights& weights : all.modules) {
    const model::LinearModule& module = table.modules[static_cast<size_t>(weights.module_idx)];
    EXPECT_EQ(weights.a.shape, (std::vector<int64_t>{3, module.in_dim}));
    EXPECT_EQ(weights.b.shape, (std::vector<int64_t>{module.out_dim, 3}));
    for (const float value : model::to_floats(weights.a)) {
      EXPECT_LE(std::fabs(value), 1.01f / std::sqrt(static_cast<float>(module.in_dim)));
    }
  }
  expect_refused(Status::kInvalidArgument, {"lora_rank 0"},
                 [&] { synthetic_adapter(table, 1, 0, 0); });
  expect_refused(Status::kInvalidArgument, {"mask 128"},
                 [&] { synthetic_adapter(table, 1, 1, 128); });
}

}  // namespace
}  // namespace slora::adapter
