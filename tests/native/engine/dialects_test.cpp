// What PEFT's own outputs do not cover: several weighted adapters on one request, changed rows of a
// tied head, and sums that are not defined. The reference is the base checkpoint with the adapters
// merged into it in double precision, served without adapters.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>

#include "model/test_files.hpp"
#include "slora/model/safetensors.hpp"
#include "support/demo.hpp"

namespace slora::test {
namespace {

using nlohmann::json;

// fp32 over another order of sums, and merged weights rounded to fp32.
constexpr double kLogitTolerance = 1e-3;

std::string tiny_path(const std::string& rest) {
  return std::string(SLORA_ASSETS) + "/tiny-models/" + rest;
}

struct Matrix {
  std::vector<int64_t> shape;
  std::vector<float> values;
};

Matrix read_matrix(const model::TensorSet& tensors, const std::string& name) {
  const model::TensorRef tensor = tensors.get(name);
  return {tensor.shape, model::to_floats(tensor)};
}

// A checkpoint's tensors in fp32, to be changed and written.
class Merged {
 public:
  explicit Merged(const std::string& name) : config_(read_json(tiny_path(name + "/config.json"))) {
    const auto tensors = model::TensorSet::open_model(tiny_path(name));
    for (const std::string& tensor : tensors.names())
      matrices_[tensor] = read_matrix(tensors, tensor);
  }

  json& config() { return config_; }
  Matrix& matrix(const std::string& name) { return matrices_[name]; }

  // weight * scale * B A onto every module of the adapter's file.
  void add(const std::string& folder, double weight) {
    const json config = read_json(folder + "/adapter_config.json");
    const double rank = config["r"].get<double>();
    const bool is_root = config["use_rslora"].get<bool>();
    const double scale = config["lora_alpha"].get<double>() / (is_root ? std::sqrt(rank) : rank);
    const auto tensors = model::TensorSet::open_file(folder + "/adapter_model.safetensors");
    const std::string prefix = "base_model.model.";
    for (const std::string& name : tensors.names()) {
      if (name.ends_with(".lora_A.weight")) {
        const std::string module = name.substr(0, name.size() - 14);
        add_product(matrices_.at(module.substr(prefix.size()) + ".weight"),
                    read_matrix(tensors, module + ".lora_B.weight"), read_matrix(tensors, name),
                    weight * scale, false);
      } else if (name.ends_with(".lora_embedding_A")) {
        const std::string module = name.substr(0, name.size() - 17);
        add_product(matrices_.at(module.substr(prefix.size()) + ".weight"),
                    read_matrix(tensors, module + ".lora_embedding_B"), read_matrix(tensors, name),
                    weight * scale, true);
      }
    }
  }

  void write(const TempFolder& folder) const {
    SafetensorsBuilder builder;
    for (const auto& [name, matrix] : matrices_) builder.add(name, matrix.shape, matrix.values);
    folder.write("model.safetensors", builder.bytes());
    folder.write_json("config.json", config_);
  }

 private:
  static void add_product(Matrix& to, const Matrix& b, const Matrix& a, double factor,
                          bool is_transposed) {
    const int64_t ranks = a.shape[0];
    for (int64_t o = 0; o < b.shape[0]; ++o) {
      for (int64_t i = 0; i < a.shape[1]; ++i) {
        double sum = 0;
        for (int64_t r = 0; r < ranks; ++r) {
          sum += static_cast<double>(b.values[static_cast<size_t>(o * ranks + r)]) *
                 a.values[static_cast<size_t>(r * a.shape[1] + i)];
        }
        const int64_t place = is_transposed ? i * to.shape[1] + o : o * to.shape[1] + i;
        float& value = to.values[static_cast<size_t>(place)];
        value = static_cast<float>(value + factor * sum);
      }
    }
  }

  json config_;
  std::map<std::string, Matrix> matrices_;
};

struct Served {
  explicit Served(const std::string& folder) : model(load_model(folder, SLORA_DTYPE_F32)) {
    slora_engine_options options = SLORA_ENGINE_OPTIONS_INIT;
    options.pool_bytes = 16u << 20;
    options.max_sequences = 8;
    engine = create_engine(model.get(), options);
  }

  slora_adapter_weight use(const std::string& folder, float weight) {
    adapters.push_back(load_adapter(engine.get(), folder));
    return {adapter_info(adapters.back().get()).adapter_id, weight, 0};
  }

