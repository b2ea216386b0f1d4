// One step's own memory: what it reads, what it gives and what it keeps alive while it is in
// flight.
#pragma once

#include <vector>

#include "slora/engine/engine.hpp"

namespace slora::engine {

struct Engine::Step {
  Step(const std::shared_ptr<device::Device>& device, int32_t lora_parts)
      : staging(device, lora_parts), begin(device), end(device) {}

  struct Row {
    PlanRow plan;
    Sequence* sequence;
    batch::RowOutput output;
  };

  uint64_t step_idx = 0;
  std::vector<Row> rows;
  std::vector<adapter::Adapter*> adapters;  // distinct, of all rows
  int32_t num_tokens = 0;
  int32_t num_outputs = 0;
  int32_t num_logit_rows = 0;
  int64_t lora_t_floats = 0;
  int64_t lora_packed_floats = 0;

  // Scratch of packing, kept for its capacity.
  std::vector<batch::RowInput> inputs;
  std::vector<batch::AdapterUse> uses;
  std::vector<batch::RowOutput> outputs;
  batch::BatchStaging staging;

  // What comes back: pinned, written by copies that `end` follows.
  device::Buffer results;
  device::Buffer logits;
  device::Event begin;
  device::Event end;
};

// Where the parts of a step's results lie in one block, so that one copy brings them back.
struct ResultLayout {
  uint64_t tokens, logprobs, top_tokens, top_logprobs, bytes;

  explicit ResultLayout(int64_t max_rows) {
    auto place = [this](uint64_t size) {
      const uint64_t offset = bytes;
      bytes = (bytes + size + 63) / 64 * 64;
      return offset;
    };
    bytes = 0;
    const auto rows = static_cast<uint64_t>(max_rows);
    tokens = place(rows * sizeof(int32_t));
    logprobs = place(rows * sizeof(float));
    top_tokens = place(rows * kMaxLogprobs * sizeof(int32_t));
    top_logprobs = place(rows * kMaxLogprobs * sizeof(float));
  }
};

}  // namespace slora::engine
