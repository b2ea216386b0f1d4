// Sampling: the distributions of transformers' own processors, the reference, the generator and its
// statistics.
#include <algorithm>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "kernel_test.hpp"
#include "slora/kernels/random.hpp"

namespace slora::kernels {
namespace {

constexpr SampleRow kNeutral{0,    0,    0,    0, 1.0f, 0, 1.0f, 0.0f, 1.0f,
                             1.0f, 0.0f, 0.0f, 0, 0,    0, 0,    0};

// One float tensor of a safetensors file.
std::vector<float> read_tensor(const std::string& path, const std::string& name) {
  std::ifstream file(path, std::ios::binary);
  uint64_t header_bytes = 0;
  file.read(reinterpret_cast<char*>(&header_bytes), 8);
  std::string header(header_bytes, ' ');
  file.read(header.data(), static_cast<std::streamsize>(header_bytes));
  const auto offsets = nlohmann::json::parse(header).at(name).at("data_offsets");
  const int64_t begin = offsets[0], end = offsets[1];
  std::vector<float> values(static_cast<size_t>(end - begin) / sizeof(float));
  file.seekg(static_cast<std::streamoff>(8 + header_bytes) + begin);
  file.read(reinterpret_cast<char*>(values.data()), end - begin);
  return values;
}

class SampleTest : public KernelTest {
 protected:
  // Everything of a call, of rows that share one matrix of logits and one history.
  struct Call {
    std::vector<float> logits;
    int64_t vocab_size;
    std::vector<int32_t> history;
    int64_t history_stride;
    std::vector<SampleRow> rows;
    std::vector<int32_t> bias_tokens;
    std::vector<float> bias_values;
    int32_t max_logprobs = 0;

    std::vector<int32_t> tokens;
    std::vector<float> logprobs;
    std::vector<int32_t> top_tokens;
    std::vector<float> top_logprobs;
    std::vector<uint8_t> workspace;

    SampleParams params() {
      const size_t count = rows.size();
      tokens.assign(count, -1);
      logprobs.assign(count, 0.0f);
      top_tokens.assign(count * static_cast<size_t>(max_logprobs) + 1, -1);
      top_logprobs.assign(count * static_cast<size_t>(max_logprobs) + 1, 0.0f);
      workspace.assign(
          host_kernel_api()->sample_workspace_bytes(static_cast<int64_t>(count), vocab_size), 0xff);
      return {logits.data(),       vocab_size,      rows.data(),     static_cast<int32_t>(count),
              max_logprobs,        history.data(),  history_stride,  bias_tokens.data(),
              bias_values.data(),  tokens.data(),   logprobs.data(), top_tokens.data(),
              top_logprobs.data(), workspace.data()};
    }
  };

