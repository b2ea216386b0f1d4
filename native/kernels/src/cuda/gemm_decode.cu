// y = x W^T for few rows of x.
//
// W [N, K] is cut into granules of 8 rows, dealt out to one block an SM; a block's 8 warps (and,
// for long K, the blocks of its cluster) each own a fixed range of K. A warp keeps its part of x in
// registers as the A operand of mma.m16n8k16 for the whole kernel and streams its part of each
// granule through a ring of shared memory that it alone uses, so loads never wait for other warps.
// Partial sums of a granule meet in shared memory and are added in the order of warps, then of
// blocks: the result does not depend on timing.
//
// Weights are constants: the ring is filled before the kernel before this one has ended, which
// hides the boundary between two matmuls. In flight: kWarps * kStages * 2 KiB a block.
//
// Both operands take k in a permuted order: a lane's 16 bytes of a row, k = 8 q .. 8 q + 7 with q =
// lane % 4, serve as columns {2q, 2q+1, 2q+8, 2q+9} of two successive mma. A sum over k does not
// mind, and all loads are 16 bytes wide.
#include "src/cuda/gemm_decode.cuh"

#include <algorithm>

#include "src/cuda/async_copy.cuh"

namespace slora::kernels::cuda {
namespace {

constexpr int kWarps = 8;
constexpr int kThreads = kWarps * 32;
constexpr int kGranule = 8;      // rows of W of one mma
constexpr int kUnit = 32;        // k of two mma: 16 bytes a lane
constexpr int kUnitsAStage = 4;  // 256 bytes of each of 8 rows
constexpr int kStageBytes = kGranule * kUnitsAStage * kUnit * 2;
constexpr int kStages = 12;
constexpr int kRows = 16;  // of x
constexpr int kPartials = kGranule * kRows;

constexpr size_t shared_bytes() {
  return size_t{kWarps} * kStages * kStageBytes + 2 * size_t{kWarps} * kPartials * sizeof(float) +
         2 * kPartials * sizeof(float);
}

// kUnits: units of K that a warp owns. kIsTall: more than 8 rows of x. kCluster: blocks that share
// K.
template <typename T, typename Y, int kUnits, bool kIsTall, int kCluster>
__global__ void __launch_bounds__(kThreads, 1) gemm_decode_kernel(GemmParams params) {
  constexpr int kChunks = (kUnits + kUnitsAStage - 1) / kUnitsAStage;
  extern __shared__ __align__(128) uint8_t shared[];
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int group = lane / 4, quad = lane % 4;
  uint8_t* ring = shared + warp * (kStages * kStageBytes);
  auto* partials = reinterpret_cast<float*>(shared + kWarps * kStages * kStageBytes);
  float* incoming = partials + 2 * kWarps * kPartials;

  allow_next();
  const uint32_t rank = kCluster > 1 ? cluster_rank() : 0;
  // Both blocks must have begun before one writes the other's shared memory.
  if constexpr (kCluster > 1) cluster_arrive();
  const int64_t num_blocks = gridDim.x / kCluster;
  const int64_t block = blockIdx.x / kCluster;
  const int64_t num_granules = params.n / kGranule;
  const int64_t first = num_granules * block / num_blocks;
  const int64_t last = num_granules * (block + 1) / num_blocks;
  const int64_t k_begin = (int64_t{rank} * kWarps + warp) * (kUnits * kUnit);
  // k of this warp's range that exist; the rest reads as zero.
  const int64_t k_count = params.k - k_begin;

  // Which row and 16 bytes of a stage this lane copies: two rows a pass.
  const int copy_row = lane / 16, copy_piece = lane % 16;
  const T* weights = static_cast<const T*>(params.w) + (first * kGranule + copy_row) * params.k +
                     k_begin + copy_piece * 8;
  // Odd rows swap their halves, so that a quarter warp's 16-byte reads of two rows meet all banks.
  const uint32_t copy_to =
      shared_address(ring) +
      static_cast<uint32_t>(copy_row * 256 + (copy_piece ^ (copy_row * 4)) * 16);
  int64_t load_granule = first;
  int load_chunk = 0, load_slot = 0;
  const auto load_next = [&] {
    if (load_granule < last) {
      const bool is_wide =
          (load_chunk + 1) * kUnitsAStage <= kUnits || copy_piece < kUnits % kUnitsAStage * 4;
      const bool is_inside =
          is_wide && load_chunk * (kUnitsAStage * kUnit) + copy_piece * 8 < k_count;
      const T* from = weights + load_chunk * (kUnitsAStage * kUnit);
#pragma unroll
      for (int i = 0; i < kGranule / 2; ++i) {
        copy_16(copy_to + static_cast<uint32_t>(load_slot * kStageBytes + i * 512),
                is_inside ? from + 2 * i * params.k : static_cast<const T*>(params.w), is_inside);
      }
      if (++load_chunk == kChunks) {
        load_chunk = 0;
        ++load_granule;
        weights += kGranule * params.k;
      }
      load_slot = load_slot + 1 == kStages ? 0 : load_slot + 1;
    }
    commit_copies();
  };
#pragma unroll
  for (int i = 0; i < kStages - 1; ++i) load_next();

  wait_for_inputs();
  uint4 low[kUnits], high[kIsTall ? kUnits : 1];
  {
    const T* x = static_cast<const T*>(params.x) + k_begin + quad * 8;
#pragma unroll
    for (int u = 0; u < kUnits; ++u) {
      const bool is_inside = u * kUnit + quad * 8 < k_count;
      low[u] = make_uint4(0, 0, 0, 0);
      if (is_inside && group < params.m)
        low[u] = *reinterpret_cast<const uint4*>(x + group * params.x_stride + u * kUnit);
      if constexpr (kIsTall) {
        high[u] = make_uint4(0, 0, 0, 0);
        if (is_inside && group + 8 < params.m)
          high[u] = *reinterpret_cast<const uint4*>(x + (group + 8) * params.x_stride + u * kUnit);
      }
    }
  }

  // This thread's element of a granule's result.
  const int out_row = static_cast<int>(threadIdx.x) / kGranule;
  const int out_column = static_cast<int>(threadIdx.x) % kGranule;
  constexpr int kOutputs = kIsTall ? kPartials : kPartials / 2;
  const auto finish = [&](int64_t granule, float sum) {
    if (out_row >= params.m) return;
    const int64_t column = granule * kGranule + out_column;
    if (params.bias) sum += params.bias[column];
    static_cast<Y*>(params.y)[out_row * params.y_stride + column] = from_float<Y>(sum);
  };

  if constexpr (kCluster > 1) cluster_wait();
  int slot = 0;
  float own_sum = 0;
  for (int64_t granule = first; granule < last; ++granule) {
    float c[4] = {0, 0, 0, 0};
#pragma unroll
    for (int chunk = 0; chunk < kChunks; ++chunk) {
      wait_copies<kStages - 2>();
      __syncwarp();
      const uint8_t* row = ring + slot * kStageBytes + group * 256;
#pragma unroll
      for (int u = 0; u < kUnitsAStage; ++u) {
        constexpr uint32_t kZero = 0;
        const int unit = chunk * kUnitsAStage + u;
        if (unit >= kUnits) break;
        const int piece = (u * 4 + quad) ^ ((group & 1) * 4);
        const uint4 w = *reinterpret_cast<const uint4*>(row + piece * 16);
        const uint4 a = low[unit];
        if constexpr (kIsTall) {
          const uint4 b = high[unit];
          mma<T>(c, a.x, b.x, a.y, b.y, w.x, w.y);
          mma<T>(c, a.z, b.z, a.w, b.w, w.z, w.w);
        } else {
          mma<T>(c, a.x, kZero, a.y, kZero, w.x, w.y);
          mma<T>(c, a.z, kZero, a.w, kZero, w.z, w.w);
        }
      }
      slot = slot + 1 == kStages ? 0 : slot + 1;
      // Into the slot that all lanes left before this chunk's __syncwarp.
      load_next();
    }
    float* mine = partials + ((granule & 1) * kWarps + warp) * kPartials;
    mine[group * kGranule + quad * 2] = c[0];
    mine[group * kGranule + quad * 2 + 1] = c[1];
    if constexpr (kIsTall) {
      mine[(group + 8) * kGranule + quad * 2] = c[2];
      mine[(group + 8) * kGranule + quad * 2 + 1] = c[3];
    }
    // One barrier a granule: the other buffer is free again once all have passed the next one.
    __syncthreads();
    float sum = 0;
    if (static_cast<int>(threadIdx.x) < kOutputs) {
      const float* column = partials + (granule & 1) * kWarps * kPartials + threadIdx.x;
#pragma unroll
      for (int i = 0; i < kWarps; ++i) sum += column[i * kPartials];
    }
    if constexpr (kCluster == 1) {
      if (static_cast<int>(threadIdx.x) < kOutputs) finish(granule, sum);
    } else {
      // The other block's sum of this granule arrives behind the barrier, which is waited for one
      // granule later: then the two buffers of `incoming` are never written while they are read.
      if (granule > first) {
        cluster_wait();
        if (rank == 0 && static_cast<int>(threadIdx.x) < kOutputs)
          finish(granule - 1, own_sum + incoming[((granule - 1) & 1) * kPartials + threadIdx.x]);
      }
      own_sum = sum;
      if (rank != 0 && static_cast<int>(threadIdx.x) < kOutputs)
        store_remote(
            remote_address(shared_address(incoming + (granule & 1) * kPartials + threadIdx.x), 0),
            sum);
      cluster_arrive();
    }
  }
  if constexpr (kCluster > 1) {
    if (first < last) {
      cluster_wait();
      if (rank == 0 && static_cast<int>(threadIdx.x) < kOutputs)
        finish(last - 1, own_sum + incoming[((last - 1) & 1) * kPartials + threadIdx.x]);
    }
  }
  wait_copies<0>();
}

// Units a warp can own before registers run out.
constexpr int kMaxUnitsFlat = 32;
constexpr int kMaxUnitsTall = 22;

int64_t units_a_warp(int64_t k, int cluster) {
  return ceil_div(ceil_div(k, kUnit), int64_t{kWarps} * cluster);
}

// Blocks that share K: the fewest with which a warp's part of x fits its registers; 0: none do.
int cluster_for(const device::cuda::CudaDevice& device, int64_t m, int64_t k) {
  const int limit = m > 8 ? kMaxUnitsTall : kMaxUnitsFlat;
  for (int cluster = 1; cluster <= 2; ++cluster) {
    if (cluster > 1 && device.sm_version < 90) break;
    if (units_a_warp(k, cluster) <= limit) return cluster;
  }
  return 0;
}

template <typename T, typename Y, int kUnits, bool kIsTall, int kCluster>
int32_t run(void* stream, const GemmParams& params) {
  const auto kernel = gemm_decode_kernel<T, Y, kUnits, kIsTall, kCluster>;
  static const int32_t allowed = allow_shared(kernel, shared_bytes());
  if (allowed) return allowed;
  const int64_t granules = params.n / kGranule;
  const int64_t blocks = std::min<int64_t>(granules, device_of(stream).sm_count / kCluster);
  return launch(stream, kernel, dim3(static_cast<unsigned>(blocks * kCluster)), dim3(kThreads),
                shared_bytes(), kCluster, params);
}

// The smallest instance that covers `units`.
template <typename T, typename Y, bool kIsTall, int kCluster>
int32_t run_units(void* stream, const GemmParams& params, int64_t units) {
  // More than one block shares K only where one cannot hold it.
  if constexpr (kCluster == 1) {
    if (units <= 4) return run<T, Y, 4, kIsTall, kCluster>(stream, params);
    if (units <= 8) return run<T, Y, 8, kIsTall, kCluster>(stream, params);
  }
  if (units <= 16) return run<T, Y, 16, kIsTall, kCluster>(stream, params);
  if (units <= 22) return run<T, Y, 22, kIsTall, kCluster>(stream, params);
  if constexpr (!kIsTall) {
    if (units <= 32) return run<T, Y, 32, kIsTall, kCluster>(stream, params);
  }
  return kUnsupported;
}

template <typename T, typename Y>
int32_t run_shape(void* stream, const GemmParams& params) {
  const int cluster = cluster_for(device_of(stream), params.m, params.k);
  const int64_t units = units_a_warp(params.k, cluster);
  if (params.m > 8) {
    return cluster == 1 ? run_units<T, Y, true, 1>(stream, params, units)
                        : run_units<T, Y, true, 2>(stream, params, units);
  }
  return cluster == 1 ? run_units<T, Y, false, 1>(stream, params, units)
                      : run_units<T, Y, false, 2>(stream, params, units);
}

}  // namespace

bool can_gemm_decode(const device::cuda::CudaDevice& device, const GemmParams& params) {
  if (params.weight_dtype == DType::kF32 || params.m > kRows) return false;
  if (params.n % kGranule != 0 || params.k % 8 != 0 || params.x_stride % 8 != 0) return false;
  if (reinterpret_cast<uintptr_t>(params.x) % 16 != 0 ||
      reinterpret_cast<uintptr_t>(params.w) % 16 != 0)
    return false;
  if (static_cast<int64_t>(shared_bytes()) > device.max_shared_bytes) return false;
  return cluster_for(device, params.m, params.k) > 0;
}

int32_t gemm_decode(void* stream, const GemmParams& params) {
  const bool is_wide = params.y_dtype == DType::kF32;
  if (params.weight_dtype == DType::kBF16) {
    return is_wide ? run_shape<bf16, float>(stream, params) : run_shape<bf16, bf16>(stream, params);
  }
  return is_wide ? run_shape<__half, float>(stream, params)
                 : run_shape<__half, __half>(stream, params);
}

}  // namespace slora::kernels::cuda
