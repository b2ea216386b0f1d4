// What sampling does to a row of logits before it draws: penalties, biases and cut-offs.
#include "src/host/sample_processors.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "slora/core/dtype.hpp"
#include "src/host/isa.hpp"

namespace slora::kernels {
namespace {

constexpr float kDropped = -std::numeric_limits<float>::infinity();

// A key that ascends with x.
uint32_t ascending_key(float x) {
  const uint32_t bits = core::bits_from_float(x);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
uint32_t descending_key(float x) { return ~ascending_key(x); }

struct Threshold {
  uint32_t key;
  double mass_before;  // of the keys below `key`
};

// The smallest key at which the mass of all keys up to it reaches `target`; the largest possible
// key if it never does. Cost       three passes over the keys, 11 + 11 + 10 bits of them: no sort
template <typename Mass>
Threshold select_by_mass(const uint32_t* keys, int64_t count, const Mass& mass, double target) {
  constexpr int kShifts[3] = {21, 10, 0};
  constexpr int kBits[3] = {11, 11, 10};
  uint32_t prefix = 0;
  uint32_t prefix_mask = 0;
  double before = 0.0;
  for (int pass = 0; pass < 3; ++pass) {
    double buckets[2048] = {};
    const uint32_t num_buckets = 1u << kBits[pass];
    for (int64_t i = 0; i < count; ++i) {
      if ((keys[i] & prefix_mask) == prefix)
        buckets[(keys[i] >> kShifts[pass]) & (num_buckets - 1)] += mass(i);
    }
    uint32_t bucket = 0;
    while (bucket + 1 < num_buckets && before + buckets[bucket] < target)
      before += buckets[bucket++];
    prefix |= bucket << kShifts[pass];
    prefix_mask |= (num_buckets - 1) << kShifts[pass];
  }
  return {prefix, before};
}

void fill_descending_keys(const SampleScratch& scratch, int64_t vocab_size) {
  for (int64_t v = 0; v < vocab_size; ++v) scratch.keys[v] = descending_key(scratch.logits[v]);
}

// Keeps what is at least the k-th largest: all ties with it stay, as in transformers.
void keep_top_k(int32_t top_k, int64_t vocab_size, const SampleScratch& scratch) {
  fill_descending_keys(scratch, vocab_size);
  const uint32_t last = select_by_mass(
                            scratch.keys, vocab_size, [](int64_t) { return 1.0; }, top_k)
                            .key;
  for (int64_t v = 0; v < vocab_size; ++v) {
    if (scratch.keys[v] > last) scratch.logits[v] = kDropped;
  }
}

// Keeps a token while the probability of those before it (larger, or equal with a lower id) is
// below top_p.
void keep_top_p(float top_p, int64_t vocab_size, const SampleScratch& scratch) {
  fill_descending_keys(scratch, vocab_size);
  const double total = fill_masses(scratch.logits, vocab_size, scratch.masses);
  const double target = static_cast<double>(top_p) * total;
  const Threshold last = select_by_mass(
      scratch.keys, vocab_size, [&](int64_t v) { return static_cast<double>(scratch.masses[v]); },
      target);
  double before = last.mass_before;
  for (int64_t v = 0; v < vocab_size; ++v) {
    if (scratch.keys[v] < last.key) continue;
    if (scratch.keys[v] == last.key && before < target) {
      before += scratch.masses[v];
    } else {
      scratch.logits[v] = kDropped;
    }
  }
}

// Keeps what has at least min_p of the largest probability.
void keep_min_p(float min_p, int64_t vocab_size, const SampleScratch& scratch) {
  fill_masses(scratch.logits, vocab_size, scratch.masses);
  for (int64_t v = 0; v < vocab_size; ++v) {
    if (scratch.masses[v] < min_p) scratch.logits[v] = kDropped;
  }
}

// Keeps the tokens whose surprise is nearest to the entropy until their probability reaches
// typical_p; ties stay.
void keep_typical(float typical_p, int64_t vocab_size, const SampleScratch& scratch) {
  const double total = fill_masses(scratch.logits, vocab_size, scratch.masses);
  const float log_normaliser =
      isa().max(scratch.logits, vocab_size) + static_cast<float>(std::log(total));
  double entropy = 0.0;
  for (int64_t v = 0; v < vocab_size; ++v) {
    if (scratch.masses[v] > 0.0f) {
      entropy -=
          scratch.masses[v] / total * static_cast<double>(scratch.logits[v] - log_normaliser);
    }
  }
  for (int64_t v = 0; v < vocab_size; ++v) {
    const float surprise = log_normaliser - scratch.logits[v];
    scratch.keys[v] = ascending_key(std::fabs(surprise - static_cast<float>(entropy)));
  }
  const uint32_t last = select_by_mass(
                            scratch.keys, vocab_size,
                            [&](int64_t v) { return static_cast<double>(scratch.masses[v]); },
                            static_cast<double>(typical_p) * total)
                            .key;
  for (int64_t v = 0; v < vocab_size; ++v) {
    if (scratch.keys[v] > last) scratch.logits[v] = kDropped;
  }
}

}  // namespace

double fill_masses(const float* logits, int64_t vocab_size, float* masses) {
  isa().exp_shifted(logits, isa().max(logits, vocab_size), vocab_size, masses);
  double sums[4] = {};
  for (int64_t v = 0; v < vocab_size; ++v) sums[v & 3] += masses[v];
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

int32_t first_largest(const float* logits, int64_t vocab_size) {
  int64_t best = 0;
  for (int64_t v = 1; v < vocab_size; ++v) {
    if (logits[v] > logits[best]) best = v;
  }
  return static_cast<int32_t>(best);
}

void apply_bias_and_penalties(const SampleParams& params, const SampleRow& row,
                              const SampleScratch& scratch) {
  const int64_t vocab_size = params.vocab_size;
  float* logits = scratch.logits;
  std::memcpy(logits, params.logits + row.logits_row * vocab_size,
              static_cast<size_t>(vocab_size) * sizeof(float));
  for (int32_t i = row.bias_offset; i < row.bias_offset + row.num_bias; ++i) {
    logits[params.bias_tokens[i]] += params.bias_values[i];
  }
  const int32_t* history = params.history + row.history_slot * params.history_stride;
  if (row.repetition_penalty != 1.0f) {
    std::fill(scratch.keys, scratch.keys + vocab_size, 0u);
    for (int32_t i = 0; i < row.history_tokens; ++i) {
      const int32_t token = history[i];
      if (scratch.keys[token]++ != 0) continue;
      logits[token] = logits[token] < 0.0f ? logits[token] * row.repetition_penalty
                                           : logits[token] / row.repetition_penalty;
    }
  }
  if (row.presence_penalty != 0.0f || row.frequency_penalty != 0.0f) {
    std::fill(scratch.keys, scratch.keys + vocab_size, 0u);
    for (int32_t i = row.prompt_tokens; i < row.history_tokens; ++i) ++scratch.keys[history[i]];
    for (int64_t v = 0; v < vocab_size; ++v) {
      if (scratch.keys[v] == 0) continue;
      logits[v] -=
          row.presence_penalty + row.frequency_penalty * static_cast<float>(scratch.keys[v]);
    }
  }
}

void apply_truncation(const SampleRow& row, int64_t vocab_size, const SampleScratch& scratch) {
  if (row.temperature != 1.0f) {
    for (int64_t v = 0; v < vocab_size; ++v) scratch.logits[v] /= row.temperature;
  }
  if (row.top_k > 0 && row.top_k < vocab_size) keep_top_k(row.top_k, vocab_size, scratch);
  if (row.top_p < 1.0f) keep_top_p(row.top_p, vocab_size, scratch);
  if (row.min_p > 0.0f) keep_min_p(row.min_p, vocab_size, scratch);
  if (row.typical_p < 1.0f) keep_typical(row.typical_p, vocab_size, scratch);
}

}  // namespace slora::kernels