  ModelHandle model;
  EngineHandle engine;
  std::vector<AdapterHandle> adapters;
};

Request request_with(const std::vector<slora_adapter_weight>& adapters) {
  Request request;
  for (int32_t i = 0; i < 40; ++i) request.prompt.push_back((i * 37 + 5) % 320);
  request.prompt[3] = 70;
  request.prompt[9] = 300;
  request.adapters = adapters;
  request.num_new_tokens = 4;
  request.wants_logits = true;
  return request;
}

void expect_equal_logits(Served& actual, const std::vector<slora_adapter_weight>& adapters,
                         const Merged& merged) {
  TempFolder folder;
  merged.write(folder);
  Served reference(folder.path());
  const Completion expected = run_requests(reference.engine.get(), {request_with({})})[0];
  const Completion plain = run_requests(actual.engine.get(), {request_with({})})[0];
  const Completion completion = run_requests(actual.engine.get(), {request_with(adapters)})[0];
  ASSERT_EQ(completion.logits.size(), expected.logits.size());
  double worst = 0;
  double effect = 0;
  for (size_t i = 0; i < expected.logits.size(); ++i) {
    worst = std::max(worst, std::fabs(double{completion.logits[i]} - expected.logits[i]));
    effect = std::max(effect, std::fabs(double{plain.logits[i]} - expected.logits[i]));
  }
  EXPECT_LE(worst, kLogitTolerance);
  EXPECT_GT(effect, 0.1);  // the adapters do something
}

void refuse_together(Served& served, const std::vector<slora_adapter_weight>& adapters,
                     const std::string& word) {
  try {
    run_requests(served.engine.get(), {request_with(adapters)});
    ADD_FAILURE() << word << " was not refused";
  } catch (const AbiError& error) {
    EXPECT_EQ(error.status, SLORA_ERROR_UNSUPPORTED);
    EXPECT_NE(std::string(error.what()).find(word), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("no defined sum"), std::string::npos) << error.what();
  }
}

TEST(WeightedAdapters, TwoEqualTheSumOfTheirDeltas) {
  Served served(tiny_path("llama-mha"));
  const std::string first = tiny_path("llama-mha/adapters/lora-qv-r4");
  const std::string second = tiny_path("llama-mha/adapters/rslora-all-r8");
  Merged merged("llama-mha");
  merged.add(first, 0.7);
  merged.add(second, -0.4);
  expect_equal_logits(served, {served.use(first, 0.7f), served.use(second, -0.4f)}, merged);
}

TEST(WeightedAdapters, EmbeddingAndHeadTakePartInTheSum) {
  Served served(tiny_path("llama3-gqa"));
  Merged merged("llama3-gqa");
  std::vector<slora_adapter_weight> adapters;
  const std::pair<const char*, double> weights[] = {
      {"embed", 0.5}, {"lm-head", 0.75}, {"bf16-r16", 0.25}};
  for (const auto& [name, weight] : weights) {
    const std::string folder = tiny_path("llama3-gqa/adapters/" + std::string(name));
    merged.add(folder, weight);
    adapters.push_back(served.use(folder, static_cast<float>(weight)));
  }
  expect_equal_logits(served, adapters, merged);
}

TEST(WeightedAdapters, FusedProjectionsTakePartInTheSum) {
  Served served(tiny_path("phi3"));
  const std::string first = tiny_path("phi3/adapters/lora-qkv-r4");
  const std::string second = tiny_path("phi3/adapters/rslora-all-r8");
  Merged merged("phi3");
  merged.add(first, -0.5);
  merged.add(second, 0.5);
  expect_equal_logits(served, {served.use(first, -0.5f), served.use(second, 0.5f)}, merged);
}

TEST(WeightedAdapters, SumsThatAreNotDefinedAreRefusedByName) {
  Served served(tiny_path("llama-mha"));
  const slora_adapter_weight plain = served.use(tiny_path("llama-mha/adapters/lora-qv-r4"), 1.0f);
  const slora_adapter_weight dora = served.use(tiny_path("llama-mha/adapters/dora"), 1.0f);
  refuse_together(served, {plain, dora}, "DoRA");
  refuse_together(served, {dora, plain}, "DoRA");
  slora_adapter_weight half = dora;
  half.weight = 0.5f;
  refuse_together(served, {half}, "DoRA");

  Served saved(tiny_path("llama3-gqa"));
  const slora_adapter_weight other = saved.use(tiny_path("llama3-gqa/adapters/lora-qv-r4"), 1.0f);
  refuse_together(saved, {other, saved.use(tiny_path("llama3-gqa/adapters/modules-to-save"), 1.0f)},
                  "modules_to_save");
  refuse_together(saved,
                  {other, saved.use(tiny_path("llama3-gqa/adapters/trainable-tokens"), 1.0f)},
                  "trainable tokens");

  Served biased(tiny_path("llama-bias-linear"));
  refuse_together(biased,
                  {biased.use(tiny_path("llama-bias-linear/adapters/bias-all"), 1.0f),
                   biased.use(tiny_path("llama-bias-linear/adapters/lora-qv-r4"), 1.0f)},
                  "biases of its own");
}

// The q and v update of qwen2's own adapter, with `more` tensors and options.
class TiedAdapter {
 public:
  TiedAdapter(const json& options, const std::map<std::string, Matrix>& more) {
    const std::string folder = tiny_path("qwen2/adapters/lora-qv-r4");
    json config = read_json(folder + "/adapter_config.json");
    config.update(options);
    folder_.write_json("adapter_config.json", config);
    const auto tensors = model::TensorSet::open_file(folder + "/adapter_model.safetensors");
    SafetensorsBuilder builder;
    for (const std::string& name : tensors.names()) {
      const Matrix matrix = read_matrix(tensors, name);
      builder.add(name, matrix.shape, matrix.values);
    }
    for (const auto& [name, matrix] : more) builder.add(name, matrix.shape, matrix.values);
    folder_.write("adapter_model.safetensors", builder.bytes());
  }

