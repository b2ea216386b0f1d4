// y = x W^T for tens of rows of x.
//
// Two blocks, a cluster, share a range of W's rows, cut to 16 rows so that every cluster has the
// same to read; each takes half of K. A block walks its range in tiles of up to 64 rows; a stage of
// its ring is 64 k of the tile and of x. Eight warps: two halves of the tile times four slices of
// 16 k of a stage, so every element of W is read from shared memory once. The four slices' sums
// meet in shared memory in a fixed order, the second block's then in the first's, through
// distributed shared memory.
//
// x goes through L2 once a tile: kM / 64 of W's traffic, hence not for more than 128 rows. As in
// gemm_decode, the ring takes its weights before the kernel before this one has ended.
#include "src/cuda/gemm_rows.cuh"

#include <algorithm>

#include "src/cuda/async_copy.cuh"
#include "src/cuda/cluster.cuh"
#include "src/cuda/tensor_cores.cuh"

namespace slora::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kCluster = 2;
constexpr int kTileRows = 64;
constexpr int kBlockRows = 16;  // the unit that clusters share out
constexpr int kStageK = 64;     // 128 bytes a row
constexpr int kRowBytes = kStageK * 2;
// Floats a token of a finished tile; 4 more than its rows, so that a warp's stores meet all banks.
constexpr int kPitch = kTileRows + 4;

template <int kM>
struct Shape {
  static constexpr int kStageBytes = (kTileRows + kM) * kRowBytes;
  static constexpr int kPartialFloats = kTileRows * kM;
  static constexpr int kOutFloats = kPitch * kM;
  static constexpr int kStages = kM == 16 ? 20 : kM == 32 ? 16 : kM == 64 ? 10 : 4;
  // Ring; sums of one slice; the finished tile (or sums of another slice); two tiles from the other
  // block.
  static constexpr size_t kSharedBytes =
      size_t{kStages} * kStageBytes +
      sizeof(float) * (size_t{kPartialFloats} + kOutFloats + 2 * size_t{kPartialFloats});
};

