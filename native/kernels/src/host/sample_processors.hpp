// The logit processors of one row, each O(V) and without allocation. A token that can no longer be
// drawn has -inf.
#pragma once

#include <cstdint>

#include "slora/kernels/kernel_api.hpp"

namespace slora::kernels {

// One row's part of the sampling workspace: three arrays of V words.
struct SampleScratch {
  float* logits;   // processed in place
  float* masses;   // exp(logit - max) while a processor needs it
  uint32_t* keys;  // counts of the history, then sort keys
};
inline constexpr int64_t kSampleScratchArrays = 3;

// Adds the bias and applies penalties: what a greedy row needs.
void apply_bias_and_penalties(const SampleParams& params, const SampleRow& row,
                              const SampleScratch& scratch);
// Temperature, top-k, top-p, min-p, typical-p, in that order. Temperature > 0.
void apply_truncation(const SampleRow& row, int64_t vocab_size, const SampleScratch& scratch);

// masses[v] = exp(logits[v] - max); returns their sum in double, in vocabulary order over four
// interleaved sums.
double fill_masses(const float* logits, int64_t vocab_size, float* masses);

int32_t first_largest(const float* logits, int64_t vocab_size);

}  // namespace slora::kernels
