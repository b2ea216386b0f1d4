// A sequence: its place in the history, its pages, its adapters and how it samples. Owned by the
// engine.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "slora/adapter/adapter.hpp"
#include "slora/kernels/kernel_api.hpp"

namespace slora::engine {

struct SequenceAdapter {
  std::shared_ptr<adapter::Adapter> adapter;
  float weight;
};

// What a caller gives to create one; already checked against the ABI's own limits by the ABI,
// against the engine's by the engine.
struct SequenceOptions {
  uint64_t sequence_id = 0;
  const int32_t* prompt_tokens = nullptr;
  uint32_t num_prompt_tokens = 0;
  uint32_t max_tokens = 0;
  struct AdapterWeight {
    uint64_t adapter_id;
    float weight;
  };
  std::vector<AdapterWeight> adapters;
  kernels::SampleRow sampling{};  // the caller's options; slot and counts are the engine's
  std::vector<int32_t> bias_tokens;
  std::vector<float> bias_values;
};

struct Sequence {
  uint64_t id;
  int32_t slot;  // of the history
  int32_t num_prompt;
  int32_t num_tokens;    // history: prompt, samples and the samples in flight
  int32_t num_computed;  // tokens whose K and V are in pages, steps in flight counted
  int32_t max_tokens;
  std::vector<int32_t> pages;
  std::vector<SequenceAdapter> adapters;
  kernels::SampleRow sampling;
  std::vector<int32_t> bias_tokens;
  std::vector<float> bias_values;

  int32_t num_in_flight = 0;  // steps in flight that name it
  bool is_released = false;   // gone for the caller; freed with its last step in flight
  uint64_t last_plan = 0;     // number of the last plan that named it: finds a row given twice
};

}  // namespace slora::engine
