// Ten tiny checkpoints of every architecture with their adapters, against transformers' and PEFT's
// own outputs: each alone in fp32, then all of a checkpoint in mixed batches, bitwise the same.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>

#include "slora/model/safetensors.hpp"
#include "support/demo.hpp"

namespace slora::test {
namespace {

using nlohmann::json;

// fp32 over another order of sums.
constexpr double kLogitTolerance = 1e-3;
// A greedy continuation may leave the golden where the two best logits are closer than this.
constexpr double kMargin = 1e-4;

// Adapters that are refused, each with a word of the message.
const std::map<std::string, std::string>& refused_adapters() {
  static const std::map<std::string, std::string> adapters = {
      {"ia3", "IA3"},   {"prompt-tuning", "PROMPT_TUNING"},        {"vera", "VERA"},
      {"lokr", "LOKR"}, {"legacy-bin", "safe_serialization=True"},
  };
  return adapters;
}

std::string tiny_path(const std::string& rest) {
  return std::string(SLORA_ASSETS) + "/tiny-models/" + rest;
}

slora_engine_options tiny_options() {
  slora_engine_options options = SLORA_ENGINE_OPTIONS_INIT;
  options.pool_bytes = 32u << 20;
  options.max_sequences = 64;
  options.max_batch_tokens = 256;
  return options;
}

class TinyGolden : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { load(SLORA_DTYPE_F32); }

  void load(int32_t dtype) {
    adapters_.clear();
    names_.clear();
    engine_.reset();
    model_ = load_model(tiny_path(GetParam()), dtype);
    engine_ = create_engine(model_.get(), tiny_options());
    names_.push_back("");
    const std::string folder = tiny_path(GetParam() + "/adapters");
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
      const std::string name = entry.path().filename().string();
      if (refused_adapters().count(name) == 0) names_.push_back(name);
    }
    std::sort(names_.begin(), names_.end());
    for (const std::string& name : names_) {
      if (!name.empty()) adapters_[name] = load_adapter(engine_.get(), folder + "/" + name);
    }
  }

  std::string golden_folder(const std::string& adapter) const {
    return tiny_path(GetParam() + (adapter.empty() ? "" : "/adapters/" + adapter));
  }

  // The three cases of the base (empty name) or of an adapter.
  std::vector<Request> requests_of(const std::string& adapter) const {
    const json golden = read_json(golden_folder(adapter) + "/golden.json");
    std::vector<Request> requests;
    for (const json& entry : golden["cases"]) {
      Request request;
      request.prompt = entry["ids"].get<std::vector<int32_t>>();
      if (!adapter.empty())
        request.adapters = {{adapter_info(adapters_.at(adapter).get()).adapter_id, 1.0f, 0}};
      request.num_new_tokens = 24;
      request.wants_logits = true;
      requests.push_back(request);
    }
    return requests;
  }

  ModelHandle model_;
  EngineHandle engine_;
  std::vector<std::string> names_;
  std::map<std::string, AdapterHandle> adapters_;
};

double largest_difference(const float* actual, const std::vector<float>& expected) {
  double worst = 0;
  for (size_t i = 0; i < expected.size(); ++i)
    worst = std::max(worst, std::fabs(double{actual[i]} - expected[i]));
  return worst;
}

void expect_golden(const std::string& folder, const std::vector<Completion>& completions) {
  const json golden = read_json(folder + "/golden.json");
  const auto tensors = model::TensorSet::open_file(folder + "/golden.safetensors");
  ASSERT_EQ(completions.size(), golden["cases"].size());
  for (size_t i = 0; i < completions.size(); ++i) {
    SCOPED_TRACE("case " + std::to_string(i));
    const json& entry = golden["cases"][i];
    const std::string name = "case" + std::to_string(i);
    const Completion& completion = completions[i];
    const std::vector<float> last = model::to_floats(tensors.get(name + ".last_logits"));
    ASSERT_GE(completion.logits.size(), last.size());
    EXPECT_LE(
        largest_difference(completion.logits.data() + completion.logits.size() - last.size(), last),
        kLogitTolerance);
    if (tensors.contains(name + ".logits")) {
      const std::vector<float> all = model::to_floats(tensors.get(name + ".logits"));
      ASSERT_EQ(completion.logits.size(), all.size());
      EXPECT_LE(largest_difference(completion.logits.data(), all), kLogitTolerance);
    }
    const auto expected = entry["greedy_ids"].get<std::vector<int32_t>>();
    ASSERT_EQ(completion.tokens.size(), expected.size());
    for (size_t t = 0; t < expected.size(); ++t) {
      if (completion.tokens[t] == expected[t]) continue;
      // From here on the two tell different stories.
      EXPECT_LT(entry["greedy_margins"][t].get<double>(), kMargin) << "token " << t;
      break;
    }
  }
}

