// The n largest raw logits of a row and their log-probabilities, largest first.
#pragma once

#include "sample_threshold.cuh"

namespace slora::kernels::cuda::sampling {

__device__ inline void store_top(Slice& slice, int32_t row_idx, int32_t place, uint64_t key,
                                 float log_normaliser) {
  const int64_t at = static_cast<int64_t>(row_idx) * slice.params.max_logprobs + place;
  slice.params.out_top_tokens[at] = token_of(key);
  slice.params.out_top_logprobs[at] = value_of(key) - log_normaliser;
}

// Each block its own, then the first block merges.
__device__ inline void write_top_one_by_one(Slice& slice, int32_t row_idx, int32_t n,
                                            float log_normaliser) {
  uint64_t own = 0, last = ~uint64_t{0};
  const auto find_own = [&] {
    own = 0;
    slice.for_each([&](int32_t i) {
      const uint64_t key = rank_key(slice.x[i], slice.begin + i);
      if (key < last && key > own) own = key;
    });
  };
  find_own();
  for (int32_t i = 0; i < n; ++i) {
    const uint64_t best = slice.block_reduce(own, true);
    if (threadIdx.x == 0) slice.shared.top[i] = best;
    last = best;
    if (own == best && best != 0) find_own();
  }
  cluster_sync();  // all lists are complete
  if (slice.block == 0) {
    for (int32_t i = threadIdx.x; i < slice.cluster * n; i += kThreads)
      slice.shared.all_top[i] = *remote(&slice.shared.top[i % n], i / n);
    __syncthreads();
    if (threadIdx.x < 32) {
      const int32_t lane = threadIdx.x;
      int32_t next = 0;
      for (int32_t i = 0; i < n; ++i) {
        const uint64_t head =
            lane < slice.cluster && next < n ? slice.shared.all_top[lane * n + next] : 0;
        uint64_t best = head;
#pragma unroll
        for (int offset = 16; offset > 0; offset /= 2) {
          const uint64_t other = __shfl_xor_sync(0xffffffffu, best, offset);
          best = other > best ? other : best;
        }
        if (head == best) ++next;
        if (lane == 0) store_top(slice, row_idx, i, best, log_normaliser);
      }
    }
  }
  __syncthreads();
}

__device__ inline void write_top(Slice& slice, int32_t row_idx, int32_t n, float largest,
                                 float log_normaliser) {
  const auto key_of = [](float v) { return ~ascending_key(v + 0.0f); };
  const Threshold last = select_threshold(
      slice, [&](float v) { return largest - v; }, key_of, [](float) { return uint64_t{1}; },
      [&](uint64_t) { return static_cast<uint64_t>(n); });
  SampleShared& first = *remote(&slice.shared, 0);
  if (threadIdx.x == 0) slice.shared.num_candidates = 0;
  cluster_sync();  // the count is zero
  slice.for_each([&](int32_t i) {
    if (key_of(slice.x[i]) > last.key) return;
    const int32_t place = atomicAdd(&first.num_candidates, 1);
    if (place < kMaxCandidates)
      first.candidate_masses()[place] = rank_key(slice.x[i], slice.begin + i);
  });
  cluster_sync();  // all candidates have come
  const int32_t num_candidates = first.num_candidates;
  if (num_candidates > kMaxCandidates) {
    write_top_one_by_one(slice, row_idx, n, log_normaliser);  // equal logits without end
  } else if (slice.block == 0) {
    const uint64_t* keys = slice.shared.candidate_masses();
    for (int32_t i = threadIdx.x; i < num_candidates; i += kThreads) {
      int32_t place = 0;
#pragma unroll 8
      for (int32_t j = 0; j < num_candidates; ++j) place += keys[j] > keys[i];
      if (place < n) store_top(slice, row_idx, place, keys[i], log_normaliser);
    }
  }
  cluster_sync();  // the count and the candidates are read before their place is used again
}

}  // namespace slora::kernels::cuda::sampling
