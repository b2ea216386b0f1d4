// Comparisons are written so that NaN fails them.
#include "sequence_options.hpp"

#include <cmath>

namespace slora::capi {
namespace {

void check_range(const char* name, float value, float low, float high, bool low_is_open) {
  const bool is_inside = (low_is_open ? value > low : value >= low) && value <= high;
  if (!is_inside) {
    fail(Status::kInvalidArgument, "sampling.", name, " is ", value, ", the limit is ",
         low_is_open ? "(" : "[", low, ", ", high, "]");
  }
}

kernels::SampleRow read_sampling(const slora_sampling_options& in) {
  constexpr float kLargest =
      1e6f;  // a temperature or penalty beyond this is a mistake, and would overflow logits
  check_range("temperature", in.temperature, 0.0f, kLargest, false);
  if (in.top_k < 0)
    fail(Status::kInvalidArgument, "sampling.top_k is ", in.top_k, ", the limit is 0 and above");
  check_range("top_p", in.top_p, 0.0f, 1.0f, true);
  check_range("min_p", in.min_p, 0.0f, 1.0f, false);
  check_range("typical_p", in.typical_p, 0.0f, 1.0f, true);
  check_range("repetition_penalty", in.repetition_penalty, 0.0f, kLargest, true);
  check_range("presence_penalty", in.presence_penalty, -2.0f, 2.0f, false);
  check_range("frequency_penalty", in.frequency_penalty, -2.0f, 2.0f, false);
  if (in.num_logprobs > static_cast<uint32_t>(engine::kMaxLogprobs)) {
    fail(Status::kInvalidArgument, "sampling.num_logprobs is ", in.num_logprobs, ", the limit is ",
         engine::kMaxLogprobs);
  }
  kernels::SampleRow row{};
  row.temperature = in.temperature;
  row.top_k = in.top_k;
  row.top_p = in.top_p;
  row.min_p = in.min_p;
  row.typical_p = in.typical_p;
  row.repetition_penalty = in.repetition_penalty;
  row.presence_penalty = in.presence_penalty;
  row.frequency_penalty = in.frequency_penalty;
  row.seed = in.seed;
  row.num_logprobs = static_cast<int32_t>(in.num_logprobs);
  return row;
}

void read_bias(const slora_sampling_options& in, engine::SequenceOptions& out) {
  constexpr uint32_t kMostBiases = 1u << 20;
  if (in.num_logit_bias > kMostBiases) {
    fail(Status::kInvalidArgument, "sampling.num_logit_bias is ", in.num_logit_bias,
         ", the limit is ", kMostBiases);
  }
  if (in.num_logit_bias > 0) require(in.logit_bias, "sampling.logit_bias");
  for (uint32_t i = 0; i < in.num_logit_bias; ++i) {
    if (!std::isfinite(in.logit_bias[i].bias)) {
      fail(Status::kInvalidArgument, "sampling.logit_bias[", i, "].bias is ", in.logit_bias[i].bias,
           ", not finite");
    }
    out.bias_tokens.push_back(in.logit_bias[i].token_id);
    out.bias_values.push_back(in.logit_bias[i].bias);
  }
}

void read_adapters(const slora_sequence_options& in, engine::SequenceOptions& out) {
  constexpr uint32_t kMostAdapters = 64;
  if (in.num_adapters > kMostAdapters) {
    fail(Status::kInvalidArgument, "num_adapters is ", in.num_adapters, ", the limit is ",
         kMostAdapters);
  }
  if (in.num_adapters > 0) require(in.adapters, "adapters");
  for (uint32_t i = 0; i < in.num_adapters; ++i) {
    if (!std::isfinite(in.adapters[i].weight)) {
      fail(Status::kInvalidArgument, "adapters[", i, "].weight is ", in.adapters[i].weight,
           ", not finite");
    }
    out.adapters.push_back({in.adapters[i].adapter_id, in.adapters[i].weight});
  }
}

}  // namespace

engine::SequenceOptions read_sequence_options(const slora_sequence_options& in) {
  engine::SequenceOptions out;
  out.sequence_id = in.sequence_id;
  out.prompt_tokens = in.prompt_tokens;
  out.num_prompt_tokens = in.num_prompt_tokens;
  out.max_tokens = in.max_tokens;
  if (in.num_prompt_tokens > 0) require(in.prompt_tokens, "prompt_tokens");
  slora_sampling_options sampling = SLORA_SAMPLING_OPTIONS_INIT;
  if (in.sampling) sampling = read_struct(in.sampling, "sampling");
  out.sampling = read_sampling(sampling);
  read_bias(sampling, out);
  read_adapters(in, out);
  return out;
}

}  // namespace slora::capi
