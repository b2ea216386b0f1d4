// Sampling on the device: every option against the reference's distribution, ties, extreme logits,
// draws, log-probabilities, history.
//
// A token is right if the row's uniform falls into its interval of the reference's running sum,
// give or take what float masses err by. Where a threshold cuts a distribution, the reference with
// the threshold moved by a millionth may speak too.
#include "cuda_test.hpp"

#include <algorithm>
#include <map>

#include "slora/kernels/random.hpp"

namespace slora::kernels {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr SampleRow kNeutral{0,    0,    0,    0, 1.0f, 0, 1.0f, 0.0f, 1.0f,
                             1.0f, 0.0f, 0.0f, 0, 0,    0, 0,    0};

class CudaSampleTest : public CudaTest {
 protected:
  struct Call {
    std::vector<float> logits;
    int64_t vocab_size = 0;
    std::vector<int32_t> history;
    int64_t history_stride = 0;
    std::vector<SampleRow> rows;
    std::vector<int32_t> bias_tokens;
    std::vector<float> bias_values;
    int32_t max_logprobs = 0;

    std::vector<int32_t> tokens;
    std::vector<float> logprobs;
    std::vector<int32_t> top_tokens;
    std::vector<float> top_logprobs;
    std::vector<int32_t> new_history;

    SampleParams host_params() const {
      SampleParams params{};
      params.logits = logits.data();
      params.vocab_size = vocab_size;
      params.rows = rows.data();
      params.num_rows = static_cast<int32_t>(rows.size());
      params.history = const_cast<int32_t*>(history.data());
      params.history_stride = history_stride;
      params.bias_tokens = bias_tokens.data();
      params.bias_values = bias_values.data();
      return params;
    }
  };

  Call random_call(int64_t vocab_size, int32_t num_rows) {
    Call call;
    call.vocab_size = vocab_size;
    call.logits = normals(vocab_size * num_rows, 3.0f);
    call.history_stride = 40;
    const auto seen = static_cast<int32_t>(std::min<int64_t>(vocab_size, 25));
    for (int32_t i = 0; i < num_rows * 40; ++i)
      call.history.push_back(between(0, 3) ? between(0, seen - 1)
                                           : between(0, static_cast<int32_t>(vocab_size) - 1));
    for (int32_t i = 0; i < num_rows; ++i) {
      SampleRow row = kNeutral;
      row.logits_row = i;
      row.history_slot = i;
      row.prompt_tokens = between(1, 20);
      row.history_tokens = between(row.prompt_tokens, 39);
      row.seed = static_cast<uint64_t>(random_()) << 32 | random_();
      call.rows.push_back(row);
    }
    return call;
  }

  void run(Call& call) {
    const size_t count = call.rows.size();
    const auto tops = static_cast<int64_t>(count) * call.max_logprobs + 1;
    std::vector<int32_t> bias_tokens = call.bias_tokens;
    std::vector<float> bias_values = call.bias_values;
    bias_tokens.push_back(0);
    bias_values.push_back(0);
    const device::Buffer logits = upload(call.logits);
    const device::Buffer rows = upload(call.rows);
    const device::Buffer history = upload(call.history);
    const device::Buffer device_bias_tokens = upload(bias_tokens);
    const device::Buffer device_bias_values = upload(bias_values);
    const device::Buffer tokens = poisoned(static_cast<int64_t>(count), DType::kF32);
    const device::Buffer logprobs = poisoned(static_cast<int64_t>(count), DType::kF32);
    const device::Buffer top_tokens = poisoned(tops, DType::kF32);
    const device::Buffer top_logprobs = poisoned(tops, DType::kF32);
    const device::Buffer workspace = poisoned(
        static_cast<int64_t>(
            kernels().sample_workspace_bytes(static_cast<int64_t>(count), call.vocab_size) / 4 + 1),
        DType::kF32);
    SampleParams params = call.host_params();
    params.logits = logits.as<float>();
    params.rows = rows.as<SampleRow>();
    params.max_logprobs = call.max_logprobs;
    params.history = history.as<int32_t>();
    params.bias_tokens = device_bias_tokens.as<int32_t>();
    params.bias_values = device_bias_values.as<float>();
    params.out_tokens = tokens.as<int32_t>();
    params.out_logprobs = logprobs.as<float>();
    params.out_top_tokens = top_tokens.as<int32_t>();
    params.out_top_logprobs = top_logprobs.as<float>();
    params.workspace = workspace.data();
    ASSERT_EQ(kernels().sample(stream(), &params), 0);
    stream_->synchronize();
    call.tokens = integers(tokens);
    call.top_tokens = integers(top_tokens);
    call.new_history = integers(history);
    call.logprobs = download(logprobs, DType::kF32);
    call.top_logprobs = download(top_logprobs, DType::kF32);
  }

