// y = x W^T for few rows of x.
//
// W [N, K] is dealt out to one block an SM in runs of 8 rows, read as granules of 16 rows (the last
// may be 8); a block's warps (and, for long K, the two blocks of its cluster) each own a fixed
// range of K. A warp keeps its part of x in registers as the B operand of mma.m16n8k16 for the
// whole kernel and streams its part of each granule, the A operand, through a ring of shared memory
// that it alone uses, so loads never wait for other warps. Partial sums of a granule meet in shared
// memory and are added in the order of warps, then of blocks: the result does not depend on timing.
//
// Weights are constants: the ring is filled before the kernel before this one has ended, which
// hides the boundary between two matmuls. In flight: up to kRingBytes a block; what a block leaves
// of a multiprocessor's memory is first-level cache of the kernels around it (gemm_wgmma.cu).
//
// Both operands take k in a permuted order: a lane's 16 bytes of a row, k = 8 q .. 8 q + 7 with q =
// lane % 4, serve as columns {2q, 2q+1, 2q+8, 2q+9} of two successive mma. A sum over k does not
// mind, and all loads are 16 bytes wide.
#include "src/cuda/gemm_decode.cuh"

#include <algorithm>

#include "src/cuda/async_copy.cuh"
#include "src/cuda/cluster.cuh"
#include "src/cuda/lora_columns.cuh"
#include "src/cuda/tensor_cores.cuh"

