// Scaled and partial rotary embeddings through the whole engine, against a plain forward pass in
// double precision whose rotations are written from the published definitions. No golden has them:
// what transformers computes for dynamic and longrope depends on the length of each call, and here
// on max_context. The pass itself is held to the golden of the checkpoint's own rope.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "model/test_files.hpp"
#include "slora/model/safetensors.hpp"
#include "support/demo.hpp"

namespace slora::test {
namespace {

using nlohmann::json;
using Vector = std::vector<double>;
using Frequencies = std::vector<double>;

// fp32 over another order of sums; logits are around 1.
constexpr double kTolerance = 1e-3;

constexpr size_t kHidden = 64;
constexpr size_t kHeads = 4;
constexpr size_t kKvHeads = 2;
constexpr size_t kHeadSize = 16;
constexpr size_t kInner = 80;
constexpr size_t kLayers = 2;
constexpr double kTheta = 10000;

std::string phi3_path(const std::string& name) {
  return std::string(SLORA_ASSETS) + "/tiny-models/phi3/" + name;
}

// base^(-2i / dim): RoFormer (https://arxiv.org/abs/2104.09864), eq. 15.
Frequencies plain_frequencies(size_t rotary, double base = kTheta) {
  Frequencies frequencies;
  for (size_t pair = 0; pair < rotary / 2; ++pair)
    frequencies.push_back(
        std::pow(base, -2.0 * static_cast<double>(pair) / static_cast<double>(rotary)));
  return frequencies;
}

// Dynamic NTK (transformers, _compute_dynamic_ntk_parameters): the base grows with the length
// beyond the trained one.
Frequencies dynamic_frequencies(size_t rotary, double factor, double length, double trained) {
  const auto dim = static_cast<double>(rotary);
  const double stretch = factor * std::max(length, trained) / trained - (factor - 1);
  return plain_frequencies(rotary, kTheta * std::pow(stretch, dim / (dim - 2)));
}

// LongRoPE (https://arxiv.org/abs/2402.13753): each frequency is divided by its own factor.
Frequencies divided(Frequencies frequencies, const std::vector<double>& factors) {
  for (size_t i = 0; i < frequencies.size(); ++i) frequencies[i] /= factors[i];
  return frequencies;
}

// Phi-3 token by token, its keys and values kept.
class Reference {
 public:
  Reference(Frequencies frequencies, double attention_factor)
      : tensors_(model::TensorSet::open_file(phi3_path("model.safetensors"))),
        frequencies_(std::move(frequencies)),
        attention_factor_(attention_factor) {
    for (const std::string& name : tensors_.names())
      values_[name] = model::to_floats(tensors_.get(name));
  }

  // [prompt, V]
  Vector logits(const std::vector<int32_t>& prompt) {
    Vector all;
    for (size_t position = 0; position < prompt.size(); ++position) {
      const Vector row = token(static_cast<size_t>(prompt[position]), position);
      all.insert(all.end(), row.begin(), row.end());
    }
    return all;
  }

 private:
  Vector token(size_t id, size_t position) {
    const std::vector<float>& embedding = values_.at("model.embed_tokens.weight");
    Vector x(embedding.begin() + static_cast<std::ptrdiff_t>(id * kHidden),
             embedding.begin() + static_cast<std::ptrdiff_t>((id + 1) * kHidden));
    for (size_t layer = 0; layer < kLayers; ++layer) {
      const std::string prefix = "model.layers." + std::to_string(layer) + ".";
      add(x, attention(layer, prefix, norm(x, prefix + "input_layernorm.weight"), position));
      add(x, feed_forward(prefix, norm(x, prefix + "post_attention_layernorm.weight")));
    }
    return product("lm_head.weight", norm(x, "model.norm.weight"));
  }

  static void add(Vector& x, const Vector& y) {
    for (size_t i = 0; i < x.size(); ++i) x[i] += y[i];
  }

  Vector product(const std::string& name, const Vector& x) const {
    const std::vector<float>& weight = values_.at(name);
    Vector y(weight.size() / x.size(), 0.0);
    for (size_t row = 0; row < y.size(); ++row) {
      for (size_t i = 0; i < x.size(); ++i) y[row] += double{weight[row * x.size() + i]} * x[i];
    }
    return y;
  }