  const std::string& path() const { return folder_.path(); }

 private:
  TempFolder folder_;
};

Matrix changed_rows(int64_t rows, int64_t columns) {
  Matrix matrix{{rows, columns}, {}};
  for (int64_t i = 0; i < rows * columns; ++i)
    matrix.values.push_back(0.3f * std::sin(static_cast<float>(i) * 0.7f));
  return matrix;
}

TEST(TiedHead, TrainableTokensChangeEmbeddingAndHead) {
  const Matrix rows = changed_rows(3, 64);
  const TiedAdapter adapter(
      {{"trainable_token_indices", {300, 5, 70}}},
      {{"base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta", rows}});
  Served served(tiny_path("qwen2"));
  Merged merged("qwen2");
  merged.add(tiny_path("qwen2/adapters/lora-qv-r4"), 1.0);
  const int64_t ids[] = {300, 5, 70};
  for (size_t k = 0; k < 3; ++k) {
    std::copy_n(rows.values.begin() + static_cast<std::ptrdiff_t>(k * 64), 64,
                merged.matrix("model.embed_tokens.weight").values.begin() + ids[k] * 64);
  }
  expect_equal_logits(served, {served.use(adapter.path(), 1.0f)}, merged);
}

TEST(TiedHead, AWholeEmbeddingLeavesTheHeadAsItWas) {
  const Matrix whole = changed_rows(320, 64);
  const TiedAdapter adapter({{"modules_to_save", {"embed_tokens"}}},
                            {{"base_model.model.model.embed_tokens.weight", whole}});
  Served served(tiny_path("qwen2"));
  Merged merged("qwen2");
  merged.add(tiny_path("qwen2/adapters/lora-qv-r4"), 1.0);
  merged.config()["tie_word_embeddings"] = false;
  merged.matrix("lm_head.weight") = merged.matrix("model.embed_tokens.weight");
  merged.matrix("model.embed_tokens.weight") = whole;
  expect_equal_logits(served, {served.use(adapter.path(), 1.0f)}, merged);
}

TEST(TiedHead, TokensThatAreNoneOrTwiceAreRefused) {
  const std::string name =
      "base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta";
  Served served(tiny_path("qwen2"));
  const auto refuse = [&](const json& ids, const Matrix& rows, const std::string& word) {
    const TiedAdapter adapter({{"trainable_token_indices", ids}}, {{name, rows}});
    try {
      load_adapter(served.engine.get(), adapter.path());
      ADD_FAILURE() << word << " was not refused";
    } catch (const AbiError& error) {
      EXPECT_EQ(error.status, SLORA_ERROR_FORMAT);
      EXPECT_NE(std::string(error.what()).find(word), std::string::npos) << error.what();
    }
  };
  refuse({5, 320}, changed_rows(2, 64), "holds 320");
  refuse({5, -1}, changed_rows(2, 64), "holds -1");
  refuse({5, 5}, changed_rows(2, 64), "holds 5 twice");
  refuse({5, 6}, changed_rows(3, 64), "expected [2, 64]");
  refuse({5, 6}, changed_rows(2, 63), "expected [2, 64]");
}

TEST(Dora, AMagnitudeOfAnotherLengthIsRefused) {
  const std::string folder = tiny_path("qwen2/adapters/dora-all");
  TempFolder copy;
  std::filesystem::copy(folder + "/adapter_config.json", copy.file("adapter_config.json"));
  const auto tensors = model::TensorSet::open_file(folder + "/adapter_model.safetensors");
  SafetensorsBuilder builder;
  for (const std::string& name : tensors.names()) {
    Matrix matrix = read_matrix(tensors, name);
    if (name.ends_with("layers.1.mlp.up_proj.lora_magnitude_vector")) matrix.shape = {79};
    matrix.values.resize(matrix.shape.size() == 1 ? static_cast<size_t>(matrix.shape[0])
                                                  : matrix.values.size());
    builder.add(name, matrix.shape, matrix.values);
  }
  copy.write("adapter_model.safetensors", builder.bytes());
  Served served(tiny_path("qwen2"));
  try {
    load_adapter(served.engine.get(), copy.path());
    ADD_FAILURE() << "not refused";
  } catch (const AbiError& error) {
    EXPECT_EQ(error.status, SLORA_ERROR_FORMAT);
    EXPECT_NE(std::string(error.what()).find("has shape [79]; expected [80]"), std::string::npos)
        << error.what();
  }
}

}  // namespace
}  // namespace slora::test
