// The demo model against Hugging Face's and PEFT's own outputs: logits, greedy continuations,
// held-out losses, task answers and the mixed batch, for the base and each of the eighteen
// adapters.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <sstream>

#include "slora/model/safetensors.hpp"
#include "support/demo.hpp"

namespace slora::test {
namespace {

using nlohmann::json;

slora_engine_options roomy() {
  slora_engine_options options = SLORA_ENGINE_OPTIONS_INIT;
  options.pool_bytes = 512u << 20;
  options.max_sequences = 64;
  options.max_batch_tokens = 1024;
  return options;
}

DemoEngine& fp32_engine() {
  static DemoEngine engine(SLORA_DTYPE_F32, roomy());
  return engine;
}

DemoEngine& bf16_engine() {
  static DemoEngine engine(SLORA_DTYPE_BF16, roomy());
  return engine;
}

std::vector<std::string> all_names() {
  std::vector<std::string> names = demo_adapter_names();
  names.insert(names.begin(), "base");
  return names;
}

std::vector<float> tensor(const model::TensorSet& set, const std::string& name) {
  return model::to_floats(set.get(name));
}

double log_sum_exp(const float* logits, size_t count) {
  const float largest = *std::max_element(logits, logits + count);
  double sum = 0;
  for (size_t i = 0; i < count; ++i) sum += std::exp(double{logits[i]} - largest);
  return largest + std::log(sum);
}

class Golden : public testing::TestWithParam<std::string> {};

// 1e-3: the goldens are fp32 over another order of sums; two independent implementations differ by
// up to 5e-5.
constexpr double kLogitTolerance = 1e-3;
// Logits closer than this may change places in an order.
constexpr double kTie = 1e-5;

TEST_P(Golden, LogitsAndGreedyContinuationInFp32) {
  const DemoEngine& demo = fp32_engine();
  const json golden = read_json(demo_path("goldens/" + GetParam() + ".json"));
  const auto tensors =
      model::TensorSet::open_file(demo_path("goldens/" + GetParam() + ".safetensors"));
  std::vector<Request> requests;
  for (const json& entry : golden["cases"]) {
    Request request;
    request.prompt = entry["ids"].get<std::vector<int32_t>>();
    request.adapters = demo.use(GetParam());
    request.num_new_tokens = 48;
    request.wants_logits = true;
    requests.push_back(request);
  }
  ASSERT_EQ(requests.size(), 5u);
  const std::vector<Completion> completions = run_requests(demo.engine.get(), requests);

  for (size_t i = 0; i < requests.size(); ++i) {
    SCOPED_TRACE("case " + std::to_string(i));
    const json& entry = golden["cases"][i];
    const size_t num_tokens = requests[i].prompt.size();
    const size_t vocab = completions[i].logits.size() / num_tokens;
    const float* last = completions[i].logits.data() + (num_tokens - 1) * vocab;
    const std::vector<float> expected =
        tensor(tensors, "case" + std::to_string(i) + ".last_logits");
    ASSERT_EQ(expected.size(), vocab);
    double worst = 0;
    for (size_t v = 0; v < vocab; ++v)
      worst = std::max(worst, std::fabs(double{last[v]} - expected[v]));
    EXPECT_LE(worst, kLogitTolerance);

    std::vector<int32_t> order(vocab);
    for (size_t v = 0; v < vocab; ++v) order[v] = static_cast<int32_t>(v);
    std::partial_sort(order.begin(), order.begin() + 10, order.end(),
                      [&](int32_t a, int32_t b) { return last[a] > last[b]; });
    const auto top_ids = entry["last_logits"]["top10_ids"].get<std::vector<int32_t>>();
    for (size_t k = 0; k < 10; ++k) {
      if (order[k] != top_ids[k]) {
        EXPECT_NEAR(expected[static_cast<size_t>(order[k])],
                    expected[static_cast<size_t>(top_ids[k])], kTie);
      }
    }

    const json& positions = entry["all_positions"];
    for (size_t t = 0; t < num_tokens; ++t) {
      const float* logits = completions[i].logits.data() + t * vocab;
      EXPECT_NEAR(log_sum_exp(logits, vocab), positions["logsumexp"][t].get<double>(),
                  kLogitTolerance);
      for (size_t k = 0; k < 8; ++k)
        EXPECT_NEAR(logits[k], positions["first8"][t][k].get<double>(), kLogitTolerance);
      const auto best = static_cast<int32_t>(std::max_element(logits, logits + vocab) - logits);
      const int32_t golden_best = positions["argmax"][t];
      if (best != golden_best) {
        EXPECT_NEAR(logits[best], logits[golden_best], 1e-4);
      }
    }
    EXPECT_EQ(completions[i].tokens, entry["greedy"]["ids"].get<std::vector<int32_t>>());
  }
}

// How far Hugging Face's own bf16 run was from these goldens at the last position, over the five
// cases: ours is as far at most.
TEST_P(Golden, LogitsInBf16) {
  const DemoEngine& demo = bf16_engine();
  const json golden = read_json(demo_path("goldens/" + GetParam() + ".json"));
  const auto tensors =
      model::TensorSet::open_file(demo_path("goldens/" + GetParam() + ".safetensors"));
  double worst = 0;
  for (size_t i = 0; i < golden["cases"].size(); ++i) {
    Request request;
    request.prompt = golden["cases"][i]["ids"].get<std::vector<int32_t>>();
    request.adapters = demo.use(GetParam());
    request.wants_logits = true;
    const Completion completion = run_requests(demo.engine.get(), {request})[0];
    const std::vector<float> expected =
        tensor(tensors, "case" + std::to_string(i) + ".last_logits");
    ASSERT_GE(completion.logits.size(), expected.size());
    const float* last = completion.logits.data() + completion.logits.size() - expected.size();
    for (size_t v = 0; v < expected.size(); ++v)
      worst = std::max(worst, std::fabs(double{last[v]} - expected[v]));
  }
  const double tolerance = golden["tolerance"]["max_abs_diff_gpu_bfloat16"].get<double>();
  std::printf("%s: %.3f of its tolerance\n", GetParam().c_str(), worst / tolerance);
  EXPECT_LE(worst, tolerance);
}

// Mean loss of the held-out texts under `adapters`, and the largest difference of a token's loss
// from `expected`.
struct Loss {
  double mean = 0;
  double worst = 0;
};

Loss held_out_loss(const DemoEngine& demo, const std::vector<slora_adapter_weight>& adapters,
                   const std::vector<int32_t>& ids, const std::vector<float>& expected,
                   size_t num_texts) {
  const size_t length = ids.size() / num_texts;
  std::vector<Request> requests(num_texts);
  for (size_t i = 0; i < num_texts; ++i) {
    requests[i].prompt.assign(ids.begin() + static_cast<std::ptrdiff_t>(i * length),
                              ids.begin() + static_cast<std::ptrdiff_t>((i + 1) * length));
    requests[i].adapters = adapters;
    requests[i].wants_logits = true;
  }
  const std::vector<Completion> completions = run_requests(demo.engine.get(), requests);
  Loss loss;
  size_t count = 0;
  for (size_t i = 0; i < num_texts; ++i) {
    const size_t vocab = completions[i].logits.size() / length;
    for (size_t t = 0; t + 1 < length; ++t, ++count) {
      const float* logits = completions[i].logits.data() + t * vocab;
      const double nll = log_sum_exp(logits, vocab) - logits[requests[i].prompt[t + 1]];
      loss.mean += nll;
      loss.worst = std::max(loss.worst, std::fabs(nll - expected[i * (length - 1) + t]));
    }
  }
  loss.mean /= static_cast<double>(count);
  return loss;
}

double mean(const std::vector<float>& values) {
  double sum = 0;
  for (const float value : values) sum += value;
  return sum / static_cast<double>(values.size());
}

TEST_P(Golden, HeldOutLossInFp32AndBf16) {
  const auto tensors =
      model::TensorSet::open_file(demo_path("goldens/" + GetParam() + ".safetensors"));
  if (!tensors.contains("heldout.nll"))
    return;  // the nine styles have held-out texts; tasks have task answers
  std::vector<int32_t> ids;
  const auto file =
      model::SafetensorsFile::open(demo_path("goldens/" + GetParam() + ".safetensors"));
  const auto& entry = file.entries().at("heldout.ids");
  ASSERT_EQ(entry.dtype, "I32");
  ids.resize(entry.bytes / 4);
  std::ifstream raw(demo_path("goldens/" + GetParam() + ".safetensors"), std::ios::binary);
  raw.seekg(static_cast<std::streamoff>(entry.begin));
  raw.read(reinterpret_cast<char*>(ids.data()), static_cast<std::streamsize>(entry.bytes));
  const auto num_texts = static_cast<size_t>(entry.shape[0]);

  const std::vector<float> nll = tensor(tensors, "heldout.nll");
  const std::vector<float> nll_base = tensor(tensors, "heldout.nll_base");
  const Loss adapter =
      held_out_loss(fp32_engine(), fp32_engine().use(GetParam()), ids, nll, num_texts);
  EXPECT_LE(adapter.worst, 1e-3);
  EXPECT_NEAR(adapter.mean, mean(nll), 1e-4);
  const Loss base = held_out_loss(fp32_engine(), {}, ids, nll_base, num_texts);
  EXPECT_LE(base.worst, 1e-3);
  const Loss rounded =
      held_out_loss(bf16_engine(), bf16_engine().use(GetParam()), ids, nll, num_texts);
  EXPECT_NEAR(rounded.mean, mean(nll), 0.02);
}

TEST_P(Golden, TaskAnswersInFp32) {
  std::ifstream lines(demo_path("goldens/" + GetParam() + ".tasks.jsonl"));
  if (!lines) return;  // styles have no tasks
  std::vector<Request> requests;
  std::vector<std::vector<int32_t>> expected;
  for (std::string line; std::getline(lines, line);) {
    const json entry = json::parse(line);
    Request request;
    request.prompt = entry["prompt_ids"].get<std::vector<int32_t>>();
    request.adapters = fp32_engine().use(GetParam());
    expected.push_back(entry["output_ids"].get<std::vector<int32_t>>());
    request.num_new_tokens = static_cast<int32_t>(expected.back().size());
    requests.push_back(request);
  }
  ASSERT_EQ(requests.size(), 170u);
  const std::vector<Completion> completions = run_requests(fp32_engine().engine.get(), requests);
  for (size_t i = 0; i < requests.size(); ++i)
    EXPECT_EQ(completions[i].tokens, expected[i]) << "task " << i;
}

INSTANTIATE_TEST_SUITE_P(DemoModel, Golden, testing::ValuesIn(all_names()),
                         [](const auto& param_info) { return param_info.param; });

TEST(GoldenBatch, ThirtyTwoRequestsUnderDifferentAdaptersInFp32) {
  const json golden = read_json(demo_path("goldens/mixed_batch.json"));
  std::vector<Request> requests;
  for (const json& entry : golden["requests"]) {
    Request request;
    request.prompt = entry["ids"].get<std::vector<int32_t>>();
    request.adapters =
        fp32_engine().use(entry["adapter"].is_null() ? "" : entry["adapter"].get<std::string>());
    request.num_new_tokens = golden["max_new_tokens"];
    request.sampling.num_logprobs = 10;
    requests.push_back(request);
  }
  ASSERT_EQ(requests.size(), 32u);
  const std::vector<Completion> completions = run_requests(fp32_engine().engine.get(), requests);
  for (size_t i = 0; i < requests.size(); ++i) {
    const json& entry = golden["requests"][i];
    EXPECT_EQ(completions[i].tokens, entry["greedy_ids"].get<std::vector<int32_t>>())
        << "request " << i;
    const auto ids = entry["last_top10_ids"].get<std::vector<int32_t>>();
    const auto values = entry["last_top10_values"].get<std::vector<double>>();
    for (size_t k = 0; k < 10; ++k) {
      const slora_token_logprob& top = completions[i].top[0][k];
      if (top.token_id != ids[k]) {
        EXPECT_NEAR(values[k], values[k ? k - 1 : 1], kTie);
      }
      // Differences of logits are differences of log-probabilities.
      EXPECT_NEAR(top.logprob - completions[i].top[0][0].logprob, values[k] - values[0],
                  kLogitTolerance);
    }
  }
}

}  // namespace
}  // namespace slora::test