template <typename T, typename Y, int kM>
__global__ void __launch_bounds__(kThreads, 1) gemm_rows_kernel(GemmParams params) {
  using S = Shape<kM>;
  constexpr int kTokenTiles = kM / 8;
  extern __shared__ __align__(128) uint8_t shared[];
  float* const partial = reinterpret_cast<float*>(shared + S::kStages * S::kStageBytes);
  float* const finished = partial + S::kPartialFloats;
  float* const incoming = finished + S::kOutFloats;

  allow_next();
  const int thread = static_cast<int>(threadIdx.x);
  const int warp = thread / 32, lane = thread % 32;
  const int half = warp % 2, slice = warp / 2;
  const uint32_t rank = cluster_rank();
  // Both blocks must have begun before one writes the other's shared memory.
  cluster_arrive_together();

  const int64_t clusters = gridDim.x / kCluster, cluster = blockIdx.x / kCluster;
  const int64_t num_blocks = params.n / kBlockRows;
  const int64_t first = num_blocks * cluster / clusters * kBlockRows;
  const int64_t last = num_blocks * (cluster + 1) / clusters * kBlockRows;
  const int64_t k_stages = (params.k + kStageK - 1) / kStageK;
  const int64_t stage_begin = k_stages * rank / kCluster;
  const int num_k_stages = static_cast<int>(k_stages * (rank + 1) / kCluster - stage_begin);
  const int num_tiles = static_cast<int>((last - first + kTileRows - 1) / kTileRows);
  const int num_stages = num_tiles * num_k_stages;

  // 16-byte pieces of a stage: 8 a row. Odd rows are permuted so that eight rows of a matrix load
  // meet all banks.
  const int piece = thread % 8, piece_row = thread / 8;  // rows piece_row, + 32, ...
  const auto place = [](int row, int chunk) {
    return static_cast<uint32_t>(row * kRowBytes + ((chunk ^ (row % 8)) * 16));
  };
  const uint32_t ring = shared_address(shared);
  const auto copy_weights = [&](int slot, int tile, int k_stage) {
    const int64_t k = (stage_begin + k_stage) * kStageK + piece * 8;
    const bool is_inside = k < params.k;
    const int64_t tile_row = first + int64_t{tile} * kTileRows;
#pragma unroll
    for (int i = 0; i < kTileRows / 32; ++i) {
      const int row = piece_row + 32 * i;
      // Rows past the range are another cluster's; their sums are dropped.
      if (tile_row + row < last)
        copy_16_of_run(
            ring + static_cast<uint32_t>(slot * S::kStageBytes) + place(row, piece),
            static_cast<const T*>(params.w) + (is_inside ? (tile_row + row) * params.k + k : 0),
            is_inside);
    }
  };
  const auto copy_x = [&](int slot, int k_stage) {
    const int64_t k = (stage_begin + k_stage) * kStageK + piece * 8;
    const bool is_inside = k < params.k;
#pragma unroll
    for (int i = 0; i < (kM + 31) / 32; ++i) {
      const int row = piece_row + 32 * i;
      if (row < params.m)
        copy_16_of_run(
            ring + static_cast<uint32_t>(slot * S::kStageBytes + kTileRows * kRowBytes) +
                place(row, piece),
            static_cast<const T*>(params.x) + (is_inside ? row * params.x_stride + k : 0),
            is_inside);
    }
  };

  // The first stages' weights, each a group; x follows by plain loads, so that no group waits for
  // it.
  constexpr int kAhead = S::kStages - 1;
  int load_tile = 0, load_k = 0;
  const auto advance = [&] {
    if (++load_k == num_k_stages) {
      load_k = 0;
      ++load_tile;
    }
  };
  for (int i = 0; i < kAhead; ++i) {
    if (i < num_stages) {
      copy_weights(i, load_tile, load_k);
      advance();
    }
    commit_copies();
  }
  wait_for_inputs();
  {
    // Eight loads of a thread in flight at once.
    constexpr int kBatch = 8;
    constexpr int kPiecesAStage = kM * 8;
    const int count = min(kAhead, num_stages) * kPiecesAStage;
    for (int begin = thread; begin < count; begin += kBatch * kThreads) {
      uint4 values[kBatch];
#pragma unroll
      for (int b = 0; b < kBatch; ++b) {
        const int at = begin + b * kThreads;
        const int stage = at / kPiecesAStage, row = at / 8 % kM;
        const int64_t k = (stage_begin + stage % num_k_stages) * kStageK + at % 8 * 8;
        values[b] = make_uint4(0, 0, 0, 0);
        if (at < count && row < params.m && k < params.k)
          values[b] = *reinterpret_cast<const uint4*>(static_cast<const T*>(params.x) +
                                                      row * params.x_stride + k);
      }
#pragma unroll
      for (int b = 0; b < kBatch; ++b) {
        const int at = begin + b * kThreads;
        if (at < count)
          *reinterpret_cast<uint4*>(shared + at / kPiecesAStage * S::kStageBytes +
                                    kTileRows * kRowBytes + place(at / 8 % kM, at % 8)) = values[b];
      }
    }
  }
  cluster_wait_together();

  float sums[2][kTokenTiles][4];
  const auto clear = [&] {
#pragma unroll
    for (int i = 0; i < 2; ++i)
#pragma unroll
      for (int j = 0; j < kTokenTiles; ++j)
#pragma unroll
        for (int e = 0; e < 4; ++e) sums[i][j][e] = 0;
  };
  // A lane's sums in `partial`-shaped memory, lanes side by side.
  const auto at = [&](int i, int j, int e) {
    return (((half * 2 + i) * kTokenTiles + j) * 4 + e) * 32 + lane;
  };
  const auto put = [&](float* to) {
#pragma unroll
    for (int i = 0; i < 2; ++i)
#pragma unroll
      for (int j = 0; j < kTokenTiles; ++j)
#pragma unroll
        for (int e = 0; e < 4; ++e) to[at(i, j, e)] = sums[i][j][e];
  };
  const auto add = [&](const float* from) {
#pragma unroll
    for (int i = 0; i < 2; ++i)
#pragma unroll
      for (int j = 0; j < kTokenTiles; ++j)
#pragma unroll
        for (int e = 0; e < 4; ++e) sums[i][j][e] += from[at(i, j, e)];
  };

  const int a_row = half * 32 + lane % 16, a_chunk = slice * 2 + lane / 16;
  const int b_row = lane / 16 * 8 + lane % 8, b_chunk = slice * 2 + lane / 8 % 2;
  int slot = 0;
  for (int tile = 0; tile < num_tiles; ++tile) {
    clear();
    const int64_t tile_row = first + int64_t{tile} * kTileRows;
    const int rows = static_cast<int>(min(last - tile_row, int64_t{kTileRows}));
    for (int k_stage = 0; k_stage < num_k_stages; ++k_stage) {
      wait_copies<kAhead - 1>();
      __syncthreads();  // this stage is everyone's; the one before is done with
      {
        const int free_slot = slot == 0 ? S::kStages - 1 : slot - 1;
        if (load_tile < num_tiles) {
          copy_weights(free_slot, load_tile, load_k);
          copy_x(free_slot, load_k);
          advance();
        }
        commit_copies();
      }
      const uint32_t weights = ring + static_cast<uint32_t>(slot * S::kStageBytes);
      const uint32_t tokens = weights + kTileRows * kRowBytes;
      uint32_t a[2][4];
      load_matrices(a[0], weights + place(a_row, a_chunk));
      load_matrices(a[1], weights + place(a_row + 16, a_chunk));
#pragma unroll
      for (int j = 0; j < kTokenTiles / 2; ++j) {
        uint32_t b[4];
        load_matrices(b, tokens + place(b_row + 16 * j, b_chunk));
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          mma<T>(sums[i][2 * j], a[i][0], a[i][1], a[i][2], a[i][3], b[0], b[1]);
          mma<T>(sums[i][2 * j + 1], a[i][0], a[i][1], a[i][2], a[i][3], b[2], b[3]);
        }
      }
      slot = slot + 1 == S::kStages ? 0 : slot + 1;
    }
    // Slices 2 and 3 into 0 and 1, then 1 into 0. `finished` may still be read for the tile before
    // by no one: a barrier of the stages above lies between.
    if (slice >= 2) put(slice == 2 ? partial : finished);
    __syncthreads();
    if (slice < 2) add(slice == 0 ? partial : finished);
    __syncthreads();
    if (slice == 1) put(partial);
    __syncthreads();
    if (slice == 0) {
      add(partial);
#pragma unroll
      for (int i = 0; i < 2; ++i)
#pragma unroll
        for (int j = 0; j < kTokenTiles; ++j)
#pragma unroll
          for (int e = 0; e < 4; ++e) {
            const int row = half * 32 + i * 16 + lane / 4 + (e >= 2 ? 8 : 0);
            const int token = j * 8 + lane % 4 * 2 + e % 2;
            finished[token * kPitch + row] = sums[i][j][e];
          }
    }
    __syncthreads();
    float* const other = incoming + tile % 2 * S::kPartialFloats;
    constexpr int kFours = kTileRows / 4;
    if (rank != 0) {
      for (int i = thread; i < params.m * kFours; i += kThreads) {
        const int token = i / kFours, row = i % kFours * 4;
        const float4 value = *reinterpret_cast<const float4*>(finished + token * kPitch + row);
        store_remote(remote_address(shared_address(other + token * kTileRows + row), 0), value);
      }
    }
    // The buffer of two tiles ago is free: both have passed the barrier of the tile between.
    cluster_arrive_together();
    cluster_wait_together();
    if (rank == 0) {
      for (int i = thread; i < params.m * kFours; i += kThreads) {
        const int token = i / kFours, row = i % kFours * 4;
        if (row >= rows) continue;
        const float4 mine = *reinterpret_cast<const float4*>(finished + token * kPitch + row);
        const float4 theirs = *reinterpret_cast<const float4*>(other + token * kTileRows + row);
        float value[4] = {mine.x + theirs.x, mine.y + theirs.y, mine.z + theirs.z,
                          mine.w + theirs.w};
        Y* y = static_cast<Y*>(params.y) + token * params.y_stride + tile_row + row;
        struct alignas(4 * sizeof(Y)) Four {
          Y v[4];
        } out;
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          if (params.bias) value[e] += params.bias[tile_row + row + e];
          out.v[e] = from_float<Y>(value[e]);
        }
        *reinterpret_cast<Four*>(y) = out;
      }
    }
  }
  wait_copies<0>();
}