  Vector norm(const Vector& x, const std::string& name) const {
    double squares = 0;
    for (const double value : x) squares += value * value;
    const double scale = 1 / std::sqrt(squares / static_cast<double>(x.size()) + 1e-5);
    Vector y(x.size());
    for (size_t i = 0; i < x.size(); ++i) y[i] = x[i] * scale * double{values_.at(name)[i]};
    return y;
  }

  // Pair i of a head is its elements i and i + half of the rotated part; what is behind that part
  // stays.
  void rotate(double* head, size_t position) const {
    const size_t half = frequencies_.size();
    for (size_t i = 0; i < half; ++i) {
      const double angle = static_cast<double>(position) * frequencies_[i];
      const double cosine = attention_factor_ * std::cos(angle);
      const double sine = attention_factor_ * std::sin(angle);
      const double first = head[i];
      const double second = head[i + half];
      head[i] = first * cosine - second * sine;
      head[i + half] = second * cosine + first * sine;
    }
  }

  Vector attention(size_t layer, const std::string& prefix, const Vector& x, size_t position) {
    Vector qkv = product(prefix + "self_attn.qkv_proj.weight", x);
    for (size_t head = 0; head < kHeads + kKvHeads; ++head)
      rotate(qkv.data() + head * kHeadSize, position);
    const auto k = qkv.begin() + kHeads * kHeadSize;
    const auto v = k + kKvHeads * kHeadSize;
    keys_[layer].insert(keys_[layer].end(), k, v);
    kept_values_[layer].insert(kept_values_[layer].end(), v, qkv.end());
    Vector output(kHeads * kHeadSize, 0.0);
    for (size_t head = 0; head < kHeads; ++head) attend(layer, head, qkv, position, output);
    return product(prefix + "self_attn.o_proj.weight", output);
  }

  void attend(size_t layer, size_t head, const Vector& q, size_t position, Vector& output) const {
    const size_t kv_head = head / (kHeads / kKvHeads);
    const auto at = [&](size_t past) { return (past * kKvHeads + kv_head) * kHeadSize; };
    Vector weights(position + 1, 0.0);
    for (size_t past = 0; past <= position; ++past) {
      for (size_t i = 0; i < kHeadSize; ++i)
        weights[past] += q[head * kHeadSize + i] * keys_[layer][at(past) + i];
      weights[past] /= std::sqrt(static_cast<double>(kHeadSize));
    }
    const double largest = *std::max_element(weights.begin(), weights.end());
    double sum = 0;
    for (double& weight : weights) sum += weight = std::exp(weight - largest);
    for (size_t past = 0; past <= position; ++past) {
      for (size_t i = 0; i < kHeadSize; ++i)
        output[head * kHeadSize + i] += weights[past] / sum * kept_values_[layer][at(past) + i];
    }
  }

  Vector feed_forward(const std::string& prefix, const Vector& x) const {
    const Vector both = product(prefix + "mlp.gate_up_proj.weight", x);
    Vector inner(kInner);
    for (size_t i = 0; i < kInner; ++i)
      inner[i] = both[i] / (1 + std::exp(-both[i])) * both[kInner + i];
    return product(prefix + "mlp.down_proj.weight", inner);
  }

