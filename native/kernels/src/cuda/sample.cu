// Sampling: a cluster of blocks takes a row; each block holds its slice of the logits in shared
// memory from the one read to the draw, and every processor is a pass over that slice.
#include <algorithm>

#include "cuda_kernels.hpp"
#include "sample_processors.cuh"
#include "sample_top.cuh"
#include "slora/kernels/random.hpp"

namespace slora::kernels::cuda {
namespace {

using namespace sampling;

constexpr int64_t kMaxSlice = 32768;  // with its tables 200 KiB of shared memory

struct SamplePlan {
  int32_t cluster;  // blocks a row
  int64_t slice;    // logits a block, a multiple of 64
};

// The first token at which the sum of masses passes u times their total; -1: no token has mass.
// Known to the block that holds it, others get -2.
__device__ int32_t draw(Slice& slice, float largest) {
  const int32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  // Each warp a run of the slice, so that runs follow one another in the vocabulary.
  const int32_t run = static_cast<int32_t>((slice.capacity / kWarps + 31) / 32 * 32);
  const int32_t first = min(warp * run, slice.count), last = min(first + run, slice.count);
  __syncthreads();  // other threads dropped what this one reads
  uint64_t sum = 0;
  for (int32_t i = first + lane; i < last; i += 32) sum += integer_mass(mass(slice.x[i], largest));
  const Total total = slice.sum_of(sum);
  if (total.all == 0) return -1;
  const auto u = static_cast<uint64_t>(
      philox_uniform(slice.row.seed, static_cast<uint64_t>(slice.row.history_tokens)) * 0x1.0p53);
  const uint64_t target = __umul64hi(u, total.all) << 11 | (u * total.all) >> 53;
  // sum_of left the warps' sums in shared memory.
  uint64_t before = total.before;
  for (int w = 0; w < warp; ++w) before += slice.shared.warp_parts[w];
  if (threadIdx.x == 0) slice.shared.token = -2;
  __syncthreads();
  if (target >= before && target < before + slice.shared.warp_parts[warp]) {
    for (int32_t i = first; i < last; i += 32) {
      const bool is_in = i + lane < last;
      uint64_t upto = is_in ? integer_mass(mass(slice.x[i + lane], largest)) : 0;
#pragma unroll
      for (int offset = 1; offset < 32; offset *= 2) {
        const uint64_t other = __shfl_up_sync(0xffffffffu, upto, offset);
        if (lane >= offset) upto += other;
      }
      const uint32_t passed = __ballot_sync(0xffffffffu, is_in && before + upto > target);
      if (passed) {
        if (lane == 0)
          slice.shared.token = static_cast<int32_t>(slice.begin) + i + __ffs(passed) - 1;
        break;
      }
      before += __shfl_sync(0xffffffffu, upto, 31);
    }
  }
  __syncthreads();
  return slice.shared.token;
}

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
  if (num_top > 0) write_top(slice, row_idx, num_top, raw_largest, log_normaliser);

  // ---- processors
  uint64_t best = raw_best;
  const bool is_penalised = has_penalties(row);
  if (row.num_bias > 0) apply_bias(slice);
  if (is_penalised) apply_penalties(slice);
  if (row.num_bias > 0 || is_penalised) best = slice.largest_key();
  int32_t token = block == 0 ? token_of(best) : -2;
  if (row.temperature != 0.0f) {
    float largest = value_of(best);
    if (row.temperature != 1.0f) {
      slice.for_each([&](int32_t i) { x[i] = __fdiv_rn(x[i], row.temperature); });
      largest = __fdiv_rn(largest, row.temperature);
    }
    if (row.top_k > 0 && row.top_k < params.vocab_size) keep_top_k(slice, largest);
    if (row.top_p < 1.0f) keep_top_p(slice, largest);
    if (row.min_p > 0.0f) keep_min_p(slice, largest);
    if (row.typical_p < 1.0f) keep_typical(slice, largest);
    const int32_t drawn = draw(slice, largest);
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
  const bool is_known = device::cuda::status_of(cudaGetDevice(&device_idx)) == kOk &&
                        device::cuda::status_of(cudaDeviceGetAttribute(
                            &major, cudaDevAttrComputeCapabilityMajor, device_idx)) == kOk;
  if (is_known && major >= 9 && vocab_size <= kMaxCluster * kMaxSlice) return 16;
  return static_cast<uint64_t>(num_rows) * static_cast<uint64_t>(ceil_div(vocab_size, 64) * 64) * 8;
}

}  // namespace slora::kernels::cuda