  Call random_call(int64_t vocab_size, int32_t num_rows) {
    Call call;
    call.vocab_size = vocab_size;
    call.logits = normals(vocab_size * num_rows, 3.0f);
    call.history_stride = 40;
    for (int32_t i = 0; i < num_rows * 40; ++i) {
      call.history.push_back(
          between(0, static_cast<int32_t>(std::min<int64_t>(vocab_size, 25)) - 1));
    }
    for (int32_t i = 0; i < num_rows; ++i) {
      SampleRow row = kNeutral;
      row.logits_row = i;
      row.history_slot = i;
      row.prompt_tokens = between(1, 20);
      row.history_tokens = between(row.prompt_tokens, 39);
      row.seed = random_();
      call.rows.push_back(row);
    }
    return call;
  }
};

TEST_P(SampleTest, LeavesWhatTransformersLeaves) {
  const std::string folder = SLORA_ASSETS "/demo-model/goldens/";
  const nlohmann::json goldens = nlohmann::json::parse(std::ifstream(folder + "sampling.json"));
  int32_t checked = 0;
  for (const auto& golden : goldens.at("cases")) {
    const auto& settings = golden.at("settings");
    if (settings.contains("no_repeat_ngram_size"))
      continue;  // not an option of slora_sampling_options
    Call call;
    call.logits = read_tensor(folder + std::string(golden.at("file")), golden.at("logits"));
    call.vocab_size = static_cast<int64_t>(call.logits.size());
    call.history = golden.at("history").get<std::vector<int32_t>>();
    call.history.push_back(0);
    call.history_stride = static_cast<int64_t>(call.history.size());
    SampleRow row = kNeutral;
    row.prompt_tokens = row.history_tokens = static_cast<int32_t>(call.history.size()) - 1;
    row.temperature = settings.value("temperature", 1.0f);
    row.top_k = settings.value("top_k", 0);
    row.top_p = settings.value("top_p", 1.0f);
    row.min_p = settings.value("min_p", 0.0f);
    row.typical_p = settings.value("typical_p", 1.0f);
    row.repetition_penalty = settings.value("repetition_penalty", 1.0f);
    call.rows = {row};
    std::vector<float> p(call.logits.size());
    host_sample_distribution(call.params(), 0, p.data());
    const auto kept = std::count_if(p.begin(), p.end(), [](float x) { return x > 0.0f; });
    // A neutral processor keeps all, but the smallest may underflow in float.
    const int64_t expected = golden.at("kept");
    EXPECT_TRUE(kept == expected || (expected == call.vocab_size && kept > 0))
        << golden.dump() << " kept " << kept;
    const auto& ids = golden.at("top_ids");
    for (size_t i = 0; i < ids.size(); ++i) {
      // The file rounds to seven places; softmax in float errs by about 1e-6 of the value.
      EXPECT_NEAR(p[static_cast<size_t>(ids[i])], golden.at("top_probs")[i].get<double>(), 2e-6)
          << golden.dump();
    }
    ++checked;
  }
  EXPECT_GE(checked, 42);
}

TEST_P(SampleTest, EqualsReferenceOverOptions) {
  for (int32_t trial = 0; trial < 60; ++trial) {
    Call call = random_call(between(0, 1) ? 1000 : between(1, 300), 3);
    for (SampleRow& row : call.rows) {
      row.temperature = between(0, 3) == 0 ? 0.0f : 0.1f * static_cast<float>(between(3, 20));
      row.top_k = between(0, 1) ? between(1, 80) : 0;
      row.top_p = between(0, 1) ? 0.01f * static_cast<float>(between(5, 99)) : 1.0f;
      row.min_p = between(0, 2) == 0 ? 0.01f * static_cast<float>(between(1, 60)) : 0.0f;
      row.typical_p = between(0, 2) == 0 ? 0.01f * static_cast<float>(between(5, 99)) : 1.0f;
      row.repetition_penalty = between(0, 1) ? 1.3f : 1.0f;
      row.presence_penalty = between(0, 1) ? 0.7f : 0.0f;
      row.frequency_penalty = between(0, 1) ? -0.4f : 0.0f;
      row.bias_offset = static_cast<int32_t>(call.bias_tokens.size());
      row.num_bias = between(0, 3);
      for (int32_t i = 0; i < row.num_bias; ++i) {
        call.bias_tokens.push_back(between(0, static_cast<int32_t>(call.vocab_size) - 1));
        call.bias_values.push_back(normals(1, 5.0f)[0]);
      }
    }
    const SampleParams params = call.params();
    for (int32_t i = 0; i < 3; ++i) {
      std::vector<float> p(static_cast<size_t>(call.vocab_size));
      host_sample_distribution(params, i, p.data());
      EXPECT_TRUE(all_near(p, reference::sample_distribution(params, i), 3e-6))
          << "trial " << trial << " row " << i;
    }
  }
}

TEST_P(SampleTest, TiesAreBrokenAsDocumented) {
  Call call = random_call(6, 1);
  call.logits = {1.0f, 2.0f, 2.0f, 2.0f, 0.0f, -1.0f};
  std::vector<float> p(6);
  call.rows[0].temperature = 0.0f;
  run_sample(call.params(), team_);
  EXPECT_EQ(call.tokens[0], 1);  // first largest
  call.max_logprobs = call.rows[0].num_logprobs = 3;
  run_sample(call.params(), team_);
  for (int32_t i = 0; i < 3; ++i) EXPECT_EQ(call.top_tokens[static_cast<size_t>(i)], 1 + i);
  call.rows[0].temperature = 1.0f;
  call.rows[0].top_k = 2;  // a tie with the second stays
  host_sample_distribution(call.params(), 0, p.data());
  EXPECT_TRUE(all_near(p, {0, 1 / 3.0, 1 / 3.0, 1 / 3.0, 0, 0}, 1e-6));
  call.rows[0].top_k = 0;
  call.rows[0].top_p = 0.4f;  // lower ids first
  host_sample_distribution(call.params(), 0, p.data());
  EXPECT_TRUE(all_near(p, {0, 0.5, 0.5, 0, 0, 0}, 1e-6));
}

TEST_P(SampleTest, WritesTokenHistoryAndLogprobs) {
  Call call = random_call(500, 4);
  call.max_logprobs = 6;
  call.rows[2].num_logprobs = 5;
  call.rows[2].temperature = 0.0f;
  call.rows[2].repetition_penalty = 5.0f;
  run_sample(call.params(), team_);
  for (size_t i = 0; i < 4; ++i) {
    const SampleRow& row = call.rows[i];
    ASSERT_GE(call.tokens[i], 0);
    EXPECT_EQ(call.history[static_cast<size_t>(row.history_slot * 40 + row.history_tokens)],
              call.tokens[i]);
  }
  const float* raw = call.logits.data() + 2 * 500;
  double sum = 0.0;
  for (int v = 0; v < 500; ++v) sum += std::exp(static_cast<double>(raw[v]));
  EXPECT_NEAR(call.logprobs[2], raw[call.tokens[2]] - std::log(sum), 1e-5);
  std::vector<int32_t> order(500);
  for (int32_t v = 0; v < 500; ++v) order[static_cast<size_t>(v)] = v;
  std::stable_sort(order.begin(), order.end(),
                   [&](int32_t a, int32_t b) { return raw[a] > raw[b]; });
  for (size_t i = 0; i < 5; ++i) {
    EXPECT_EQ(call.top_tokens[12 + i], order[i]);
    EXPECT_NEAR(call.top_logprobs[12 + i], raw[order[i]] - std::log(sum), 1e-5);
  }
  EXPECT_EQ(call.top_tokens[17], -1);
}

// The law: a row draws the same token alone, in any batch and on any team.
TEST_P(SampleTest, RowDoesNotDependOnOthers) {
  Call call = random_call(3000, 16);
  for (size_t i = 0; i < call.rows.size(); ++i) {
    call.rows[i].top_p = i % 2 ? 0.9f : 1.0f;
    call.rows[i].typical_p = i % 3 ? 1.0f : 0.8f;
    call.rows[i].min_p = i % 5 ? 0.0f : 0.02f;
  }
  const std::vector<SampleRow> rows = call.rows;
  run_sample(call.params(), team_);
  const std::vector<int32_t> together = call.tokens;
  for (int32_t threads = 1; threads <= 3; ++threads) {
    device::ThreadTeam team(threads);
    for (size_t i = 0; i < rows.size(); ++i) {
      call.rows = {rows[i]};
      run_sample(call.params(), team);
      EXPECT_EQ(call.tokens[0], together[i]);
    }
  }
}

TEST_P(SampleTest, DrawsFollowTheDistribution) {
  Call call = random_call(20, 1);
  call.rows[0].top_k = 8;
  std::vector<float> p(20);
  host_sample_distribution(call.params(), 0, p.data());
  std::map<int32_t, int32_t> counts;
  constexpr int32_t kDraws = 20000;
  for (int32_t i = 0; i < kDraws; ++i) {
    call.rows[0].seed = static_cast<uint64_t>(i);
    run_sample(call.params(), team_);
    ++counts[call.tokens[0]];
  }
  for (int32_t v = 0; v < 20; ++v) {
    const double expected = p[static_cast<size_t>(v)];
    // Five standard deviations of a binomial share.
    EXPECT_NEAR(counts[v] / double{kDraws}, expected,
                5 * std::sqrt(expected * (1 - expected) / kDraws) + 1e-9);
  }
}

TEST(RandomTest, PhiloxEqualsTheKnownAnswers) {
  // Random123's kat_vectors, philox4x32 10: counter 0, key 0 gives 6627e8d5 e169c58d bc57ac4c
  // 9b00dbd8.
  EXPECT_EQ(philox_uniform(0, 0), static_cast<double>((0xe169c58d6627e8d5ull) >> 11) * 0x1.0p-53);
}

SLORA_KERNEL_TEST_SUITE(SampleTest);

}  // namespace
}  // namespace slora::kernels
