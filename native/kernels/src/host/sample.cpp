// Sampling: one task a row. The processors are sample_processors.hpp's; here are the draw and the
// log-probabilities.
#include <algorithm>
#include <cmath>

#include "slora/kernels/host_kernels.hpp"
#include "slora/kernels/random.hpp"
#include "src/host/isa.hpp"
#include "src/host/sample_processors.hpp"

namespace slora::kernels {
namespace {

SampleScratch scratch_of(const SampleParams& params, int32_t row_idx) {
  const int64_t vocab_size = params.vocab_size;
  float* base = static_cast<float*>(params.workspace) + row_idx * kSampleScratchArrays * vocab_size;
  return {base, base + vocab_size, reinterpret_cast<uint32_t*>(base + 2 * vocab_size)};
}

// The first token at which the running sum of masses passes u times their total.
int32_t draw(const float* masses, int64_t vocab_size, double u) {
  // Summed here in the order of the walk, so that the last token with mass is always reached.
  double total = 0.0;
  for (int64_t v = 0; v < vocab_size; ++v) total += masses[v];
  const double target = u * total;
  double sum = 0.0;
  for (int64_t v = 0; v < vocab_size; ++v) {
    sum += masses[v];
    if (sum > target) return static_cast<int32_t>(v);
  }
  return 0;  // only if no mass is finite
}

int32_t choose_token(const SampleParams& params, const SampleRow& row,
                     const SampleScratch& scratch) {
  apply_bias_and_penalties(params, row, scratch);
  if (row.temperature == 0.0f) return first_largest(scratch.logits, params.vocab_size);
  apply_truncation(row, params.vocab_size, scratch);
  fill_masses(scratch.logits, params.vocab_size, scratch.masses);
  return draw(scratch.masses, params.vocab_size,
              philox_uniform(row.seed, static_cast<uint64_t>(row.history_tokens)));
}

// The n largest raw logits, descending, equal ones by id.
void write_top(const float* logits, int64_t vocab_size, int32_t n, float log_normaliser,
               int32_t* tokens, float* logprobs) {
  int32_t filled = 0;
  for (int64_t v = 0; v < vocab_size; ++v) {
    if (filled == n && !(logits[v] > logprobs[n - 1])) continue;
    int32_t place = filled < n ? filled++ : n - 1;
    for (; place > 0 && logits[v] > logprobs[place - 1]; --place) {
      tokens[place] = tokens[place - 1];
      logprobs[place] = logprobs[place - 1];
    }
    tokens[place] = static_cast<int32_t>(v);
    logprobs[place] = logits[v];
  }
  for (int32_t i = 0; i < filled; ++i) logprobs[i] -= log_normaliser;
}

void sample_row(const SampleParams& params, int32_t row_idx) {
  const SampleRow& row = params.rows[row_idx];
  if (row.logits_row < 0) return;  // padding
  const SampleScratch scratch = scratch_of(params, row_idx);
  const float* raw = params.logits + row.logits_row * params.vocab_size;
  const int32_t token = choose_token(params, row, scratch);
  params.out_tokens[row_idx] = token;
  params.history[row.history_slot * params.history_stride + row.history_tokens] = token;

  const double total = fill_masses(raw, params.vocab_size, scratch.masses);
  const float log_normaliser =
      isa().max(raw, params.vocab_size) + static_cast<float>(std::log(total));
  params.out_logprobs[row_idx] = raw[token] - log_normaliser;
  const int32_t n = static_cast<int32_t>(
      std::min<int64_t>(std::min(row.num_logprobs, params.max_logprobs), params.vocab_size));
  if (n > 0) {
    write_top(raw, params.vocab_size, n, log_normaliser,
              params.out_top_tokens + row_idx * params.max_logprobs,
              params.out_top_logprobs + row_idx * params.max_logprobs);
  }
}

}  // namespace

// Cost       about 5 passes over V words of a greedy row, 20 with top-k and top-p, all in cache; a
// row is one task
void run_sample(const SampleParams& params, device::ThreadTeam& team) {
  team.parallel_for(params.num_rows,
                    [&](int32_t row_idx, int32_t) { sample_row(params, row_idx); });
}

void host_sample_distribution(const SampleParams& params, int32_t row_idx, float* out) {
  const SampleRow& row = params.rows[row_idx];
  const SampleScratch scratch = scratch_of(params, row_idx);
  apply_bias_and_penalties(params, row, scratch);
  if (row.temperature == 0.0f) {
    std::fill(out, out + params.vocab_size, 0.0f);
    out[first_largest(scratch.logits, params.vocab_size)] = 1.0f;
    return;
  }
  apply_truncation(row, params.vocab_size, scratch);
  const double total = fill_masses(scratch.logits, params.vocab_size, scratch.masses);
  for (int64_t v = 0; v < params.vocab_size; ++v)
    out[v] = static_cast<float>(scratch.masses[v] / total);
}

}  // namespace slora::kernels
