// What sampling does to a row before the draw, each a pass over the slices: bias, penalties and
// truncation. Ties are broken as on the host.
#pragma once

#include "sample_threshold.cuh"

namespace slora::kernels::cuda::sampling {

// ---- bias and penalties, rounded as on the host: no fused multiply-adds

__device__ inline bool has_penalties(const SampleRow& row) {
  return row.repetition_penalty != 1.0f || row.presence_penalty != 0.0f ||
         row.frequency_penalty != 0.0f;
}

__device__ inline void apply_bias(Slice& slice) {
  // A token may be named twice: one thread adds all of a token's, in order.
  for (int32_t i = slice.row.bias_offset; i < slice.row.bias_offset + slice.row.num_bias; ++i) {
    const int64_t local = slice.params.bias_tokens[i] - slice.begin;
    if (local >= 0 && local < slice.count && local % kThreads == threadIdx.x)
      slice.x[local] = __fadd_rn(slice.x[local], slice.params.bias_values[i]);
  }
  __syncthreads();
}

__device__ inline void apply_penalties(Slice& slice) {
  uint32_t* const seen = slice.counts + slice.capacity / 2;
  for (int64_t i = threadIdx.x; i < table_words(slice.capacity); i += kThreads) slice.counts[i] = 0;
  __syncthreads();  // zeros before counts
  const int32_t* history =
      slice.params.history + slice.row.history_slot * slice.params.history_stride;
  // A count has 16 bits: of a longer output the last 65,535 tokens count.
  const int32_t first_output = max(slice.row.prompt_tokens, slice.row.history_tokens - 65535);
  for (int32_t i = threadIdx.x; i < slice.row.history_tokens; i += kThreads) {
    const int64_t local = history[i] - slice.begin;
    if (local < 0 || local >= slice.count) continue;
    atomicOr(seen + local / 32, 1u << (local % 32));
    if (i >= first_output) atomicAdd(slice.counts + local / 2, local % 2 ? 0x10000u : 1u);
  }
  __syncthreads();  // counts before use
  slice.for_each([&](int32_t i) {
    if (!(seen[i / 32] >> (i % 32) & 1)) return;
    float logit = slice.x[i];
    if (slice.row.repetition_penalty != 1.0f) {
      logit = logit < 0.0f ? __fmul_rn(logit, slice.row.repetition_penalty)
                           : __fdiv_rn(logit, slice.row.repetition_penalty);
    }
    const uint32_t times = slice.counts[i / 2] >> (i % 2 * 16) & 0xffffu;
    if (times > 0) {
      logit = __fsub_rn(
          logit, __fadd_rn(slice.row.presence_penalty,
                           __fmul_rn(slice.row.frequency_penalty, static_cast<float>(times))));
    }
    slice.x[i] = logit;
  });
  __syncthreads();  // the tables' place may become histograms
}

// ---- truncation: who stays

__device__ inline void keep_top_k(Slice& slice, float largest) {
  const Threshold last = select_threshold(
      slice, [&](float v) { return largest - v; }, [](float v) { return ~ascending_key(v); },
      [](float) { return uint64_t{1}; },
      [&](uint64_t) { return static_cast<uint64_t>(slice.row.top_k); });
  slice.for_each([&](int32_t i) {
    if (~ascending_key(slice.x[i]) > last.key) slice.x[i] = dropped();
  });
}

// Drops the elements with this key but the first `kept` of the row; `before` are in lower blocks.
__device__ inline void drop_ties(Slice& slice, uint32_t key, uint64_t before, uint64_t kept) {
  for (int32_t first = 0; first < slice.count; first += kThreads) {
    const int32_t i = first + static_cast<int32_t>(threadIdx.x);
    const bool is_tie = i < slice.count && ~ascending_key(slice.x[i]) == key;
    const uint32_t ties = __ballot_sync(0xffffffffu, is_tie);
    __syncthreads();  // the parts of the round before are read
    if (threadIdx.x % 32 == 0) slice.shared.warp_parts[threadIdx.x / 32] = __popc(ties);
    __syncthreads();
    uint64_t place = before + __popc(ties & ((1u << threadIdx.x % 32) - 1));
    for (int w = 0; w < kWarps; ++w) {
      if (w < static_cast<int>(threadIdx.x / 32)) place += slice.shared.warp_parts[w];
      before += slice.shared.warp_parts[w];
    }
    if (is_tie && place >= kept) slice.x[i] = dropped();
  }
}

__device__ inline void keep_top_p(Slice& slice, float largest) {
  uint64_t target = 0;
  const Threshold last = select_threshold(
      slice, [&](float v) { return largest - v; }, [](float v) { return ~ascending_key(v); },
      [&](float v) { return integer_mass(mass(v, largest)); },
      [&](uint64_t total) {
        target = share_of(slice.row.top_p, total);
        return target;
      });
  uint64_t ties = 0;
  slice.for_each([&](int32_t i) {
    const uint32_t key = ~ascending_key(slice.x[i]);
    if (key > last.key) slice.x[i] = dropped();
    ties += key == last.key;
  });
  const Total all_ties = slice.sum_of(ties);
  // Of equal ones, those that the mass before does not reach yet: lower tokens first.
  const uint64_t tie = integer_mass(mass(value_of_key(~last.key), largest));
  const uint64_t missing = target > last.before ? target - last.before : 1;
  const uint64_t kept = tie > 0 ? (missing + tie - 1) / tie : ~uint64_t{0};
  if (all_ties.all > kept) drop_ties(slice, last.key, all_ties.before, kept);
}

__device__ inline void keep_min_p(Slice& slice, float largest) {
  slice.for_each([&](int32_t i) {
    if (mass(slice.x[i], largest) < slice.row.min_p) slice.x[i] = dropped();
  });
}

__device__ inline void keep_typical(Slice& slice, float largest) {
  const uint64_t total = slice.total_mass(largest);
  const double real_total = static_cast<double>(total) / kMassUnit;
  const float log_normaliser = largest + static_cast<float>(log(real_total));
  double part = 0.0;
  slice.for_each([&](int32_t i) {
    const float own = mass(slice.x[i], largest);
    if (own > 0.0f) part -= own / real_total * static_cast<double>(slice.x[i] - log_normaliser);
  });
  const auto entropy = static_cast<float>(slice.sum_of_doubles(part));
  const auto distance = [&](float v) { return fabsf((log_normaliser - v) - entropy); };
  const auto key_of = [&](float v) { return ascending_key(distance(v)); };
  const Threshold last = select_threshold(
      slice, distance, key_of, [&](float v) { return integer_mass(mass(v, largest)); },
      [&](uint64_t all) { return share_of(slice.row.typical_p, all); });
  slice.for_each([&](int32_t i) {
    if (key_of(slice.x[i]) > last.key) slice.x[i] = dropped();
  });
}

}  // namespace slora::kernels::cuda::sampling
