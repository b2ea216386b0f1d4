// Parameters of sampling; kernel_api.hpp has their rules and letters. C++17.
#pragma once

#include <cstdint>

namespace slora::kernels {

// One token to sample. Ranges are those of slora_sampling_options.
struct SampleRow {
  int32_t logits_row;  // < 0: padding, nothing is written
  int32_t history_slot;
  int32_t prompt_tokens;
  int32_t history_tokens;  // before this sample; also where the token is written and the
                           // generator's counter
  float temperature;
  int32_t top_k;
  float top_p;
  float min_p;
  float typical_p;
  float repetition_penalty;
  float presence_penalty;
  float frequency_penalty;
  uint64_t seed;
  int32_t bias_offset;
  int32_t num_bias;
  int32_t num_logprobs;
  int32_t reserved;
};

// Semantics  logit bias, penalties and truncation in the order of slora_sampling_options; then the
// first largest (temperature 0), or the inverse of the distribution's sum in vocabulary order at
// the Philox4x32-10 uniform of (seed, history_tokens). Log-probabilities are of the raw logits. The
// token goes to out_tokens and to history[history_slot, history_tokens].
struct SampleParams {
  const float* logits;  // [num logits rows, V]
  int64_t vocab_size;
  const SampleRow* rows;  // [num_rows]
  int32_t num_rows;
  int32_t max_logprobs;
  int32_t* history;
  int64_t history_stride;
  const int32_t* bias_tokens;
  const float* bias_values;
  int32_t* out_tokens;      // [num_rows]
  float* out_logprobs;      // [num_rows]
  int32_t* out_top_tokens;  // [num_rows, max_logprobs]
  float* out_top_logprobs;  // [num_rows, max_logprobs]
  void* workspace;          // sample_workspace_bytes(num_rows, V)
};

}  // namespace slora::kernels