TEST_P(TinyGolden, EachAloneThenAllInMixedBatches) {
  std::vector<Request> requests;
  std::vector<Completion> alone;
  for (const std::string& name : names_) {
    SCOPED_TRACE(name.empty() ? "base" : name);
    std::vector<Completion> completions;
    for (const Request& request : requests_of(name)) {
      completions.push_back(run_requests(engine_.get(), {request})[0]);
      requests.push_back(request);
      alone.push_back(completions.back());
    }
    expect_golden(golden_folder(name), completions);
  }
  const std::vector<Completion> mixed = run_requests(engine_.get(), requests);
  for (size_t i = 0; i < requests.size(); ++i) {
    EXPECT_TRUE(same_story(mixed[i], alone[i]))
        << "one batch, request " << i << " of " << names_[i / 3];
  }
  std::mt19937 chaos(5);
  RunStatistics statistics;
  for (int round = 0; round < 3; ++round) {
    const std::vector<Completion> shuffled =
        run_requests(engine_.get(), requests, {&chaos, 0.1}, &statistics);
    for (size_t i = 0; i < requests.size(); ++i) {
      EXPECT_TRUE(same_story(shuffled[i], alone[i]))
          << "shuffled, request " << i << " of " << names_[i / 3];
    }
  }
}

// Root of the mean square of a - b, over that of b.
double relative_distance(const std::vector<float>& a, const std::vector<float>& b) {
  double squares = 0;
  double error = 0;
  for (size_t i = 0; i < b.size(); ++i) {
    squares += double{b[i]} * b[i];
    error += (double{a[i]} - b[i]) * (double{a[i]} - b[i]);
  }
  return std::sqrt(error / squares);
}

// Rounding to bf16 leaves no golden to meet bit by bit, but each dialect must stay near its own and
// the law must hold.
//
// bf16 keeps 8 bits, so one rounding errs by up to 2^-9. Some thirty of them follow each other in
// two layers with random weights; the worst case seen is 0.029, and the smallest effect of an
// adapter on its case 0.29. On a GPU ranks add up partial sums that are each rounded: three
// roundings where one rank has one, so sqrt(3) times as far; the worst case seen over two ranks is
// 0.0514, of one rank that goes the way of several 0.0605.
constexpr double kBf16Distance = 0.05, kBf16DistanceOfRanks = 0.085;

TEST_P(TinyGolden, InBf16EachIsNearItsGoldenAndTheSameInMixedBatches) {
  load(SLORA_DTYPE_BF16);
  const bool is_group = ranks_under_test().tp_size > 1 || std::getenv("SLORA_TP_GROUP_OF_ONE");
  const bool is_rounded = tests_cuda() && is_group;
  const double most = is_rounded ? kBf16DistanceOfRanks : kBf16Distance;
  std::vector<Request> requests;
  std::vector<Completion> alone;
  const auto base = model::TensorSet::open_file(golden_folder("") + "/golden.safetensors");
  for (const std::string& name : names_) {
    SCOPED_TRACE(name.empty() ? "base" : name);
    const auto tensors = model::TensorSet::open_file(golden_folder(name) + "/golden.safetensors");
    const std::vector<Request> own = requests_of(name);
    for (size_t i = 0; i < own.size(); ++i) {
      requests.push_back(own[i]);
      alone.push_back(run_requests(engine_.get(), {own[i]})[0]);
      const std::string tensor = "case" + std::to_string(i) + ".last_logits";
      const std::vector<float> golden = model::to_floats(tensors.get(tensor));
      const std::vector<float>& logits = alone.back().logits;
      ASSERT_GE(logits.size(), golden.size());
      const std::vector<float> last(logits.end() - static_cast<std::ptrdiff_t>(golden.size()),
                                    logits.end());
      EXPECT_LT(relative_distance(last, golden), most) << tensor;
      // What keeps the line above from being too kind: leaving the adapter out would show.
      if (!name.empty()) {
        EXPECT_GT(relative_distance(model::to_floats(base.get(tensor)), golden), 5 * kBf16Distance);
      }
    }
  }
  if (tests_cuda()) return;  // there bf16 sums depend on the size of the batch
  std::mt19937 chaos(6);
  RunStatistics statistics;
  const std::vector<Completion> mixed = run_requests(engine_.get(), requests);
  const std::vector<Completion> shuffled =
      run_requests(engine_.get(), requests, {&chaos, 0.1}, &statistics);
  EXPECT_GT(statistics.preemptions, 0u);
  for (size_t i = 0; i < requests.size(); ++i) {
    EXPECT_TRUE(mixed[i] == alone[i]) << "one batch, request " << i << " of " << names_[i / 3];
    EXPECT_TRUE(shuffled[i] == alone[i]) << "shuffled, request " << i << " of " << names_[i / 3];
  }
}

TEST_P(TinyGolden, OtherDialectsAreRefusedByName) {
  for (const auto& [name, word] : refused_adapters()) {
    const std::string folder = tiny_path(GetParam() + "/adapters/" + name);
    if (!std::filesystem::exists(folder)) continue;
    try {
      load_adapter(engine_.get(), folder);
      ADD_FAILURE() << name << " was not refused";
    } catch (const AbiError& error) {
      EXPECT_EQ(error.status, SLORA_ERROR_UNSUPPORTED) << name;
      EXPECT_NE(std::string(error.what()).find(word), std::string::npos) << error.what();
    }
  }
}

INSTANTIATE_TEST_SUITE_P(TinyModels, TinyGolden,
                         testing::Values("llama-mha", "llama-f32", "llama3-gqa",
                                         "llama-bias-linear", "mistral-swa", "qwen2", "qwen2-yarn",
                                         "qwen3", "gemma2", "phi3"),
                         [](const auto& param_info) {
                           std::string name = param_info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace slora::test
