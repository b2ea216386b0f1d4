// A block's slice of a row of logits while it is sampled: its place in shared memory, and what the
// blocks of the row's cluster find out together. How to choose tokens is left to others.
#pragma once

#include "async_copy.cuh"
#include "cluster.cuh"
#include "sample_masses.cuh"

namespace slora::kernels::cuda::sampling {

inline constexpr int kThreads = 512;
inline constexpr int kWarps = kThreads / 32;
inline constexpr int kMaxCluster = 8;
inline constexpr int kMaxTop = 64;
inline constexpr int kBuckets = 2048;

// Words of the history's tables of a slice: two 16-bit counts of the output a word, then a bit a
// token that occurs at all.
__host__ __device__ constexpr int64_t table_words(int64_t capacity) {
  return capacity / 2 + capacity / 32;
}

// What each block of the cluster has sent this one; two, for rounds in turn.
struct Exchange {
  uint64_t value[2][kMaxCluster];
};

// What a selection gathers in the cluster's first block.
inline constexpr int kMaxCandidates = kBuckets / 2;
static_assert(kMaxCandidates <= 2 * kMaxCluster * kMaxTop, "their keys share a place with all_top");

struct SampleShared {
  Exchange exchange;
  int32_t num_candidates;
  uint64_t warp_parts[kWarps];
  double warp_doubles[kWarps];
  uint64_t merged[kBuckets / 2];  // this block's share of the cluster's histogram
  uint64_t threshold[2];          // key and mass before it, as the owner publishes them
  uint64_t top[kMaxTop];
  uint64_t all_top[kMaxCluster * kMaxTop];
  int32_t token;

  // Of candidates, where the merged histogram and the lists of top tokens lay.
  __device__ uint64_t* candidate_masses() { return merged; }
  __device__ uint32_t* candidate_keys() { return reinterpret_cast<uint32_t*>(all_top); }
};

struct Total {
  uint64_t all;
  uint64_t before;        // of the blocks of lower rank
  const uint64_t* parts;  // of each block, until the next exchange but one
};

// One block's view of its row.
struct Slice {
  const SampleParams& params;
  const SampleRow& row;
  SampleShared& shared;
  float* x;           // [count], processed in place
  uint32_t* counts;   // [table_words(capacity)]
  uint64_t* buckets;  // [kBuckets], shared memory; may share the tables' place
  int32_t cluster;
  int32_t block;
  int64_t begin;
  int32_t count;
  int64_t capacity;  // logits a block of the row, a multiple of 64
  int32_t round;     // of exchanges

  // ---- reductions over the cluster; results reach every thread

  // Sends `mine` to every block; returns what all have sent, by block.
  __device__ const uint64_t* exchange(uint64_t mine) {
    uint64_t(&value)[kMaxCluster] = shared.exchange.value[round++ & 1];
    if (threadIdx.x < static_cast<unsigned>(cluster)) *remote(&value[block], threadIdx.x) = mine;
    cluster_sync();  // all values have come; those of the round before were read before this
    return value;
  }
  __device__ uint64_t block_reduce(uint64_t x, bool is_max) {
#pragma unroll
    for (int offset = 16; offset > 0; offset /= 2) {
      const uint64_t other = __shfl_xor_sync(0xffffffffu, x, offset);
      x = is_max ? (other > x ? other : x) : x + other;
    }
    __syncthreads();  // the parts of the reduction before this are read
    if (threadIdx.x % 32 == 0) shared.warp_parts[threadIdx.x / 32] = x;
    __syncthreads();
    uint64_t all = 0;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) {
      const uint64_t part = shared.warp_parts[w];
      all = is_max ? (part > all ? part : all) : all + part;
    }
    return all;
  }
  __device__ uint64_t max_of(uint64_t x) {
    const uint64_t* parts = exchange(block_reduce(x, true));
    uint64_t all = 0;
    for (int32_t r = 0; r < cluster; ++r) all = parts[r] > all ? parts[r] : all;
    return all;
  }
  __device__ Total sum_of(uint64_t x) {
    Total total = {0, 0, exchange(block_reduce(x, false))};
    for (int32_t r = 0; r < cluster; ++r) {
      total.before += r < block ? total.parts[r] : 0;
      total.all += total.parts[r];
    }
    return total;
  }
  // Of doubles, in the order of threads within a warp's tree, warps, blocks.
  __device__ double sum_of_doubles(double x) {
#pragma unroll
    for (int offset = 16; offset > 0; offset /= 2) x += __shfl_xor_sync(0xffffffffu, x, offset);
    __syncthreads();  // the parts of the sum before this are read
    if (threadIdx.x % 32 == 0) shared.warp_doubles[threadIdx.x / 32] = x;
    __syncthreads();
    double mine = 0.0;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) mine += shared.warp_doubles[w];
    const uint64_t* parts = exchange(static_cast<uint64_t>(__double_as_longlong(mine)));
    double all = 0.0;
    for (int32_t r = 0; r < cluster; ++r)
      all += __longlong_as_double(static_cast<long long>(parts[r]));
    return all;
  }

  template <typename Body>
  __device__ void for_each(const Body& body) {
#pragma unroll 4
    for (int32_t i = threadIdx.x; i < count; i += kThreads) body(i);
  }

  __device__ uint64_t total_mass(float largest) {
    uint64_t sum = 0;
    for_each([&](int32_t i) { sum += integer_mass(mass(x[i], largest)); });
    return sum_of(sum).all;
  }
  // The first largest of what a thread meets, tokens ascending.
  struct Best {
    float value = dropped();
    int32_t i = -1;
    __device__ void meet(float x, int32_t at) {
      if (x > value || i < 0) {
        value = x;
        i = at;
      }
    }
  };
  __device__ uint64_t max_of(const Best& best) {
    return max_of(best.i < 0 ? 0 : rank_key(best.value, begin + best.i));
  }
  __device__ uint64_t largest_key() {
    Best best;
    for_each([&](int32_t i) { best.meet(x[i], i); });
    return max_of(best);
  }

  // ---- logits into the slice; the largest of the row
  template <bool kInShared>
  __device__ uint64_t load() {
    const float* raw = params.logits + row.logits_row * params.vocab_size + begin;
    if (kInShared) {
      // Asynchronous copies: the whole slice is in flight at once.
      const uint32_t to = shared_address(x);
      const bool is_aligned = reinterpret_cast<uintptr_t>(raw) % 16 == 0;
      const int32_t wide = is_aligned ? count / 4 : 0;
      for (int32_t i = threadIdx.x; i < wide; i += kThreads) {
        copy_16(to + i * 16, raw + i * 4);
      }
      for (int32_t i = wide * 4 + threadIdx.x; i < count; i += kThreads) {
        copy_4(to + i * 4, raw + i);
      }
      commit_copies();
      wait_copies<0>();
      __syncthreads();  // everyone's copies have come
    } else {
      for (int32_t i = threadIdx.x; i < count; i += kThreads) x[i] = raw[i];
    }
    return largest_key();
  }
};

}  // namespace slora::kernels::cuda::sampling
