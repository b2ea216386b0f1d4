// Model and adapter folders that lie, loaded through the C ABI as a server would: each is refused
// with its status and a message that names file, key and value, and the next good folder is served.
#include <gtest/gtest.h>

#include <filesystem>
#include <functional>

#include "model/test_files.hpp"
#include "support/demo.hpp"

namespace slora::test {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

std::string tiny_path(const std::string& rest) {
  return std::string(SLORA_ASSETS) + "/tiny-models/" + rest;
}

// A folder's spoiler, and what the refusal must say.
struct Hostile {
  const char* what;
  int32_t status;
  std::vector<std::string> parts;
  std::function<void(const TempFolder&)> spoil;
};

void expect_abi_refusal(const Hostile& hostile, const std::function<void()>& call) {
  SCOPED_TRACE(hostile.what);
  try {
    call();
    ADD_FAILURE() << "not refused";
  } catch (const AbiError& error) {
    const std::string message = error.what();
    EXPECT_EQ(error.status, hostile.status) << message;
    for (const std::string& part : hostile.parts)
      EXPECT_NE(message.find(part), std::string::npos) << "'" << part << "' is not in: " << message;
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  }
}

void copy_files(const std::string& from, const TempFolder& to) {
  for (const auto& entry : fs::directory_iterator(from)) {
    const std::string name = entry.path().filename().string();
    if (entry.is_regular_file() && name.find("golden") == std::string::npos)
      fs::copy_file(entry.path(), to.file(name), fs::copy_options::overwrite_existing);
  }
}

using Spoil = std::function<void(const TempFolder&)>;

Spoil set(const char* file, const char* key, const json& value) {
  return [=](const TempFolder& folder) {
    json config = read_json(folder.file(file));
    config[key] = value;
    folder.write_json(file, config);
  };
}

Spoil erase(const char* file, const char* key) {
  return [=](const TempFolder& folder) {
    json config = read_json(folder.file(file));
    config.erase(key);
    folder.write_json(file, config);
  };
}

Spoil text(const char* file, const std::string& bytes) {
  return [=](const TempFolder& folder) { folder.write(file, bytes); };
}

Spoil remove(const char* file) {
  return [=](const TempFolder& folder) { fs::remove(folder.file(file)); };
}

Spoil truncate(const char* file, int64_t bytes) {
  return [=](const TempFolder& folder) {
    const std::string whole = read_bytes(folder.file(file));
    const auto kept = bytes >= 0 ? bytes : static_cast<int64_t>(whole.size()) + bytes;
    folder.write(file, whole.substr(0, static_cast<size_t>(kept)));
  };
}

// Changes the JSON header of a safetensors file; the data stays.
Spoil header(const char* file, const std::function<void(json&)>& change) {
  return [=](const TempFolder& folder) {
    const std::string whole = read_bytes(folder.file(file));
    uint64_t length = 0;
    std::memcpy(&length, whole.data(), sizeof length);
    json parsed = json::parse(whole.substr(8, length));
    change(parsed);
    std::string changed = parsed.dump();
    changed.resize((changed.size() + 7) / 8 * 8, ' ');  // keeps the data aligned
    folder.write(file, safetensors_bytes(changed, whole.substr(8 + length)));
  };
}

Spoil entry(const char* file, const std::string& tensor, const char* field, const json& value) {
  return header(file, [=](json& parsed) { parsed[tensor][field] = value; });
}

// Writes `bytes` at the beginning of a tensor's data.
Spoil data(const char* file, const std::string& tensor, const std::string& bytes) {
  return [=](const TempFolder& folder) {
    std::string whole = read_bytes(folder.file(file));
    uint64_t length = 0;
    std::memcpy(&length, whole.data(), sizeof length);
    const json parsed = json::parse(whole.substr(8, length));
    const size_t begin = 8 + length + parsed[tensor]["data_offsets"][0].get<size_t>();
    whole.replace(begin, bytes.size(), bytes);
    folder.write(file, whole);
  };
}

constexpr int32_t kFormat = SLORA_ERROR_FORMAT;
constexpr int32_t kUnsupported = SLORA_ERROR_UNSUPPORTED;
constexpr int32_t kIo = SLORA_ERROR_IO;
constexpr const char* kWeights = "model.safetensors";
constexpr const char* kConfig = "config.json";
const std::string kNan("\x00\x00\xc0\x7f", 4);
const std::string kInfinity("\x00\x00\x80\xff", 4);
const std::string kQ = "model.layers.0.self_attn.q_proj.weight";
const std::string kNorm = "model.norm.weight";

TEST(HostileFolders, ModelsAreRefusedWithFileKeyAndValue) {
  const Hostile folders[] = {
      {"no config", kIo, {"config.json", "cannot open"}, remove(kConfig)},
      {"empty config", kFormat, {"config.json", "not valid JSON"}, text(kConfig, "")},
      {"binary config", kFormat, {"config.json", "JSON"}, text(kConfig, std::string(64, '\xff'))},
      {"nul in config", kFormat, {"config.json"}, text(kConfig, std::string("{\0}", 3))},
      {"list", kFormat, {"config.json", "no object but array"}, text(kConfig, "[1]")},
      {"a million arrays",
       kFormat,
       {"nests deeper than 64"},
       text(kConfig, "{\"a\":" + std::string(1000000, '['))},
      {"key twice",
       kFormat,
       {"key 'vocab_size' appears twice"},
       text(kConfig, R"({"vocab_size":1,"vocab_size":2})")},
      {"17 MB",
       kFormat,
       {"config.json", "the limit is 16777216"},
       text(kConfig, std::string(17 << 20, ' '))},
      {"100 MB",
       kFormat,
       {"config.json", "the limit is 16777216"},
       [](const TempFolder& folder) { fs::resize_file(folder.file(kConfig), 100 << 20); }},
      {"trailing text", kFormat, {"config.json", "not valid JSON"}, text(kConfig, "{} {}")},
      {"huge number", kFormat, {"config.json", "out of range"}, text(kConfig, R"({"a":1e999})")},
      {"architecture",
       kUnsupported,
       {"architectures", "EvilForCausalLM"},
       set(kConfig, "architectures", {"EvilForCausalLM"})},
      {"two architectures",
       kFormat,
       {"architectures", "list of one name"},
       set(kConfig, "architectures", {"LlamaForCausalLM", "LlamaForCausalLM"})},
      {"architecture of another",
       kUnsupported,
       {"has no place in Qwen2ForCausalLM"},
       [](const TempFolder& folder) {
         set(kConfig, "architectures", {"Qwen2ForCausalLM"})(folder);
         copy_files(tiny_path("qwen3"), folder);
         set(kConfig, "architectures", {"Qwen2ForCausalLM"})(folder);
         header(kWeights, [](json& parsed) {
           for (const char* layer : {"0", "1"}) {
             for (const char* module : {"q", "k", "v"}) {
               const std::string base =
                   "model.layers." + std::string(layer) + ".self_attn." + module + "_proj.";
               parsed[base + "bias"] = {{"dtype", "BF16"},
                                        {"shape", {parsed[base + "weight"]["shape"][0]}},
                                        {"data_offsets", {0, 0}}};
             }
           }
           uint64_t end = 0;
           for (const auto& [name, value] : parsed.items()) {
             if (name != "__metadata__")
               end = std::max(end, value["data_offsets"][1].get<uint64_t>());
           }
           for (auto& [name, value] : parsed.items()) {
             if (!name.ends_with("bias")) continue;
             const uint64_t bytes = value["shape"][0].get<uint64_t>() * 2;
             value["data_offsets"] = {end, end + bytes};
             end += bytes;
           }
         })(folder);
         std::ofstream(folder.file(kWeights), std::ios::binary | std::ios::app)
             << std::string(1024, '\0');
       }},
      {"no vocabulary", kFormat, {"vocab_size is missing"}, erase(kConfig, "vocab_size")},
      {"vocabulary 0", kFormat, {"vocab_size 0 is not in"}, set(kConfig, "vocab_size", 0)},
      {"vocabulary 2^63",
       kFormat,
       {"vocab_size"},
       set(kConfig, "vocab_size", 9223372036854775808u)},
      {"negative width", kFormat, {"hidden_size -64"}, set(kConfig, "hidden_size", -64)},
      {"width as text",
       kFormat,
       {"hidden_size \"64\" is not an integer"},
       set(kConfig, "hidden_size", "64")},
      {"width as fraction", kFormat, {"hidden_size 64.5"}, set(kConfig, "hidden_size", 64.5)},
      {"a billion layers",
       kFormat,
       {"num_hidden_layers 1000000000"},
       set(kConfig, "num_hidden_layers", 1000000000)},
      {"one layer too many",
       kFormat,
       {"model.layers.1.", "is missing"},
       set(kConfig, "num_hidden_layers", 2)},
      {"heads that do not divide",
       kFormat,
       {"num_key_value_heads 3"},
       set(kConfig, "num_key_value_heads", 3)},
      {"odd head", kFormat, {"head_dim 15"}, set(kConfig, "head_dim", 15)},
      {"head of 0", kFormat, {"head_dim 0"}, set(kConfig, "head_dim", 0)},
      {"negative eps", kFormat, {"rms_norm_eps"}, set(kConfig, "rms_norm_eps", -1.0)},
      {"activation", kUnsupported, {"hidden_act = \"relu\""}, set(kConfig, "hidden_act", "relu")},
      {"quantised",
       kUnsupported,
       {"quantization_config"},
       set(kConfig, "quantization_config", {{"bits", 4}})},
      {"experts", kUnsupported, {"num_local_experts"}, set(kConfig, "num_local_experts", 8)},
      {"own code",
       kUnsupported,
       {"auto_map"},
       set(kConfig, "auto_map", {{"AutoModelForCausalLM", "evil.Model"}})},
      {"window", kUnsupported, {"sliding_window = 4"}, set(kConfig, "sliding_window", 4)},
      {"rope as text",
       kFormat,
       {"rope_scaling \"x\" is not an object"},
       set(kConfig, "rope_scaling", "x")},
      {"rope type",
       kUnsupported,
       {"rope_scaling.rope_type = \"evil\""},
       set(kConfig, "rope_scaling", {{"rope_type", "evil"}})},
      {"rope factor",
       kFormat,
       {"rope_scaling.factor -2"},
       set(kConfig, "rope_scaling", {{"rope_type", "linear"}, {"factor", -2}})},
      {"longrope without factors",
       kFormat,
       {"rope_scaling.short_factor"},
       set(kConfig, "rope_scaling", {{"rope_type", "longrope"}})},
      {"longrope of a million",
       kFormat,
       {"short_factor", "has 100000 numbers, expected 8"},
       set(kConfig, "rope_scaling",
           {{"rope_type", "longrope"}, {"short_factor", std::vector<int>(100000, 1)}})},
      {"theta 0", kFormat, {"rope_theta 0"}, set(kConfig, "rope_theta", 0)},
      {"biases that are not there",
       kFormat,
       {"self_attn.q_proj.bias", "is missing"},
       set(kConfig, "attention_bias", true)},
      {"no weights", kIo, {"neither model.safetensors nor"}, remove(kWeights)},
      {"empty weights", kFormat, {"model.safetensors", "0 bytes"}, text(kWeights, "")},
      {"seven bytes", kFormat, {"model.safetensors", "7 bytes"}, text(kWeights, "1234567")},
      {"header past the end",
       kFormat,
       {"header of 1000 bytes"},
       text(kWeights, std::string("\xe8\x03\0\0\0\0\0\0{}", 10))},
      {"header of 2^64 - 1",
       kFormat,
       {"header of 18446744073709551615 bytes"},
       text(kWeights, std::string(8, '\xff') + "{}")},
      {"cut by a byte", kFormat, {"model.safetensors", "do not lie in"}, truncate(kWeights, -1)},
      {"cut in the header", kFormat, {"model.safetensors"}, truncate(kWeights, 100)},
      {"a byte more",
       kFormat,
       {"model.safetensors"},
       [](const TempFolder& folder) {
         folder.write(kWeights, read_bytes(folder.file(kWeights)) + "x");
       }},
      {"a tensor less",
       kFormat,
       {"model.safetensors"},
       header(kWeights, [](json& parsed) { parsed.erase(kNorm); })},
      {"a tensor renamed",
       kFormat,
       {kNorm, "is missing"},
       header(kWeights,
              [](json& parsed) {
                parsed["model.normal.weight"] = parsed[kNorm];
                parsed.erase(kNorm);
              })},
      {"overlap", kFormat, {"model.safetensors"}, entry(kWeights, kNorm, "data_offsets", {0, 256})},
      {"offsets turned", kFormat, {"do not lie"}, entry(kWeights, kNorm, "data_offsets", {256, 0})},
      {"shape", kFormat, {kNorm}, entry(kWeights, kNorm, "shape", {65})},
      {"shape of a matrix",
       kFormat,
       {kNorm, "expected [64]"},
       entry(kWeights, kNorm, "shape", {8, 8})},
      {"shape that overflows",
       kFormat,
       {kNorm},
       entry(kWeights, kNorm, "shape", {4294967296, 4294967296})},
      {"matrix turned",
       kFormat,
       {"model.layers.0.mlp.down_proj.weight", "expected [64, 80]"},
       entry(kWeights, "model.layers.0.mlp.down_proj.weight", "shape", {80, 64})},
      {"dtype unknown",
       kFormat,
       {kNorm, "unknown dtype 'X'"},
       entry(kWeights, kNorm, "dtype", "X")},
      {"dtype of integers",
       kUnsupported,
       {kNorm, "has dtype I32"},
       entry(kWeights, kNorm, "dtype", "I32")},
      {"nan in a matrix", kFormat, {kQ, "holds NaN at element 0"}, data(kWeights, kQ, kNan)},
      {"infinity in a norm",
       kFormat,
       {kNorm, "holds infinity at element 0"},
       data(kWeights, kNorm, kInfinity)},
  };
  for (const Hostile& hostile : folders) {
    TempFolder folder;
    copy_files(tiny_path("llama-f32"), folder);
    hostile.spoil(folder);
    expect_abi_refusal(hostile, [&] { load_model(folder.path(), SLORA_DTYPE_F32); });
  }
  EXPECT_NO_THROW(load_model(tiny_path("llama-f32"), SLORA_DTYPE_F32));
}

TEST(HostileFolders, IndexesAreRefusedWithShardAndTensor) {
  constexpr const char* kIndex = "model.safetensors.index.json";
  const auto shard = [](const std::string& name) {
    return [=](const TempFolder& folder) {
      json index = read_json(folder.file("model.safetensors.index.json"));
      index["weight_map"][kNorm] = name;
      folder.write_json("model.safetensors.index.json", index);
    };
  };
  const Hostile folders[] = {
      {"absolute", kFormat, {"is not a plain file name"}, shard("/etc/passwd")},
      {"upwards", kFormat, {"is not a plain file name"}, shard("../model.safetensors")},
      {"below", kFormat, {"is not a plain file name"}, shard("a/b.safetensors")},
      {"empty", kFormat, {"is not a plain file name"}, shard("")},
      {"dots", kFormat, {"is not a plain file name"}, shard("..")},
      {"missing", kIo, {"nowhere.safetensors", "cannot open"}, shard("nowhere.safetensors")},
      {"config as shard", kFormat, {"config.json"}, shard("config.json")},
      {"other shard",
       kFormat,
       {kNorm, "is not in its shard"},
       [](const TempFolder& folder) {
         json index = read_json(folder.file(kIndex));
         const std::string own = index["weight_map"][kNorm];
         for (const auto& [name, file] : index["weight_map"].items()) {
           if (file != own) {
             index["weight_map"][kNorm] = file;
             break;
           }
         }
         folder.write_json(kIndex, index);
       }},
      {"no map", kFormat, {"no weight_map"}, text(kIndex, "{}")},
      {"map of numbers", kFormat, {"is no file name"}, text(kIndex, R"({"weight_map":{"a":1}})")},
      {"a million arrays",
       kFormat,
       {"nests deeper"},
       text(kIndex, "{\"weight_map\":" + std::string(1000000, '['))},
      {"shard removed",
       kIo,
       {"model-00002-of-00003.safetensors"},
       remove("model-00002-of-00003.safetensors")},
      {"shard cut",
       kFormat,
       {"model-00003-of-00003.safetensors"},
       truncate("model-00003-of-00003.safetensors", -2)},
  };
  for (const Hostile& hostile : folders) {
    TempFolder folder;
    copy_files(tiny_path("llama3-gqa"), folder);
    hostile.spoil(folder);
    expect_abi_refusal(hostile, [&] { load_model(folder.path(), SLORA_DTYPE_F32); });
  }
}

TEST(HostileFolders, AdaptersAreRefusedAndTheEngineGoesOn) {
  constexpr const char* kAdapter = "adapter_model.safetensors";
  constexpr const char* kPeft = "adapter_config.json";
  const std::string a = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight";
  const std::string magnitude =
      "base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector";
  const struct {
    const char* adapter;
    Hostile hostile;
  } folders[] = {
      {"lora-qv-r4", {"no config", kIo, {"adapter_config.json", "cannot open"}, remove(kPeft)}},
      {"lora-qv-r4", {"no weights", kIo, {"adapter_model.safetensors"}, remove(kAdapter)}},
      {"lora-qv-r4", {"cut", kFormat, {"adapter_model.safetensors"}, truncate(kAdapter, -3)}},
      {"lora-qv-r4", {"not json", kFormat, {"not valid JSON"}, text(kPeft, "{r:4}")}},
      {"lora-qv-r4",
       {"deep", kFormat, {"nests deeper"}, text(kPeft, "{\"r\":" + std::string(1000000, '['))}},
      {"lora-qv-r4", {"r 0", kFormat, {"r 0 is not in"}, set(kPeft, "r", 0)}},
      {"lora-qv-r4", {"r 2^40", kFormat, {"r 1099511627776"}, set(kPeft, "r", int64_t{1} << 40)}},
      {"lora-qv-r4", {"other r", kFormat, {"expected [5, 64]"}, set(kPeft, "r", 5)}},
      {"lora-qv-r4", {"alpha 0", kFormat, {"lora_alpha 0"}, set(kPeft, "lora_alpha", 0)}},
      {"lora-qv-r4",
       {"catastrophic pattern",
        kFormat,
        {"does not target"},
        set(kPeft, "target_modules", "(a|a)*(a|a)*b")}},
      {"lora-qv-r4",
       {"group that never ends",
        kFormat,
        {"pattern '((((q_proj'"},
        set(kPeft, "target_modules", "((((q_proj")}},
      {"lora-qv-r4", {"type", kUnsupported, {"peft_type"}, set(kPeft, "peft_type", "EVIL")}},
      {"lora-qv-r4", {"new key", kUnsupported, {"evil = 1"}, set(kPeft, "evil", 1)}},
      {"lora-qv-r4",
       {"dora without magnitudes",
        kFormat,
        {"lora_magnitude_vector", "is missing"},
        set(kPeft, "use_dora", true)}},
      {"lora-qv-r4",
       {"bias of lora_B missing",
        kFormat,
        {"lora_B.bias", "is missing"},
        set(kPeft, "lora_bias", true)}},
      {"lora-qv-r4",
       {"saved head missing",
        kFormat,
        {"lm_head.weight", "is missing"},
        set(kPeft, "modules_to_save", {"lm_head"})}},
      {"lora-qv-r4",
       {"tokens missing",
        kFormat,
        {"trainable_tokens_delta", "is missing"},
        set(kPeft, "trainable_token_indices", {1, 2})}},
      {"lora-qv-r4", {"nan", kFormat, {a, "holds NaN"}, data(kAdapter, a, kNan)}},
      {"dora",
       {"plain by its config",
        kUnsupported,
        {"lora_magnitude_vector", "DoRA"},
        set(kPeft, "use_dora", false)}},
      {"dora",
       {"infinite magnitude",
        kFormat,
        {magnitude, "holds infinity"},
        data(kAdapter, magnitude, kInfinity)}},
      {"lora-bias",
       {"plain by its config",
        kUnsupported,
        {"lora_B.bias", "LoRA bias"},
        set(kPeft, "lora_bias", false)}},
  };
  ModelHandle model = load_model(tiny_path("llama-mha"), SLORA_DTYPE_F32);
  slora_engine_options options = SLORA_ENGINE_OPTIONS_INIT;
  options.pool_bytes = 8u << 20;
  EngineHandle engine = create_engine(model.get(), options);
  for (const auto& [adapter, hostile] : folders) {
    TempFolder folder;
    copy_files(tiny_path("llama-mha/adapters/" + std::string(adapter)), folder);
    hostile.spoil(folder);
    expect_abi_refusal(hostile, [&] { load_adapter(engine.get(), folder.path()); });
  }
  const slora_pool_counters after = counters(engine.get());
  EXPECT_EQ(after.host_adapters, 0u);
  EXPECT_EQ(after.host_adapter_bytes, 0u);
  EXPECT_NO_THROW(load_adapter(engine.get(), tiny_path("llama-mha/adapters/dora")));
}

}  // namespace
}  // namespace slora::test