template <typename T, typename Y, int kM>
int32_t run(void* stream, const GemmParams& params) {
  const auto kernel = gemm_rows_kernel<T, Y, kM>;
  if (const int32_t status = allow_shared(kernel, Shape<kM>::kSharedBytes)) return status;
  const int64_t clusters =
      std::min<int64_t>(params.n / kBlockRows, device_of(stream).sm_count / kCluster);
  return launch(stream, kernel, dim3(static_cast<unsigned>(clusters * kCluster)), dim3(kThreads),
                Shape<kM>::kSharedBytes, kCluster, params);
}

template <typename T, typename Y>
int32_t run_rows(void* stream, const GemmParams& params) {
  if (params.m <= 16) return run<T, Y, 16>(stream, params);
  if (params.m <= 32) return run<T, Y, 32>(stream, params);
  if (params.m <= 64) return run<T, Y, 64>(stream, params);
  return run<T, Y, 128>(stream, params);
}

}  // namespace

bool can_gemm_rows(const device::cuda::CudaDevice& device, const GemmParams& params) {
  if (device.sm_version < 90 || params.weight_dtype == DType::kF32) return false;
  if (params.m > kMaxGemmRows || params.n % kBlockRows != 0 || params.k % 8 != 0 ||
      params.k < kCluster * kStageK)
    return false;
  if (params.x_stride % 8 != 0 || params.y_stride % 4 != 0) return false;
  for (const void* pointer : {params.x, params.w, static_cast<const void*>(params.y)})
    if (reinterpret_cast<uintptr_t>(pointer) % 16 != 0) return false;
  return static_cast<int64_t>(Shape<128>::kSharedBytes) <= device.max_shared_bytes &&
         static_cast<int64_t>(Shape<16>::kSharedBytes) <= device.max_shared_bytes;
}

int32_t gemm_rows(void* stream, const GemmParams& params) {
  const bool is_wide = params.y_dtype == DType::kF32;
  if (params.weight_dtype == DType::kBF16) {
    return is_wide ? run_rows<bf16, float>(stream, params) : run_rows<bf16, bf16>(stream, params);
  }
  return is_wide ? run_rows<__half, float>(stream, params)
                 : run_rows<__half, __half>(stream, params);
}

}  // namespace slora::kernels::cuda
