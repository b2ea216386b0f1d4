// Sampling: a cluster of blocks takes a row; each block holds its slice of the logits in shared
// memory from the one read to the draw, and every processor is a pass over that slice.
//
// Masses exp(logit - max) are summed as integers of 2^-40, so no sum depends on the order of its
// terms, and equal seeds draw equal tokens at any number of blocks. What rounding to 2^-40 of the
// largest mass takes from a token is far below what exp itself errs by. The host sums doubles: the
// two can differ where a uniform or a threshold falls within about 1e-6 of a boundary.
//
// Thresholds (top-k, top-p, typical-p) are found digit by digit in histograms of the keys' bits,
// without a sort; ties are broken as on the host.
#include <algorithm>

#include "cluster.cuh"
#include "cuda_kernels.hpp"
#include "slora/kernels/random.hpp"

namespace slora::kernels::cuda {
namespace {

constexpr int kThreads = 512;
constexpr int kWarps = kThreads / 32;
constexpr int kMaxCluster = 8;
constexpr int kMaxTop = 64;
constexpr int kBuckets = 2048;
constexpr float kMassUnit = 1099511627776.0f;  // 2^40
constexpr int64_t kMaxSlice = 32768;           // with its tables 200 KiB of shared memory

// ---- keys and masses

// Ascends with x.
__device__ __forceinline__ uint32_t ascending_key(float x) {
  const uint32_t bits = __float_as_uint(x);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
__device__ __forceinline__ float value_of_key(uint32_t key) {
  return __uint_as_float(key & 0x80000000u ? key & 0x7fffffffu : ~key);
}
__device__ __forceinline__ float dropped() { return __uint_as_float(0xff800000u); }

// Orders (value, token): larger values first, equal ones (-0 and 0 too) by lower token.
__device__ __forceinline__ uint64_t rank_key(float x, int64_t token) {
  return static_cast<uint64_t>(ascending_key(x + 0.0f)) << 32 |
         (0xffffffffu - static_cast<uint32_t>(token));
}
__device__ __forceinline__ int32_t token_of(uint64_t key) {
  return static_cast<int32_t>(0xffffffffu - static_cast<uint32_t>(key));
}
__device__ __forceinline__ float value_of(uint64_t key) {
  return value_of_key(static_cast<uint32_t>(key >> 32));
}

__device__ __forceinline__ uint64_t integer_mass(float mass) {
  return mass > 0.0f ? __float2ull_rn(mass * kMassUnit) : 0;
}

// *sum += x in shared memory, where 64-bit atomics are loops and 32-bit ones are not: each addition
// to the low half carries what it overflowed by.
__device__ __forceinline__ void add_to(uint64_t* sum, uint64_t x) {
  auto* const words = reinterpret_cast<uint32_t*>(sum);
  const auto low = static_cast<uint32_t>(x);
  auto high = static_cast<uint32_t>(x >> 32);
  if (low > 0 && atomicAdd(words, low) + low < low) ++high;
  if (high > 0) atomicAdd(words + 1, high);
}

struct SamplePlan {
  int32_t cluster;  // blocks a row
  int64_t slice;    // logits a block, a multiple of 64
};

__device__ __forceinline__ uint64_t share_of(float share, uint64_t total) {
  return static_cast<uint64_t>(ceil(static_cast<double>(share) * static_cast<double>(total)));
}

// Words of the history's tables of a slice: two 16-bit counts of the output a word, then a bit a
// token that occurs at all.
__host__ __device__ constexpr int64_t table_words(int64_t slice) { return slice / 2 + slice / 32; }

// What each block of the cluster has sent this one; two, for rounds in turn.
struct Exchange {
  uint64_t value[2][kMaxCluster];
};

// What a selection gathers in the cluster's first block.
constexpr int kMaxCandidates = kBuckets / 2;
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

struct Threshold {
  uint32_t key;
  uint64_t before;  // mass of smaller keys
};

// One block's view of its row.
struct Slice {
  const SampleParams& params;
  const SampleRow& row;
  SampleShared& shared;
  float* x;           // [count], processed in place
  uint32_t* counts;   // table_words(slice)
  uint64_t* buckets;  // [kBuckets], shared memory; may share the tables' place
  int32_t cluster;
  int32_t block;
  int64_t begin;
  int32_t count;
  int64_t slice;
  int32_t round;  // of exchanges

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

  // exp(x - largest)
  __device__ static float mass(float x, float largest) { return expf(x - largest); }

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
      const auto to = static_cast<uint32_t>(__cvta_generic_to_shared(x));
      const bool is_aligned = reinterpret_cast<uintptr_t>(raw) % 16 == 0;
      const int32_t wide = is_aligned ? count / 4 : 0;
      for (int32_t i = threadIdx.x; i < wide; i += kThreads) {
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to + i * 16),
                     "l"(raw + i * 4)
                     : "memory");
      }
      for (int32_t i = wide * 4 + threadIdx.x; i < count; i += kThreads) {
        asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" ::"r"(to + i * 4), "l"(raw + i)
                     : "memory");
      }
      asm volatile("cp.async.commit_group;\n\tcp.async.wait_group 0;" ::: "memory");
      __syncthreads();  // everyone's copies have come
    } else {
      for (int32_t i = threadIdx.x; i < count; i += kThreads) x[i] = raw[i];
    }
    return largest_key();
  }

  // ---- bias and penalties, rounded as on the host: no fused multiply-adds
  __device__ bool has_penalties() const {
    return row.repetition_penalty != 1.0f || row.presence_penalty != 0.0f ||
           row.frequency_penalty != 0.0f;
  }
  __device__ void apply_bias() {
    // A token may be named twice: one thread adds all of a token's, in order.
    for (int32_t i = row.bias_offset; i < row.bias_offset + row.num_bias; ++i) {
      const int64_t local = params.bias_tokens[i] - begin;
      if (local >= 0 && local < count && local % kThreads == threadIdx.x)
        x[local] = __fadd_rn(x[local], params.bias_values[i]);
    }
    __syncthreads();
  }
  __device__ void apply_penalties() {
    uint32_t* const seen = counts + slice / 2;
    for (int64_t i = threadIdx.x; i < table_words(slice); i += kThreads) counts[i] = 0;
    __syncthreads();  // zeros before counts
    const int32_t* history = params.history + row.history_slot * params.history_stride;
    // A count has 16 bits: of a longer output the last 65,535 tokens count.
    const int32_t first_output = max(row.prompt_tokens, row.history_tokens - 65535);
    for (int32_t i = threadIdx.x; i < row.history_tokens; i += kThreads) {
      const int64_t local = history[i] - begin;
      if (local < 0 || local >= count) continue;
      atomicOr(seen + local / 32, 1u << (local % 32));
      if (i >= first_output) atomicAdd(counts + local / 2, local % 2 ? 0x10000u : 1u);
    }
    __syncthreads();  // counts before use
    for_each([&](int32_t i) {
      if (!(seen[i / 32] >> (i % 32) & 1)) return;
      float logit = x[i];
      if (row.repetition_penalty != 1.0f) {
        logit = logit < 0.0f ? __fmul_rn(logit, row.repetition_penalty)
                             : __fdiv_rn(logit, row.repetition_penalty);
      }
      const uint32_t times = counts[i / 2] >> (i % 2 * 16) & 0xffffu;
      if (times > 0) {
        logit = __fsub_rn(logit,
                          __fadd_rn(row.presence_penalty,
                                    __fmul_rn(row.frequency_penalty, static_cast<float>(times))));
      }
      x[i] = logit;
    });
    __syncthreads();  // the tables' place may become histograms
  }

  // ---- thresholds

  // The smallest key at which the mass of all keys up to it reaches target_of(mass of all). A
  // histogram over 1/64 wide steps of `order`, which ascends with the key from 0, finds the step;
  // the few elements in it are compared with one another.
  template <typename Order, typename Key, typename Mass, typename Target>
  __device__ Threshold select(const Order& order, const Key& key_of, const Mass& mass_of,
                              const Target& target_of) {
    const auto step_of = [&](float v) {
      return static_cast<uint32_t>(fminf(order(v) * 64.0f, static_cast<float>(kBuckets - 1)));
    };
    for (int32_t i = threadIdx.x; i < kBuckets; i += kThreads) buckets[i] = 0;
    if (threadIdx.x == 0) shared.num_candidates = 0;
    __syncthreads();  // zeros before sums
    for_each([&](int32_t i) { add_to(buckets + step_of(x[i]), mass_of(x[i])); });
    uint64_t before = 0, target = 0;
    const uint32_t step = find_bucket(kBuckets, target_of, before, target);

    SampleShared& first = *remote(&shared, 0);
    for_each([&](int32_t i) {
      if (step_of(x[i]) != step) return;
      const uint64_t own = mass_of(x[i]);
      if (own == 0) return;
      const int32_t place = atomicAdd(&first.num_candidates, 1);
      if (place >= kMaxCandidates) return;
      first.candidate_keys()[place] = key_of(x[i]);
      first.candidate_masses()[place] = own;
    });
    cluster_sync();  // all candidates have come
    const int32_t num_candidates = first.num_candidates;
    if (num_candidates > kMaxCandidates) return select_by_digits(key_of, mass_of, target);
    if (block == 0) choose_candidate(num_candidates, before, target);
    cluster_sync();  // the choice is known
    return {static_cast<uint32_t>(shared.threshold[0]), shared.threshold[1]};
  }

  // By the first block.
  __device__ void choose_candidate(int32_t num_candidates, uint64_t before, uint64_t target) {
    const uint32_t* keys = shared.candidate_keys();
    const uint64_t* masses = shared.candidate_masses();
    for (int32_t i = threadIdx.x; i < num_candidates; i += kThreads) {
      uint64_t lower = before, upto = before;
#pragma unroll 8
      for (int32_t j = 0; j < num_candidates; ++j) {
        lower += keys[j] < keys[i] ? masses[j] : 0;
        upto += keys[j] <= keys[i] ? masses[j] : 0;
      }
      // True of one key; its equals write the same.
      if (lower < target && upto >= target) {
        tell(keys[i], lower);
      }
    }
  }

  // The same by three digits of the keys, where a step has too many elements.
  template <typename Key, typename Mass>
  __device__ Threshold select_by_digits(const Key& key_of, const Mass& mass_of, uint64_t target) {
    uint32_t prefix = 0, prefix_mask = 0;
    uint64_t before = 0;
    for (int pass = 0; pass < 3; ++pass) {
      const int shift = pass == 0 ? 21 : pass == 1 ? 10 : 0;
      const int32_t num_buckets = pass == 2 ? 1024 : 2048;
      for (int32_t i = threadIdx.x; i < num_buckets; i += kThreads) buckets[i] = 0;
      __syncthreads();  // zeros before sums
      for_each([&](int32_t i) {
        const uint32_t key = key_of(x[i]);
        if ((key & prefix_mask) != prefix) return;
        add_to(buckets + ((key >> shift) & (num_buckets - 1)), mass_of(x[i]));
      });
      uint64_t same = 0;
      const uint32_t bucket = find_bucket(
          num_buckets, [&](uint64_t) { return target; }, before, same);
      prefix |= bucket << shift;
      prefix_mask |= static_cast<uint32_t>(num_buckets - 1) << shift;
    }
    return {prefix, before};
  }

  // The first bucket at which before + the cluster's sums reach the target; adds those below it to
  // `before`. Each block sums its share of the buckets over the cluster; the block whose share
  // holds the bucket finds it.
  template <typename Target>
  __device__ uint32_t find_bucket(int32_t num_buckets, const Target& target_of, uint64_t& before,
                                  uint64_t& target) {
    cluster_sync();  // all histograms are complete
    const int32_t share = num_buckets / cluster;
    uint64_t* const own = cluster > 1 ? shared.merged : buckets;
    uint64_t sum = 0;
    for (int32_t i = threadIdx.x; i < share; i += kThreads) {
      uint64_t bucket = 0;
      if (cluster > 1) {
#pragma unroll
        for (int r = 0; r < kMaxCluster; ++r)
          bucket += r < cluster ? *remote(buckets + block * share + i, r) : 0;
        own[i] = bucket;
      } else {
        bucket = own[i];
      }
      sum += bucket;
    }
    const Total total = sum_of(sum);  // its barriers also order `own`
    target = target_of(total.all);
    int32_t owner = cluster - 1;
    uint64_t reached = before;  // after each block's share
    for (int32_t r = 0; r < cluster - 1; ++r) {
      reached += total.parts[r];
      if (reached < target) continue;
      owner = r;
      break;
    }
    if (block == owner) find_own_bucket(own, share, before + total.before, target);
    cluster_sync();  // the owner has told everyone
    before = shared.threshold[1];
    return static_cast<uint32_t>(shared.threshold[0]);
  }

  // By one thread: the threshold of every block.
  __device__ void tell(uint64_t key, uint64_t before) {
    for (int32_t r = 0; r < cluster; ++r) {
      *remote(&shared.threshold[0], r) = key;
      *remote(&shared.threshold[1], r) = before;
    }
  }

  // Of this block's share; the last bucket if the target lies past it.
  __device__ void find_own_bucket(const uint64_t* own, int32_t share, uint64_t before,
                                  uint64_t target) {
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
    if (lane == 31) shared.warp_parts[warp] = upto;
    __syncthreads();
    for (int w = 0; w < warp; ++w) upto += shared.warp_parts[w];
    uint64_t sofar = before + upto - sum;
    const bool is_last = first + run == share;
#pragma unroll
    for (int i = 0; i < kRun; ++i) {
      if (i >= run || first >= share) continue;
      const bool is_reached = sofar < target && sofar + part[i] >= target;
      if (is_reached || (is_last && i == run - 1 && sofar + part[i] < target)) {
        tell(static_cast<uint64_t>(block * share + first + i), sofar);
      }
      sofar += part[i];
    }
  }

  __device__ void keep_top_k(float largest) {
    const Threshold last =
        select([&](float v) { return largest - v; }, [](float v) { return ~ascending_key(v); },
               [](float) { return uint64_t{1}; },
               [&](uint64_t) { return static_cast<uint64_t>(row.top_k); });
    for_each([&](int32_t i) {
      if (~ascending_key(x[i]) > last.key) x[i] = dropped();
    });
  }

  __device__ void keep_top_p(float largest) {
    uint64_t target = 0;
    const Threshold last =
        select([&](float v) { return largest - v; }, [](float v) { return ~ascending_key(v); },
               [&](float v) { return integer_mass(mass(v, largest)); },
               [&](uint64_t total) {
                 target = share_of(row.top_p, total);
                 return target;
               });
    uint64_t ties = 0;
    for_each([&](int32_t i) {
      const uint32_t key = ~ascending_key(x[i]);
      if (key > last.key) x[i] = dropped();
      ties += key == last.key;
    });
    const Total all_ties = sum_of(ties);
    // Of equal ones, those that the mass before does not reach yet: lower tokens first.
    const uint64_t tie = integer_mass(mass(value_of_key(~last.key), largest));
    const uint64_t missing = target > last.before ? target - last.before : 1;
    const uint64_t kept = tie > 0 ? (missing + tie - 1) / tie : ~uint64_t{0};
    if (all_ties.all > kept) drop_ties(last.key, all_ties.before, kept);
  }

  // Drops the elements with this key but the first `kept` of the row; `before` are in lower blocks.
  __device__ void drop_ties(uint32_t key, uint64_t before, uint64_t kept) {
    for (int32_t first = 0; first < count; first += kThreads) {
      const int32_t i = first + static_cast<int32_t>(threadIdx.x);
      const bool is_tie = i < count && ~ascending_key(x[i]) == key;
      const uint32_t ties = __ballot_sync(0xffffffffu, is_tie);
      __syncthreads();  // the parts of the round before are read
      if (threadIdx.x % 32 == 0) shared.warp_parts[threadIdx.x / 32] = __popc(ties);
      __syncthreads();
      uint64_t place = before + __popc(ties & ((1u << threadIdx.x % 32) - 1));
      for (int w = 0; w < kWarps; ++w) {
        if (w < static_cast<int>(threadIdx.x / 32)) place += shared.warp_parts[w];
        before += shared.warp_parts[w];
      }
      if (is_tie && place >= kept) x[i] = dropped();
    }
  }

  __device__ void keep_min_p(float largest) {
    for_each([&](int32_t i) {
      if (mass(x[i], largest) < row.min_p) x[i] = dropped();
    });
  }

  __device__ void keep_typical(float largest) {
    const uint64_t total = total_mass(largest);
    const double real_total = static_cast<double>(total) / kMassUnit;
    const float log_normaliser = largest + static_cast<float>(log(real_total));
    double part = 0.0;
    for_each([&](int32_t i) {
      const float own = mass(x[i], largest);
      if (own > 0.0f) part -= own / real_total * static_cast<double>(x[i] - log_normaliser);
    });
    const auto entropy = static_cast<float>(sum_of_doubles(part));
    const auto distance = [&](float v) { return fabsf((log_normaliser - v) - entropy); };
    const auto key_of = [&](float v) { return ascending_key(distance(v)); };
    const Threshold last = select(
        distance, key_of, [&](float v) { return integer_mass(mass(v, largest)); },
        [&](uint64_t all) { return share_of(row.typical_p, all); });
    for_each([&](int32_t i) {
      if (key_of(x[i]) > last.key) x[i] = dropped();
    });
  }

  // ---- the draw: the first token at which the sum of masses passes u times their total; -1: no
  // token has mass. Known to the block that holds it, others get -2.
  __device__ int32_t draw(float largest) {
    const int32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    // Each warp a run of the slice, so that runs follow one another in the vocabulary.
    const int32_t run = static_cast<int32_t>((slice / kWarps + 31) / 32 * 32);
    const int32_t first = min(warp * run, count), last = min(first + run, count);
    __syncthreads();  // other threads dropped what this one reads
    uint64_t sum = 0;
    for (int32_t i = first + lane; i < last; i += 32) sum += integer_mass(mass(x[i], largest));
    const Total total = sum_of(sum);
    if (total.all == 0) return -1;
    const auto u = static_cast<uint64_t>(
        philox_uniform(row.seed, static_cast<uint64_t>(row.history_tokens)) * 0x1.0p53);
    const uint64_t target = __umul64hi(u, total.all) << 11 | (u * total.all) >> 53;
    // sum_of left the warps' sums in shared memory.
    uint64_t before = total.before;
    for (int w = 0; w < warp; ++w) before += shared.warp_parts[w];
    if (threadIdx.x == 0) shared.token = -2;
    __syncthreads();
    if (target >= before && target < before + shared.warp_parts[warp]) {
      for (int32_t i = first; i < last; i += 32) {
        const bool is_in = i + lane < last;
        uint64_t upto = is_in ? integer_mass(mass(x[i + lane], largest)) : 0;
#pragma unroll
        for (int offset = 1; offset < 32; offset *= 2) {
          const uint64_t other = __shfl_up_sync(0xffffffffu, upto, offset);
          if (lane >= offset) upto += other;
        }
        const uint32_t passed = __ballot_sync(0xffffffffu, is_in && before + upto > target);
        if (passed) {
          if (lane == 0) shared.token = static_cast<int32_t>(begin) + i + __ffs(passed) - 1;
          break;
        }
        before += __shfl_sync(0xffffffffu, upto, 31);
      }
    }
    __syncthreads();
    return shared.token;
  }

  // ---- the n largest raw logits
  __device__ void write_top(int32_t row_idx, int32_t n, float largest, float log_normaliser) {
    const auto key_of = [](float v) { return ~ascending_key(v + 0.0f); };
    const Threshold last =
        select([&](float v) { return largest - v; }, key_of, [](float) { return uint64_t{1}; },
               [&](uint64_t) { return static_cast<uint64_t>(n); });
    SampleShared& first = *remote(&shared, 0);
    if (threadIdx.x == 0) shared.num_candidates = 0;
    cluster_sync();  // the count is zero
    for_each([&](int32_t i) {
      if (key_of(x[i]) > last.key) return;
      const int32_t place = atomicAdd(&first.num_candidates, 1);
      if (place < kMaxCandidates) first.candidate_masses()[place] = rank_key(x[i], begin + i);
    });
    cluster_sync();  // all candidates have come
    const int32_t num_candidates = first.num_candidates;
    if (num_candidates > kMaxCandidates) {
      write_top_one_by_one(row_idx, n, log_normaliser);  // equal logits without end
    } else if (block == 0) {
      const uint64_t* keys = shared.candidate_masses();
      for (int32_t i = threadIdx.x; i < num_candidates; i += kThreads) {
        int32_t place = 0;
#pragma unroll 8
        for (int32_t j = 0; j < num_candidates; ++j) place += keys[j] > keys[i];
        if (place < n) store_top(row_idx, place, keys[i], log_normaliser);
      }
    }
    cluster_sync();  // the count and the candidates are read before their place is used again
  }
  __device__ void store_top(int32_t row_idx, int32_t place, uint64_t key, float log_normaliser) {
    const int64_t at = static_cast<int64_t>(row_idx) * params.max_logprobs + place;
    params.out_top_tokens[at] = token_of(key);
    params.out_top_logprobs[at] = value_of(key) - log_normaliser;
  }

  // Each block its own, then the first block merges.
  __device__ void write_top_one_by_one(int32_t row_idx, int32_t n, float log_normaliser) {
    uint64_t own = 0, last = ~uint64_t{0};
    const auto find_own = [&] {
      own = 0;
      for_each([&](int32_t i) {
        const uint64_t key = rank_key(x[i], begin + i);
        if (key < last && key > own) own = key;
      });
    };
    find_own();
    for (int32_t i = 0; i < n; ++i) {
      const uint64_t best = block_reduce(own, true);
      if (threadIdx.x == 0) shared.top[i] = best;
      last = best;
      if (own == best && best != 0) find_own();
    }
    cluster_sync();  // all lists are complete
    if (block == 0) {
      for (int32_t i = threadIdx.x; i < cluster * n; i += kThreads)
        shared.all_top[i] = *remote(&shared.top[i % n], i / n);
      __syncthreads();
      if (threadIdx.x < 32) {
        const int32_t lane = threadIdx.x;
        int32_t next = 0;
        for (int32_t i = 0; i < n; ++i) {
          const uint64_t head = lane < cluster && next < n ? shared.all_top[lane * n + next] : 0;
          uint64_t best = head;
#pragma unroll
          for (int offset = 16; offset > 0; offset /= 2) {
            const uint64_t other = __shfl_xor_sync(0xffffffffu, best, offset);
            best = other > best ? other : best;
          }
          if (head == best) ++next;
          if (lane == 0) store_top(row_idx, i, best, log_normaliser);
        }
      }
    }
    __syncthreads();
  }
};

