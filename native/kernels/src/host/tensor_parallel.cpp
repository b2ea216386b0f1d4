// What stands between a rank's kernels and the group's collectives: columns put side by side,
// sampled tokens taken over, the LoRA intermediate packed and unpacked.
#include <algorithm>
#include <cstring>

#include "slora/kernels/host_kernels.hpp"

namespace slora::kernels {
namespace {

// A row of one fused module of one entry, in t and in the packed shares.
struct ExchangeRow {
  float* t;
  int64_t packed;     // of its place in a share
  int64_t width;      // floats a row in a share
  int32_t lora_rank;  // of the module
};

template <typename Each>
void for_rows(const LoraExchangeParams& params, device::ThreadTeam& team, const Each& each) {
  const LoraBatch& batch = params.batch;
  team.parallel_for(batch.num_segments, [&](int32_t g, int32_t) {
    const int64_t rows = batch.segment_end[g] - batch.segment_begin[g];
    for (int32_t e = batch.entry_offsets[g]; e < batch.entry_offsets[g + 1]; ++e) {
      const LoraEntry& entry = batch.entries[e];
      const int64_t width = (entry.t_stride + params.parts - 1) / params.parts;
      const int64_t first =
          params.num_fused *
          (params.parts > 1 ? int64_t{entry.gather_offset} : entry.t_offset / kMaxFusedModules);
      const core::LoraModule* modules =
          batch.adapters[entry.adapter_idx].modules + int64_t{params.layer_idx} * batch.num_modules;
      for (int32_t j = 0; j < params.num_fused; ++j) {
        for (int64_t i = 0; i < rows; ++i) {
          const int64_t row = j * rows + i;
          each(ExchangeRow{params.t + entry.t_offset + row * entry.t_stride, first + row * width,
                           width, modules[params.module_idx[j]].lora_rank});
        }
      }
    }
  });
}

// Ranks of a module that part `part` of `parts` holds.
int64_t share_begin(int64_t lora_rank, int32_t part, int32_t parts) {
  return lora_rank * part / parts;
}

}  // namespace

// Cost       every element read and written once
void run_gather_columns(const GatherColumnsParams& params, device::ThreadTeam& team) {
  team.parallel_for(params.num_rows, [&](int32_t i, int32_t) {
    for (int32_t p = 0; p < params.num_parts; ++p) {
      const int64_t width = params.offsets[p + 1] - params.offsets[p];
      std::memcpy(params.out + i * params.out_stride + params.offsets[p],
                  params.in + p * params.part_stride + i * width,
                  static_cast<size_t>(width) * sizeof(float));
    }
  });
}

void run_append_tokens(const AppendTokensParams& params, device::ThreadTeam&) {
  for (int32_t i = 0; i < params.num_rows; ++i) {
    const SampleRow& row = params.rows[i];
    if (row.logits_row < 0) continue;
    params.history[row.history_slot * params.history_stride + row.history_tokens] =
        params.tokens[i];
  }
}

// Cost       the rank's share of t once
void run_lora_pack(const LoraExchangeParams& params, device::ThreadTeam& team) {
  float* share = params.packed + params.part * params.part_stride;
  for_rows(params, team, [&](const ExchangeRow& row) {
    const int64_t held = share_begin(row.lora_rank, params.part + 1, params.parts) -
                         share_begin(row.lora_rank, params.part, params.parts);
    std::memcpy(share + row.packed, row.t, static_cast<size_t>(held) * sizeof(float));
    std::fill(share + row.packed + held, share + row.packed + row.width, 0.0f);
  });
}

// Cost       t once
void run_lora_unpack(const LoraExchangeParams& params, device::ThreadTeam& team) {
  for_rows(params, team, [&](const ExchangeRow& row) {
    for (int32_t p = 0; p < params.parts; ++p) {
      const int64_t begin = share_begin(row.lora_rank, p, params.parts);
      const int64_t held = share_begin(row.lora_rank, p + 1, params.parts) - begin;
      std::memcpy(row.t + begin, params.packed + p * params.part_stride + row.packed,
                  static_cast<size_t>(held) * sizeof(float));
    }
  });
}

}  // namespace slora::kernels
