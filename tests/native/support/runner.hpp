// A small scheduler over the C ABI for tests: runs requests to their end, either plainly or with
// everything shuffled that a real scheduler may do (which rows run, chunk lengths, run-ahead,
// preemption, prefetch).
#pragma once

#include <cstdint>
#include <random>
#include <vector>

#include "support/abi.hpp"

namespace slora::test {

struct Request {
  std::vector<int32_t> prompt;
  std::vector<slora_adapter_weight> adapters;  // empty: the base
  int32_t num_new_tokens = 0;                  // 0: prompt only, for its logits
  bool wants_logits = false;                   // of every prompt token
  slora_sampling_options sampling = SLORA_SAMPLING_OPTIONS_INIT;
};

struct Completion {
  std::vector<int32_t> tokens;
  std::vector<float> logprobs;
  std::vector<std::vector<slora_token_logprob>> top;  // a token
  std::vector<float> logits;                          // [prompt tokens, V] if asked

  bool operator==(const Completion& other) const;  // bitwise
};

// What a request may differ by between two batches: on the host backend nothing, bitwise. On CUDA
// the order of sums depends on the batch's size: logits within 1e-3 and the same tokens up to a
// place where two choices were closer than that.
bool same_story(const Completion& a, const Completion& b);

// Null `chaos`: every request that fits runs in each step, whole prompts first.
struct RunOptions {
  std::mt19937* chaos = nullptr;
  double preempt_probability = 0.0;
};

// Counts of what happened, so that a test can prove that it forced what it says.
struct RunStatistics {
  uint64_t steps = 0;
  uint64_t deferred_pages = 0;
  uint64_t deferred_adapters = 0;
  uint64_t preemptions = 0;
  uint64_t chunked_prefills = 0;
  uint64_t run_ahead_steps = 0;
};

std::vector<Completion> run_requests(slora_engine* engine, const std::vector<Request>& requests,
                                     const RunOptions& options = {},
                                     RunStatistics* statistics = nullptr);

}  // namespace slora::test