  std::vector<int32_t> integers(const device::Buffer& from) {
    const std::vector<uint8_t> bytes = download_bytes(from);
    std::vector<int32_t> out(bytes.size() / 4);
    std::memcpy(out.data(), bytes.data(), bytes.size());
    return out;
  }

  // Whether the row's uniform may choose `token`.
  static bool may_draw(const Call& call, int32_t row_idx, int32_t token) {
    if (token < 0 || token >= call.vocab_size) return false;
    const SampleRow& row = call.rows[static_cast<size_t>(row_idx)];
    const bool is_cut = row.top_p < 1 || row.min_p > 0 || row.typical_p < 1;
    const double slack = is_cut ? 1e-4 : 5e-6;
    const double u = philox_uniform(row.seed, static_cast<uint64_t>(row.history_tokens));
    const float moves[] = {1.0f, 1.0f - 1e-5f, 1.0f + 1e-5f};
    for (int32_t variant = 0; variant < (is_cut ? 27 : 1); ++variant) {
      Call moved = call;
      moved.rows = {row};
      SampleRow& one = moved.rows[0];
      one.top_p = row.top_p < 1 ? row.top_p * moves[variant % 3] : 1.0f;
      one.min_p = row.min_p * moves[variant / 3 % 3];
      one.typical_p = row.typical_p < 1 ? row.typical_p * moves[variant / 9] : 1.0f;
      const std::vector<double> p = reference::sample_distribution(moved.host_params(), 0);
      double before = 0;
      for (int32_t v = 0; v < token; ++v) before += p[static_cast<size_t>(v)];
      const double own = p[static_cast<size_t>(token)];
      if (row.temperature == 0.0f) return own == 1.0;
      if (own > 0 && before - slack <= u && u <= before + own + slack) return true;
    }
    return false;
  }

  void expect_right(const Call& call) {
    for (size_t i = 0; i < call.rows.size(); ++i) {
      const SampleRow& row = call.rows[i];
      EXPECT_TRUE(may_draw(call, static_cast<int32_t>(i), call.tokens[i]))
          << "token " << call.tokens[i] << " of row " << i << ", V " << call.vocab_size << " T "
          << row.temperature << " k " << row.top_k << " p " << row.top_p << " min " << row.min_p
          << " typical " << row.typical_p << " repetition " << row.repetition_penalty
          << " presence " << row.presence_penalty << " frequency " << row.frequency_penalty
          << " biases " << row.num_bias << ", seed " << seed_;
      EXPECT_EQ(call.new_history[static_cast<size_t>(row.history_slot * call.history_stride +
                                                     row.history_tokens)],
                call.tokens[i]);
      // Of the raw logits.
      const float* raw = call.logits.data() + row.logits_row * call.vocab_size;
      const double largest = *std::max_element(raw, raw + call.vocab_size);
      double sum = 0;
      for (int64_t v = 0; v < call.vocab_size; ++v) sum += std::exp(raw[v] - largest);
      const double expected = raw[call.tokens[i]] - largest - std::log(sum);
      EXPECT_NEAR(call.logprobs[i], expected, 2e-5 + 2e-7 * std::fabs(largest));
    }
  }
};

TEST_F(CudaSampleTest, EqualsReferenceOverOptions) {
  constexpr int64_t kVocabs[] = {33, 100, 1000, 4097, 32000, 128256, 151936};
  for (int32_t trial = 0; trial < 40; ++trial) {
    const int64_t vocab = kVocabs[trial % 7];
    Call call = random_call(vocab, vocab > 10000 ? 3 : 12);
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
        call.bias_tokens.push_back(between(0, static_cast<int32_t>(vocab) - 1));
        call.bias_values.push_back(normals(1, 5.0f)[0]);
      }
    }
    run(call);
    expect_right(call);
  }
}

// Each option alone, so that a wrong one has a name.
TEST_F(CudaSampleTest, EachOptionAlone) {
  for (int32_t option = 0; option < 9; ++option) {
    for (const int64_t vocab : {33, 2500, 40000}) {
      Call call = random_call(vocab, 10);
      for (SampleRow& row : call.rows) {
        if (option == 0) row.temperature = 0.0f;
        if (option == 1) row.temperature = 0.6f;
        if (option == 2) row.top_k = between(1, 40);
        if (option == 3) row.top_p = 0.01f * static_cast<float>(between(2, 99));
        if (option == 4) row.min_p = 0.01f * static_cast<float>(between(1, 90));
        if (option == 5) row.typical_p = 0.01f * static_cast<float>(between(2, 99));
        if (option == 6) row.repetition_penalty = 2.0f;
        if (option == 7) row.presence_penalty = 1.5f;
        if (option == 8) row.frequency_penalty = 1.1f;
      }
      run(call);
      SCOPED_TRACE("option " + std::to_string(option));
      expect_right(call);
    }
  }
}