namespace slora::kernels::cuda {
namespace {

constexpr int kBlockRows = 8;    // what blocks share out
constexpr int kGranule = 16;     // rows of W of one mma
constexpr int kUnit = 32;        // k of two mma: 16 bytes a lane
constexpr int kUnitsAStage = 4;  // 256 bytes of each of 16 rows
constexpr int kStageBytes = kGranule * kUnitsAStage * kUnit * 2;
constexpr int kRingBytes = 40 * kStageBytes;
constexpr int kRows = 16;  // of x
// Floats a token of a granule's sums; 4 more than its rows, so that a warp's stores meet all banks.
constexpr int kPitch = kGranule + 4;

// Granules whose sums go to the other block of a cluster at once: an arrival there waits for all
// that the block has under way, the ring's loads too.
constexpr int kBatch = 4;

constexpr size_t shared_bytes(int warps, bool is_tall) {
  const size_t tokens = is_tall ? 16 : 8;
  return kRingBytes + sizeof(float) * (2 * static_cast<size_t>(warps) * kPitch * tokens +
                                       2 * kBatch * kGranule * tokens);
}

// Warps that see to adapters' updates, where there are some.
constexpr int kUpdateWarps = 8;

template <typename Update, int kWarps>
inline constexpr int kThreads = 32 * (kWarps + (Update::kIsSome ? kUpdateWarps : 0));

// kUnits: units of K that a warp owns. kIsTall: more than 8 rows of x. kCluster: blocks that share
// K. With an update (of flat ones in one block) the sums, and what adapters add to them, meet in
// shared memory when all are there: two runs of 8 rows, `pitch` floats each.
template <typename T, typename Y, int kUnits, bool kIsTall, int kCluster, int kWarps,
          typename Update>
__global__ void __launch_bounds__(kThreads<Update, kWarps>, 1)
    gemm_decode_kernel(const GemmParams params, const __grid_constant__ Update update,
                       int32_t pitch) {
  static_assert(!Update::kIsSome || (kCluster == 1 && !kIsTall));
  constexpr int kStages = kRingBytes / kStageBytes / kWarps;
  constexpr int kChunks = (kUnits + kUnitsAStage - 1) / kUnitsAStage;
  constexpr int kTokenTiles = kIsTall ? 2 : 1;
  constexpr int kPartials = kPitch * 8 * kTokenTiles;
  constexpr int kOutputs = kGranule * 8 * kTokenTiles;
  static_assert(kOutputs <= kWarps * 32);
  extern __shared__ __align__(128) uint8_t shared[];
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int group = lane / 4, quad = lane % 4;
  uint8_t* ring = shared + warp * (kStages * kStageBytes);
  auto* partials = reinterpret_cast<float*>(shared + kRingBytes);
  float* incoming = partials + 2 * kWarps * kPartials;
  float* const sums = incoming;  // an update's

  allow_next();
  const uint32_t rank = kCluster > 1 ? cluster_rank() : 0;
  // Both blocks must have begun before one writes the other's shared memory.
  if constexpr (kCluster > 1) cluster_arrive_together();
  const int64_t num_blocks = gridDim.x / kCluster;
  const int64_t block = blockIdx.x / kCluster;
  const int64_t num_runs = params.n / kBlockRows;
  const int64_t first_row = num_runs * block / num_blocks * kBlockRows;
  const int num_rows =
      static_cast<int>(num_runs * (block + 1) / num_blocks * kBlockRows - first_row);
  const int num_granules = (num_rows + kGranule - 1) / kGranule;
  const bool ends_in_half = num_rows % kGranule != 0;

  // With an update: each thread of the block finishes some outputs of the range.
  const auto finish_all = [&] {
    __syncthreads();
    for (int i = static_cast<int>(threadIdx.x); i < params.m * num_rows;
         i += static_cast<int>(blockDim.x)) {
      const int token = i / num_rows, row = i - token * num_rows;
      float sum = sums[token * pitch + row] + sums[(8 + token) * pitch + row];
      if (params.bias) sum += params.bias[first_row + row];
      static_cast<Y*>(params.y)[token * params.y_stride + first_row + row] = from_float<Y>(sum);
    }
  };
  const auto multiply = [&] {
    const int64_t k_begin = (int64_t{rank} * kWarps + warp) * (kUnits * kUnit);
    // k of this warp's range that exist; the rest reads as zero.
    const int k_count =
        static_cast<int>(max(min(params.k - k_begin, int64_t{kUnits * kUnit}), int64_t{0}));

    // Which row and 16 bytes of a stage this lane copies: two rows a pass.
    const int copy_row = lane / 16, copy_piece = lane % 16;
    const auto* from = reinterpret_cast<const uint8_t*>(static_cast<const T*>(params.w) +
                                                        (first_row + copy_row) * params.k +
                                                        k_begin + copy_piece * 8);
    const auto two_rows = static_cast<uint32_t>(params.k) * 4;  // bytes
    const int copy_limit = k_count - copy_piece * 8;
    // Odd rows swap their halves, so that a quarter warp's 16-byte reads of two rows meet all
    // banks.
    const uint32_t copy_to =
        shared_address(ring) +
        static_cast<uint32_t>(copy_row * 256 + (copy_piece ^ (copy_row * 4)) * 16);
    int loads_left = num_granules * kChunks;
    int load_k = 0, load_slot = 0;
    const auto load_next = [&] {
      if (loads_left > 0) {
        const bool is_inside = load_k < copy_limit;
        const uint32_t to = copy_to + static_cast<uint32_t>(load_slot * kStageBytes);
#pragma unroll
        for (int i = 0; i < 4; ++i)
          copy_16_of_run(to + static_cast<uint32_t>(i * 512), from + i * two_rows, is_inside);
        // The upper rows of a half granule are another block's; their sums are dropped.
        if (!(ends_in_half && loads_left <= kChunks)) {
#pragma unroll
          for (int i = 4; i < 8; ++i)
            copy_16_of_run(to + static_cast<uint32_t>(i * 512), from + i * two_rows, is_inside);
        }
        --loads_left;
        load_k += kUnitsAStage * kUnit;
        from += kUnitsAStage * kUnit * 2;
        if (load_k == kChunks * kUnitsAStage * kUnit) {
          load_k = 0;
          from += int64_t{8} * two_rows - kChunks * kUnitsAStage * kUnit * 2;
        }
        load_slot = load_slot + 1 == kStages ? 0 : load_slot + 1;
      }
      commit_copies();
    };
#pragma unroll
    for (int i = 0; i < kStages - 1; ++i) load_next();

    wait_for_inputs();
    uint4 x[kTokenTiles][kUnits];
    {
      const T* row = static_cast<const T*>(params.x) + group * params.x_stride + k_begin + quad * 8;
#pragma unroll
      for (int tile = 0; tile < kTokenTiles; ++tile) {
        const bool is_row = group + 8 * tile < params.m;
#pragma unroll
        for (int u = 0; u < kUnits; ++u) {
          x[tile][u] = make_uint4(0, 0, 0, 0);
          if (is_row && u * kUnit + quad * 8 < k_count)
            x[tile][u] =
                *reinterpret_cast<const uint4*>(row + 8 * tile * params.x_stride + u * kUnit);
        }
      }
    }

    // This thread's element of a granule's result.
    const int out_token = static_cast<int>(threadIdx.x) / kGranule;
    const int out_row = static_cast<int>(threadIdx.x) % kGranule;
    const bool has_output = static_cast<int>(threadIdx.x) < kOutputs;
    const int out_place = out_token * kPitch + out_row;
    const auto finish = [&](int granule, float sum) {
      const int row = granule * kGranule + out_row;
      if constexpr (Update::kIsSome) {
        if (row < num_rows) sums[out_token * pitch + row] = sum;
        return;
      }
      if (out_token >= params.m || row >= num_rows) return;
      const int64_t column = first_row + row;
      if (params.bias) sum += params.bias[column];
      static_cast<Y*>(params.y)[out_token * params.y_stride + column] = from_float<Y>(sum);
    };

    if constexpr (kCluster > 1) cluster_wait_together();
    int slot = 0;
    // The newest granules' sums, the newest first, and those of the batch before.
    float own[kBatch] = {}, before[kBatch] = {};
    int num_own = 0, num_before = 0, batch = 0;
    const auto finish_batch = [&](int last) {
      cluster_wait_together();
      if (rank != 0 || !has_output) return;
      const float* from = incoming + ((batch - 1) & 1) * kBatch * kOutputs + threadIdx.x;
#pragma unroll
      for (int i = 0; i < kBatch; ++i) {
        if (i < num_before) finish(last - i, before[i] + from[i * kOutputs]);
      }
    };
    for (int granule = 0; granule < num_granules; ++granule) {
      float c[kTokenTiles][4] = {};
#pragma unroll
      for (int chunk = 0; chunk < kChunks; ++chunk) {
        wait_copies<kStages - 2>();
        __syncwarp();
        const uint8_t* row = ring + slot * kStageBytes + group * 256;
#pragma unroll
        for (int u = 0; u < kUnitsAStage; ++u) {
          const int unit = chunk * kUnitsAStage + u;
          if (unit >= kUnits) break;
          const int piece = ((u * 4 + quad) ^ ((group & 1) * 4)) * 16;
          const uint4 low = *reinterpret_cast<const uint4*>(row + piece);
          const uint4 high = *reinterpret_cast<const uint4*>(row + 8 * 256 + piece);
#pragma unroll
          for (int tile = 0; tile < kTokenTiles; ++tile) {
            const uint4 b = x[tile][unit];
            mma<T>(c[tile], low.x, high.x, low.y, high.y, b.x, b.y);
            mma<T>(c[tile], low.z, high.z, low.w, high.w, b.z, b.w);
          }
        }
        slot = slot + 1 == kStages ? 0 : slot + 1;
        // Into the slot that all lanes left before this chunk's __syncwarp.
        load_next();
      }
      float* mine = partials + ((granule & 1) * kWarps + warp) * kPartials;
#pragma unroll
      for (int tile = 0; tile < kTokenTiles; ++tile) {
        float* to = mine + (tile * 8 + quad * 2) * kPitch + group;
        to[0] = c[tile][0];
        to[kPitch] = c[tile][1];
        to[8] = c[tile][2];
        to[kPitch + 8] = c[tile][3];
      }
      // One barrier a granule: the other buffer is free again once all have passed the next one.
      if constexpr (Update::kIsSome) {
        asm volatile("bar.sync 1, %0;" ::"n"(kWarps * 32) : "memory");
      } else {
        __syncthreads();
      }
      float sum = 0;
      if (has_output) {
        const float* column = partials + (granule & 1) * kWarps * kPartials + out_place;
#pragma unroll 4
        for (int i = 0; i < kWarps; ++i) sum += column[i * kPartials];
      }
      if constexpr (kCluster == 1) {
        if (has_output) finish(granule, sum);
      } else {
#pragma unroll
        for (int i = kBatch - 1; i > 0; --i) own[i] = own[i - 1];
        own[0] = sum;
        if (++num_own < kBatch && granule + 1 < num_granules) continue;
        // The other block's sums of this batch arrive behind the barrier, which is waited for one
        // batch later: then the two buffers of `incoming` are never written while they are read.
        if (batch > 0) finish_batch(granule - num_own);
#pragma unroll
        for (int i = 0; i < kBatch; ++i) before[i] = own[i];
        num_before = num_own;
        num_own = 0;
        if (rank != 0 && has_output) {
          const uint32_t to = remote_address(
              shared_address(incoming + (batch & 1) * kBatch * kOutputs + threadIdx.x), 0);
#pragma unroll
          for (int i = 0; i < kBatch; ++i)
            store_remote(to + static_cast<uint32_t>(i * kOutputs * sizeof(float)), before[i]);
        }
        cluster_arrive_together();
        ++batch;
      }
    }
    if constexpr (kCluster > 1) {
      if (num_granules > 0) finish_batch(num_granules - 1);
    }
    wait_copies<0>();
  };
  if constexpr (Update::kIsSome) {
    if (warp < kWarps) {
      multiply();
    } else {
      __shared__ ColumnRoom<8> room;
      ColumnUpdates<T, 8, kUpdateWarps, 2>(update, room, static_cast<int32_t>(first_row), num_rows,
                                           0, static_cast<int32_t>(params.m), warp - kWarps,
                                           sums + 8 * pitch, pitch);
    }
    finish_all();
  } else {
    multiply();
  }
}

template <typename T, typename Y, int kUnits, bool kIsTall, int kCluster, int kWarps = 8>
int32_t run(void* stream, const GemmParams& params) {
  const auto kernel = gemm_decode_kernel<T, Y, kUnits, kIsTall, kCluster, kWarps, NoUpdate>;
  constexpr size_t kSharedBytes = shared_bytes(kWarps, kIsTall);
  if (const int32_t status = allow_shared(kernel, kSharedBytes)) return status;
  const int64_t runs = params.n / kBlockRows;
  const int64_t blocks = std::min<int64_t>(runs, device_of(stream).sm_count / kCluster);
  return launch(stream, kernel, dim3(static_cast<unsigned>(blocks * kCluster)), dim3(kWarps * 32),
                kSharedBytes, kCluster, params, NoUpdate{}, 0);
}

// ---- with adapters' updates

int64_t update_blocks(const device::cuda::CudaDevice& device, const GemmParams& params) {
  return std::min<int64_t>(params.n / kBlockRows, device.sm_count);
}
int64_t update_pitch(const device::cuda::CudaDevice& device, const GemmParams& params) {
  return ceil_div(params.n / kBlockRows, update_blocks(device, params)) * kBlockRows + 4;
}
// Beside what the kernel has of its own (ColumnRoom).
size_t update_shared_bytes(const device::cuda::CudaDevice& device, const GemmParams& params) {
  return shared_bytes(8, false) + sizeof(float) * 2 * 8 * update_pitch(device, params);
}

template <typename T, int kUnits>
int32_t run_with_update(void* stream, const GemmParams& params) {
  const auto kernel = gemm_decode_kernel<T, T, kUnits, false, 1, 8, ColumnUpdate>;
  const device::cuda::CudaDevice& device = device_of(stream);
  const size_t bytes = update_shared_bytes(device, params);
  if (const int32_t status = allow_shared(kernel, bytes)) return status;
  const ColumnUpdate update = {*params.update, parts_of_rows(stream, *params.update)};
  return launch(stream, kernel, dim3(static_cast<unsigned>(update_blocks(device, params))),
                dim3(kThreads<ColumnUpdate, 8>), bytes, 1, params, update,
                static_cast<int32_t>(update_pitch(device, params)));
}

// Longest K of an instance: what its warps' units cover.
constexpr int64_t longest_k(int units, int cluster, int warps = 8) {
  return int64_t{units} * kUnit * cluster * warps;
}

// Up to 8 rows: a unit takes 4 registers.
constexpr int64_t kLongestFlat = longest_k(44, 2);
template <typename T, typename Y>
int32_t run_flat(void* stream, const GemmParams& params) {
  const int64_t k = params.k;
  if (k <= longest_k(4, 1)) return run<T, Y, 4, false, 1>(stream, params);
  if (k <= longest_k(8, 1)) return run<T, Y, 8, false, 1>(stream, params);
  if (k <= longest_k(16, 1)) return run<T, Y, 16, false, 1>(stream, params);
  if (k <= longest_k(22, 1)) return run<T, Y, 22, false, 1>(stream, params);
  if (k <= longest_k(32, 1)) return run<T, Y, 32, false, 1>(stream, params);
  if (k <= longest_k(44, 1)) return run<T, Y, 44, false, 1>(stream, params);
  if (k <= longest_k(28, 2)) return run<T, Y, 28, false, 2>(stream, params);
  return run<T, Y, 44, false, 2>(stream, params);
}

// Up to 16 rows: 8 registers. Every block reads all of x that its K needs, so blocks share K early.
constexpr int64_t kLongestTall = longest_k(22, 2);
template <typename T, typename Y>
int32_t run_tall(void* stream, const GemmParams& params) {
  const int64_t k = params.k;
  if (k <= longest_k(4, 2)) return run<T, Y, 4, true, 2>(stream, params);
  if (k <= longest_k(8, 2)) return run<T, Y, 8, true, 2>(stream, params);
  if (k <= longest_k(11, 2)) return run<T, Y, 11, true, 2>(stream, params);
  if (k <= longest_k(16, 2)) return run<T, Y, 16, true, 2>(stream, params);
  return run<T, Y, 22, true, 2>(stream, params);
}

// Registers are for a sum of so many elements, with those that updates need.
constexpr int64_t kLongestUpdated = longest_k(22, 1);
template <typename T>
int32_t run_updated(void* stream, const GemmParams& params) {
  const int64_t k = params.k;
  if (k <= longest_k(4, 1)) return run_with_update<T, 4>(stream, params);
  if (k <= longest_k(8, 1)) return run_with_update<T, 8>(stream, params);
  if (k <= longest_k(16, 1)) return run_with_update<T, 16>(stream, params);
  return run_with_update<T, 22>(stream, params);
}

template <typename T, typename Y>
int32_t run_shape(void* stream, const GemmParams& params) {
  return params.m > 8 ? run_tall<T, Y>(stream, params) : run_flat<T, Y>(stream, params);
}

}  // namespace

bool can_gemm_decode(const device::cuda::CudaDevice& device, const GemmParams& params) {
  if (params.weight_dtype == DType::kF32 || params.m > kRows) return false;
  if (params.n % kBlockRows != 0 || params.k % 8 != 0 || params.x_stride % 8 != 0) return false;
  if (reinterpret_cast<uintptr_t>(params.x) % 16 != 0 ||
      reinterpret_cast<uintptr_t>(params.w) % 16 != 0)
    return false;
  if (static_cast<int64_t>(shared_bytes(8, true)) > device.max_shared_bytes) return false;
  const bool has_clusters = device.sm_version >= 90;
  if (params.m > 8) return has_clusters && params.k <= kLongestTall;
  return params.k <= (has_clusters ? kLongestFlat : longest_k(44, 1));
}

bool takes_update_decode(const device::cuda::CudaDevice& device, const GemmParams& params) {
  // A multiprocessor's next larger share of shared memory would leave little to first-level cache.
  constexpr size_t kMostShared = 195 * 1024 - sizeof(ColumnRoom<8>);
  return params.m <= 8 && params.k <= kLongestUpdated && device.sm_version >= 90 &&
         is_column_update(params) && update_shared_bytes(device, params) <= kMostShared;
}

int32_t gemm_decode(void* stream, const GemmParams& params) {
  if (params.update) {
    return params.weight_dtype == DType::kBF16 ? run_updated<bf16>(stream, params)
                                               : run_updated<__half>(stream, params);
  }
  const bool is_wide = params.y_dtype == DType::kF32;
  if (params.weight_dtype == DType::kBF16) {
    return is_wide ? run_shape<bf16, float>(stream, params) : run_shape<bf16, bf16>(stream, params);
  }
  return is_wide ? run_shape<__half, float>(stream, params)
                 : run_shape<__half, __half>(stream, params);
}

}  // namespace slora::kernels::cuda