// Semantics  SampleParams
// Cost       the row once from memory; greedy 3 passes over it in shared memory, top-k and top-p 4
// each, 1 for the draw
template <bool kInShared>
__global__ void __launch_bounds__(kThreads, 2)
    sample_kernel(const SampleParams params, const SamplePlan plan) {
  extern __shared__ __align__(16) uint8_t dynamic[];
  __shared__ SampleShared shared;
  allow_next();
  const int32_t row_idx = blockIdx.x / plan.cluster;
  const SampleRow row = params.rows[row_idx];
  wait_for_inputs();
  if (row.logits_row < 0) return;

  cluster_arrive();
  const int32_t block = cluster_rank();
  const int64_t begin = min(block * plan.slice, params.vocab_size);
  const auto count = static_cast<int32_t>(min(plan.slice, params.vocab_size - begin));
  float* x = reinterpret_cast<float*>(dynamic);
  auto* tables = reinterpret_cast<uint32_t*>(dynamic + plan.slice * sizeof(float));
  auto* buckets = reinterpret_cast<uint64_t*>(tables);
  if (!kInShared) {
    buckets = reinterpret_cast<uint64_t*>(dynamic);
    x = static_cast<float*>(params.workspace) + row_idx * plan.slice * 2;
    tables = reinterpret_cast<uint32_t*>(x + plan.slice);
  }
  Slice slice{params,       row,   shared, x,     tables,     buckets,
              plan.cluster, block, begin,  count, plan.slice, 0};

  cluster_wait();  // all blocks run: what one sends, another has room for
  // ---- the raw row: its largest, its normaliser
  const uint64_t raw_best = slice.load<kInShared>();
  const float raw_largest = value_of(raw_best);
  const uint64_t raw_total = slice.total_mass(raw_largest);
  const float log_normaliser =
      raw_largest + static_cast<float>(log(static_cast<double>(raw_total) / kMassUnit));
  const auto num_top = static_cast<int32_t>(
      min(static_cast<int64_t>(min(row.num_logprobs, params.max_logprobs)), params.vocab_size));
  if (num_top > 0) slice.write_top(row_idx, num_top, raw_largest, log_normaliser);

  // ---- processors
  uint64_t best = raw_best;
  const bool has_penalties = slice.has_penalties();
  if (row.num_bias > 0) slice.apply_bias();
  if (has_penalties) slice.apply_penalties();
  if (row.num_bias > 0 || has_penalties) best = slice.largest_key();
  int32_t token = block == 0 ? token_of(best) : -2;
  if (row.temperature != 0.0f) {
    float largest = value_of(best);
    if (row.temperature != 1.0f) {
      slice.for_each([&](int32_t i) { x[i] = __fdiv_rn(x[i], row.temperature); });
      largest = __fdiv_rn(largest, row.temperature);
    }
    if (row.top_k > 0 && row.top_k < params.vocab_size) slice.keep_top_k(largest);
    if (row.top_p < 1.0f) slice.keep_top_p(largest);
    if (row.min_p > 0.0f) slice.keep_min_p(largest);
    if (row.typical_p < 1.0f) slice.keep_typical(largest);
    const int32_t drawn = slice.draw(largest);
    if (drawn != -1) token = drawn;
  }
  if (token >= 0 && threadIdx.x == 0) {
    params.out_tokens[row_idx] = token;
    params.history[row.history_slot * params.history_stride + row.history_tokens] = token;
    params.out_logprobs[row_idx] =
        params.logits[row.logits_row * params.vocab_size + token] - log_normaliser;
  }
  cluster_sync();  // no block leaves while another reads its shared memory
}