TEST_F(CudaSampleTest, TiesAreBrokenAsDocumented) {
  Call call = random_call(6, 1);
  call.logits = {1.0f, 2.0f, 2.0f, 2.0f, 0.0f, -1.0f};
  call.rows[0].temperature = 0.0f;
  call.max_logprobs = call.rows[0].num_logprobs = 3;
  run(call);
  EXPECT_EQ(call.tokens[0], 1);
  for (int32_t i = 0; i < 3; ++i) EXPECT_EQ(call.top_tokens[static_cast<size_t>(i)], 1 + i);
  // -0 is no smaller than 0.
  call.logits = {-1.0f, -0.0f, 0.0f, -3.0f, -2.0f, -1.0f};
  run(call);
  EXPECT_EQ(call.tokens[0], 1);
  EXPECT_EQ(call.top_tokens[1], 2);

  // Equal logits over several blocks: top-k keeps all ties, top-p lower tokens first.
  for (const int64_t vocab : {500, 3000, 70000}) {
    Call equal = random_call(vocab, 400);
    for (size_t i = 0; i < equal.rows.size(); ++i) {
      equal.rows[i].logits_row = 0;
      equal.rows[i].top_k = i < 100 ? 7 : 0;
      equal.rows[i].top_p = i >= 100 && i < 200 ? 0.25f : 1.0f;
      equal.rows[i].typical_p = i >= 200 && i < 300 ? 0.25f : 1.0f;
      equal.rows[i].min_p = i >= 300 ? 0.5f : 0.0f;
    }
    std::fill(equal.logits.begin(), equal.logits.begin() + vocab, 1.25f);
    run(equal);
    int32_t most[4] = {};
    for (size_t i = 0; i < equal.rows.size(); ++i) {
      const double u =
          philox_uniform(equal.rows[i].seed, static_cast<uint64_t>(equal.rows[i].history_tokens));
      const double kept =
          i >= 100 && i < 200 ? 0.25 * static_cast<double>(vocab) : static_cast<double>(vocab);
      EXPECT_NEAR(equal.tokens[i], u * kept, 1.01) << "V " << vocab << " row " << i;
      most[i / 100] = std::max(most[i / 100], equal.tokens[i]);
    }
    EXPECT_LT(most[1], vocab / 4 + 1);
    EXPECT_GT(most[0], vocab / 2);
  }
}

TEST_F(CudaSampleTest, ExtremeLogits) {
  for (const int64_t vocab : {64, 5000, 50000}) {
    Call call = random_call(vocab, 6);
    for (int64_t i = 0; i < 6; ++i) {
      float* row = call.logits.data() + i * vocab;
      const int64_t chosen = between(0, static_cast<int32_t>(vocab) - 1);
      if (i == 0) std::fill(row, row + vocab, -kInfinity), row[chosen] = -3.0f;
      if (i == 1) row[chosen] = 1e30f;
      if (i == 2) std::fill(row, row + vocab, -1e30f), row[chosen] = -0.9e30f;
      if (i == 3)
        for (int64_t v = 0; v < vocab; ++v) row[v] = v % 2 ? -kInfinity : row[v] * 1000.0f;
      if (i == 4) std::fill(row, row + vocab, 65504.0f);
      if (i == 5) std::fill(row, row + chosen, -kInfinity);
      if (i == 1 || i == 3) call.rows[static_cast<size_t>(i)].top_p = 0.9f;
      if (i == 0) call.rows[static_cast<size_t>(i)].top_k = 5;
      if (i == 5) call.rows[static_cast<size_t>(i)].typical_p = 0.5f;
    }
    run(call);
    for (int32_t i = 0; i < 6; ++i) {
      EXPECT_TRUE(may_draw(call, i, call.tokens[static_cast<size_t>(i)]))
          << "row " << i << " V " << vocab << " token " << call.tokens[static_cast<size_t>(i)];
    }
    for (SampleRow& row : call.rows) row.temperature = 0.0f;
    run(call);
    expect_right(call);
  }
}

