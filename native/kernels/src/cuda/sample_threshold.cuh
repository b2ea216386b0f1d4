// Thresholds of sampling (top-k, top-p, typical-p, the largest logits): found digit by digit in
// histograms of the keys' bits, without a sort.
#pragma once

#include "sample_slice.cuh"

namespace slora::kernels::cuda::sampling {

struct Threshold {
  uint32_t key;
  uint64_t before;  // mass of smaller keys
};

// By one thread: the threshold of every block.
__device__ inline void tell(Slice& slice, uint64_t key, uint64_t before) {
  for (int32_t r = 0; r < slice.cluster; ++r) {
    *remote(&slice.shared.threshold[0], r) = key;
    *remote(&slice.shared.threshold[1], r) = before;
  }
}

// Of this block's share; the last bucket if the target lies past it.
__device__ inline void find_own_bucket(Slice& slice, const uint64_t* own, int32_t share,
                                       uint64_t before, uint64_t target) {
  constexpr int kRun = kBuckets / kThreads;
  const int32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int32_t run = max(share / kThreads, 1);
  const int32_t first = threadIdx.x * run;
  uint64_t part[kRun];
  uint64_t sum = 0;
#pragma unroll
  for (int i = 0; i < kRun; ++i) {
    part[i] = i < run && first < share ? own[first + i] : 0;
    sum += part[i];
  }
  uint64_t upto = sum;
#pragma unroll
  for (int offset = 1; offset < 32; offset *= 2) {
    const uint64_t other = __shfl_up_sync(0xffffffffu, upto, offset);
    if (lane >= offset) upto += other;
  }
  __syncthreads();  // the parts of the reduction before this are read
  if (lane == 31) slice.shared.warp_parts[warp] = upto;
  __syncthreads();
  for (int w = 0; w < warp; ++w) upto += slice.shared.warp_parts[w];
  uint64_t sofar = before + upto - sum;
  const bool is_last = first + run == share;
#pragma unroll
  for (int i = 0; i < kRun; ++i) {
    if (i >= run || first >= share) continue;
    const bool is_reached = sofar < target && sofar + part[i] >= target;
    if (is_reached || (is_last && i == run - 1 && sofar + part[i] < target)) {
      tell(slice, static_cast<uint64_t>(slice.block * share + first + i), sofar);
    }
    sofar += part[i];
  }
}

// The first bucket at which before + the cluster's sums reach the target; adds those below it to
// `before`. Each block sums its share of the buckets over the cluster; the block whose share
// holds the bucket finds it.
template <typename Target>
__device__ uint32_t find_bucket(Slice& slice, int32_t num_buckets, const Target& target_of,
                                uint64_t& before, uint64_t& target) {
  cluster_sync();  // all histograms are complete
  const int32_t share = num_buckets / slice.cluster;
  uint64_t* const own = slice.cluster > 1 ? slice.shared.merged : slice.buckets;
  uint64_t sum = 0;
  for (int32_t i = threadIdx.x; i < share; i += kThreads) {
    uint64_t bucket = 0;
    if (slice.cluster > 1) {
#pragma unroll
      for (int r = 0; r < kMaxCluster; ++r)
        bucket += r < slice.cluster ? *remote(slice.buckets + slice.block * share + i, r) : 0;
      own[i] = bucket;
    } else {
      bucket = own[i];
    }
    sum += bucket;
  }
  const Total total = slice.sum_of(sum);  // its barriers also order `own`
  target = target_of(total.all);
  int32_t owner = slice.cluster - 1;
  uint64_t reached = before;  // after each block's share
  for (int32_t r = 0; r < slice.cluster - 1; ++r) {
    reached += total.parts[r];
    if (reached < target) continue;
    owner = r;
    break;
  }
  if (slice.block == owner) find_own_bucket(slice, own, share, before + total.before, target);
  cluster_sync();  // the owner has told everyone
  before = slice.shared.threshold[1];
  return static_cast<uint32_t>(slice.shared.threshold[0]);
}

// By the first block.
__device__ inline void choose_candidate(Slice& slice, int32_t num_candidates, uint64_t before,
                                        uint64_t target) {
  const uint32_t* keys = slice.shared.candidate_keys();
  const uint64_t* masses = slice.shared.candidate_masses();
  for (int32_t i = threadIdx.x; i < num_candidates; i += kThreads) {
    uint64_t lower = before, upto = before;
#pragma unroll 8
    for (int32_t j = 0; j < num_candidates; ++j) {
      lower += keys[j] < keys[i] ? masses[j] : 0;
      upto += keys[j] <= keys[i] ? masses[j] : 0;
    }
    // True of one key; its equals write the same.
    if (lower < target && upto >= target) {
      tell(slice, keys[i], lower);
    }
  }
}

// The same by three digits of the keys, where a step has too many elements.
template <typename Key, typename Mass>
__device__ Threshold select_by_digits(Slice& slice, const Key& key_of, const Mass& mass_of,
                                      uint64_t target) {
  uint32_t prefix = 0, prefix_mask = 0;
  uint64_t before = 0;
  for (int pass = 0; pass < 3; ++pass) {
    const int shift = pass == 0 ? 21 : pass == 1 ? 10 : 0;
    const int32_t num_buckets = pass == 2 ? 1024 : 2048;
    for (int32_t i = threadIdx.x; i < num_buckets; i += kThreads) slice.buckets[i] = 0;
    __syncthreads();  // zeros before sums
    slice.for_each([&](int32_t i) {
      const uint32_t key = key_of(slice.x[i]);
      if ((key & prefix_mask) != prefix) return;
      add_to(slice.buckets + ((key >> shift) & (num_buckets - 1)), mass_of(slice.x[i]));
    });
    uint64_t same = 0;
    const uint32_t bucket = find_bucket(
        slice, num_buckets, [&](uint64_t) { return target; }, before, same);
    prefix |= bucket << shift;
    prefix_mask |= static_cast<uint32_t>(num_buckets - 1) << shift;
  }
  return {prefix, before};
}

// The smallest key at which the mass of all keys up to it reaches target_of(mass of all). A
// histogram over 1/64 wide steps of `order`, which ascends with the key from 0, finds the step;
// the few elements in it are compared with one another.
template <typename Order, typename Key, typename Mass, typename Target>
__device__ Threshold select_threshold(Slice& slice, const Order& order, const Key& key_of,
                                      const Mass& mass_of, const Target& target_of) {
  const auto step_of = [&](float v) {
    return static_cast<uint32_t>(fminf(order(v) * 64.0f, static_cast<float>(kBuckets - 1)));
  };
  for (int32_t i = threadIdx.x; i < kBuckets; i += kThreads) slice.buckets[i] = 0;
  if (threadIdx.x == 0) slice.shared.num_candidates = 0;
  __syncthreads();  // zeros before sums
  slice.for_each(
      [&](int32_t i) { add_to(slice.buckets + step_of(slice.x[i]), mass_of(slice.x[i])); });
  uint64_t before = 0, target = 0;
  const uint32_t step = find_bucket(slice, kBuckets, target_of, before, target);

  SampleShared& first = *remote(&slice.shared, 0);
  slice.for_each([&](int32_t i) {
    if (step_of(slice.x[i]) != step) return;
    const uint64_t own = mass_of(slice.x[i]);
    if (own == 0) return;
    const int32_t place = atomicAdd(&first.num_candidates, 1);
    if (place >= kMaxCandidates) return;
    first.candidate_keys()[place] = key_of(slice.x[i]);
    first.candidate_masses()[place] = own;
  });
  cluster_sync();  // all candidates have come
  const int32_t num_candidates = first.num_candidates;
  if (num_candidates > kMaxCandidates) return select_by_digits(slice, key_of, mass_of, target);
  if (slice.block == 0) choose_candidate(slice, num_candidates, before, target);
  cluster_sync();  // the choice is known
  return {static_cast<uint32_t>(slice.shared.threshold[0]), slice.shared.threshold[1]};
}

}  // namespace slora::kernels::cuda::sampling