// Blocks a row: as many as keep the card busy, and enough that a slice fits shared memory.
SamplePlan plan_of(const device::cuda::CudaDevice& device, int64_t num_rows, int64_t vocab_size) {
  int32_t cluster = 1;
  if (device.sm_version >= 90) {
    cluster = kMaxCluster;
    while (cluster > 1 && num_rows * cluster > device.sm_count &&
           vocab_size <= 8192 * int64_t{cluster / 2}) {
      cluster /= 2;
    }
  }
  return {cluster, ceil_div(ceil_div(vocab_size, cluster), 64) * 64};
}

size_t shared_bytes_of(const SamplePlan& plan) {
  const int64_t tables = std::max<int64_t>(table_words(plan.slice) * 4, kBuckets * 8);
  return static_cast<size_t>(plan.slice * 4 + tables);
}

}  // namespace

int32_t sample(void* stream, const SampleParams* params) {
  if (params->num_rows <= 0) return kOk;
  if (params->max_logprobs > kMaxTop) return kUnsupported;
  const device::cuda::CudaDevice& device = device_of(stream);
  SamplePlan plan = plan_of(device, params->num_rows, params->vocab_size);
  const auto shared_bytes = static_cast<int64_t>(shared_bytes_of(plan));
  const int64_t most = device.max_shared_bytes - ceil_div(sizeof(SampleShared), 1024) * 1024;
  if (plan.slice <= kMaxSlice && shared_bytes <= most) {
    const auto kernel = sample_kernel<true>;
    // What any plan may need: plans of other batches come and go.
    const cudaError_t error = cudaFuncSetAttribute(
        kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(most));
    if (error != cudaSuccess) return device::cuda::status_of(error);
    return launch(stream, kernel, dim3(static_cast<unsigned>(params->num_rows * plan.cluster)),
                  dim3(kThreads), shared_bytes, plan.cluster, *params, plan);
  }
  plan = {1, ceil_div(params->vocab_size, 64) * 64};
  return launch(stream, sample_kernel<false>, dim3(params->num_rows), dim3(kThreads), kBuckets * 8,
                1, *params, plan);
}

// Of devices without clusters, whose rows may not fit a block's shared memory. A Hopper device
// needs none up to kMaxCluster * kMaxSlice tokens.
uint64_t sample_workspace_bytes(int64_t num_rows, int64_t vocab_size) {
  int device_idx = 0, major = 0;
  const bool is_known =
      cudaGetDevice(&device_idx) == cudaSuccess &&
      cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device_idx) == cudaSuccess;
  if (is_known && major >= 9 && vocab_size <= kMaxCluster * kMaxSlice) return 16;
  return static_cast<uint64_t>(num_rows) * static_cast<uint64_t>(ceil_div(vocab_size, 64) * 64) * 8;
}

}  // namespace slora::kernels::cuda