  model::TensorSet tensors_;
  std::map<std::string, std::vector<float>> values_;
  Frequencies frequencies_;
  double attention_factor_;
  Vector keys_[kLayers];
  Vector kept_values_[kLayers];
};

std::vector<int32_t> prompt_of(size_t length) {
  std::vector<int32_t> prompt(length);
  for (size_t i = 0; i < length; ++i) prompt[i] = static_cast<int32_t>((i * i * 7 + i * 31) % 300);
  return prompt;
}

double largest_difference(const std::vector<float>& actual, const Vector& expected) {
  if (actual.size() != expected.size()) return INFINITY;
  double worst = 0;
  for (size_t i = 0; i < expected.size(); ++i)
    worst = std::max(worst, std::fabs(double{actual[i]} - expected[i]));
  return worst;
}

// The engine's logits of every token of a prompt, on Phi-3 with `changes` to its config.json.
std::vector<float> engine_logits(const json& changes, const std::vector<int32_t>& prompt,
                                 uint32_t max_context) {
  const TempFolder folder;
  json config = read_json(phi3_path("config.json"));
  config.update(changes);
  folder.write_json("config.json", config);
  std::filesystem::copy_file(phi3_path("model.safetensors"), folder.file("model.safetensors"));
  const ModelHandle model = load_model(folder.path(), SLORA_DTYPE_F32);
  slora_engine_options options = SLORA_ENGINE_OPTIONS_INIT;
  options.pool_bytes = 8u << 20;
  options.max_context = max_context;
  const EngineHandle engine = create_engine(model.get(), options);
  EXPECT_EQ(geometry(engine.get()).max_context, max_context);
  Request request;
  request.prompt = prompt;
  request.wants_logits = true;
  return run_requests(engine.get(), {request})[0].logits;
}

// Near the reference with these frequencies, and far from the plain ones that a reader who skips
// the option would use.
void expect_rotated(const json& changes, uint32_t max_context, size_t prompt_tokens,
                    const Frequencies& frequencies, double attention_factor = 1) {
  const std::vector<int32_t> prompt = prompt_of(prompt_tokens);
  const std::vector<float> logits = engine_logits(changes, prompt, max_context);
  EXPECT_LT(largest_difference(logits, Reference(frequencies, attention_factor).logits(prompt)),
            kTolerance);
  if (frequencies != plain_frequencies(kHeadSize)) {
    EXPECT_GT(largest_difference(logits, Reference(plain_frequencies(kHeadSize), 1).logits(prompt)),
              20 * kTolerance);
  }
}

TEST(RopeForward, TheReferenceIsTransformersOwnWhereThereIsAGolden) {
  const json golden = read_json(phi3_path("golden.json"));
  const auto tensors = model::TensorSet::open_file(phi3_path("golden.safetensors"));
  const auto prompt = golden["cases"][1]["ids"].get<std::vector<int32_t>>();
  const std::vector<float> expected = model::to_floats(tensors.get("case1.logits"));
  EXPECT_LT(largest_difference(expected, Reference(plain_frequencies(kHeadSize), 1).logits(prompt)),
            kTolerance);
}

TEST(RopeForward, PlainPartialRotation) {
  expect_rotated(json::object(), 128, 100, plain_frequencies(16));
  expect_rotated({{"partial_rotary_factor", 0.75}}, 128, 100, plain_frequencies(12));
  expect_rotated({{"partial_rotary_factor", 0.5}}, 128, 100, plain_frequencies(8));
}

TEST(RopeForward, DynamicNtk) {
  const json changes = {{"rope_scaling", {{"type", "dynamic"}, {"factor", 4.0}}}};
  expect_rotated(changes, 128, 100, plain_frequencies(16));
  expect_rotated(changes, 512, 300, dynamic_frequencies(16, 4, 512, 128));
  json partial = changes;
  partial["partial_rotary_factor"] = 0.5;
  expect_rotated(partial, 512, 300, dynamic_frequencies(8, 4, 512, 128));
}

TEST(RopeForward, Longrope) {
  const std::vector<double> shorter = {1.0, 1.1, 1.25, 1.5, 1.75, 2.0};
  const std::vector<double> longer = {1.0, 2.0, 3.5, 5.0, 8.0, 13.0};
  const json changes = {
      {"original_max_position_embeddings", 32},
      {"partial_rotary_factor", 0.75},
      {"rope_scaling", {{"type", "longrope"}, {"short_factor", shorter}, {"long_factor", longer}}}};
  // The scale of cos and sin is that of the model's whole stretch, 128 / 32, whichever factors are
  // in force.
  const double attention_factor = std::sqrt(1 + std::log(128.0 / 32) / std::log(32.0));
  expect_rotated(changes, 32, 31, divided(plain_frequencies(12), shorter), attention_factor);
  expect_rotated(changes, 128, 110, divided(plain_frequencies(12), longer), attention_factor);
}

}  // namespace
}  // namespace slora::test