TEST_F(CudaSampleTest, WritesTopLogprobsAndLeavesPaddingAlone) {
  for (const int64_t vocab : {5, 33, 500, 32000, 128256}) {
    Call call = random_call(vocab, 5);
    call.max_logprobs = 20;
    for (size_t i = 0; i < 4; ++i) call.rows[i].num_logprobs = static_cast<int32_t>(7 * i);
    call.rows[2].temperature = 0.0f;
    call.rows[2].repetition_penalty = 5.0f;
    call.rows[4].logits_row = -1;
    const std::vector<int32_t> history = call.history;
    run(call);
    for (size_t i = 0; i < 4; ++i) {
      const float* raw = call.logits.data() + static_cast<int64_t>(i) * vocab;
      double sum = 0.0;
      for (int64_t v = 0; v < vocab; ++v) sum += std::exp(static_cast<double>(raw[v]));
      std::vector<int32_t> order(static_cast<size_t>(vocab));
      for (size_t v = 0; v < order.size(); ++v) order[v] = static_cast<int32_t>(v);
      std::stable_sort(order.begin(), order.end(),
                       [&](int32_t a, int32_t b) { return raw[a] > raw[b]; });
      const size_t n = std::min<size_t>({7 * i, 20, order.size()});
      for (size_t k = 0; k < 20; ++k) {
        if (k >= n) {
          EXPECT_EQ(call.top_tokens[20 * i + k], -1);  // poison
          continue;
        }
        EXPECT_EQ(call.top_tokens[20 * i + k], order[k]) << "V " << vocab << " place " << k;
        EXPECT_NEAR(call.top_logprobs[20 * i + k], raw[order[k]] - std::log(sum), 2e-5);
      }
    }
    EXPECT_EQ(call.tokens[4], -1);  // poison
    EXPECT_TRUE(std::isnan(call.logprobs[4]));
    for (size_t i = 0; i < 40; ++i) EXPECT_EQ(call.new_history[160 + i], history[160 + i]);
    EXPECT_EQ(call.top_tokens[80], -1);
  }
}

// Launches of every shape after one another: what one needs of shared memory, the next may not
// have.
TEST_F(CudaSampleTest, ManyRowsOfLargeVocabulariesInAnyOrder) {
  std::vector<std::pair<int64_t, int32_t>> shapes = {
      {32000, 128}, {128256, 140}, {33, 200}, {128256, 1}, {262144, 3}, {32000, 32}, {40000, 70}};
  for (int32_t trial = 0; trial < 3; ++trial) {
    for (const auto& [vocab, num_rows] : shapes) {
      Call call = random_call(vocab, 3);
      call.history.resize(static_cast<size_t>(std::max(num_rows, 3)) * 40, 1);
      for (int32_t i = 3; i < num_rows; ++i) {
        call.rows.push_back(call.rows[static_cast<size_t>(i % 3)]);
        call.rows.back().history_slot = i;
        call.rows.back().seed = random_();
      }
      for (size_t i = 0; i < call.rows.size(); ++i) call.rows[i].temperature = i % 2 ? 0.7f : 0.0f;
      run(call);
      for (size_t i = 0; i < call.rows.size(); i += 1 + call.rows.size() / 4) {
        EXPECT_TRUE(may_draw(call, static_cast<int32_t>(i), call.tokens[i]))
            << "V " << vocab << " rows " << num_rows << " row " << i << ", seed " << seed_;
      }
    }
    std::shuffle(shapes.begin(), shapes.end(), random_);
  }
}

// A row draws the same token alone, in any batch (and so at any number of blocks), again and again.
TEST_F(CudaSampleTest, RowDoesNotDependOnOthers) {
  for (const int64_t vocab : {3000, 32000}) {
    Call call = random_call(vocab, 280);
    for (size_t i = 0; i < call.rows.size(); ++i) {
      call.rows[i].top_p = i % 2 ? 0.9f : 1.0f;
      call.rows[i].typical_p = i % 3 ? 1.0f : 0.8f;
      call.rows[i].min_p = i % 5 ? 0.0f : 0.02f;
    }
    const std::vector<SampleRow> rows = call.rows;
    run(call);
    const std::vector<int32_t> together = call.tokens;
    run(call);
    EXPECT_EQ(call.tokens, together);
    for (size_t i = 0; i < rows.size(); i += 19) {
      call.rows = {rows[i]};
      run(call);
      EXPECT_EQ(call.tokens[0], together[i]) << i;
    }
  }
}

TEST_F(CudaSampleTest, DrawsFollowTheDistribution) {
  constexpr int32_t kDraws = 20000;
  Call call = random_call(20, kDraws);
  for (SampleRow& row : call.rows) {
    row.logits_row = 0;
    row.top_k = 8;
  }
  const std::vector<double> p = reference::sample_distribution(call.host_params(), 0);
  run(call);
  std::map<int32_t, int32_t> counts;
  for (const int32_t token : call.tokens) ++counts[token];
  for (int32_t v = 0; v < 20; ++v) {
    const double expected = p[static_cast<size_t>(v)];
    // Five standard deviations of a binomial share.
    EXPECT_NEAR(counts[v] / double{kDraws}, expected,
                5 * std::sqrt(expected * (1 - expected) / kDraws) + 1e-9);
  }
}

}  // namespace
}  // namespace slora::kernels
