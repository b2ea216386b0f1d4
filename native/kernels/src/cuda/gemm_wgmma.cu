// y = x W^T for tens of rows of x, by warpgroups (compute capability 9.0).
//
// Two blocks, a cluster, share a range of W's rows, cut to 8 rows so that every cluster has the
// same to read; each takes half of K. A block walks its half once, for up to six tiles of 64 rows
// at a time: their sums stay in registers, so x is read once a block and not once a tile. Products
// have W's rows as the tile's rows and x's as its columns.
//
// Four warps copy W in pieces of 64 rows and 128 k, one copies x; two warpgroups multiply, the
// range's tiles in turn. Pieces go through rings with a barrier full and a barrier empty each. W's
// ring begins to fill before the kernel before this one has ended. (All copying warps have a part
// of every piece: a piece that is there says that all before it are, so a warpgroup that waits for
// one never takes the phase of the piece before it in the slot for its own.)
//
// The blocks' sums meet through distributed shared memory: each block finishes half of every lane's
// sums and adds the other's to its own: of two, so the result does not depend on timing.
// They arrive at a place and at barriers of their own: only the lanes that pass them on wait.
#include "gemm_wgmma.cuh"

#include <algorithm>

#include "src/cuda/async_copy.cuh"
#include "src/cuda/cluster.cuh"
#include "src/cuda/lora_columns.cuh"
#include "wgmma.cuh"

namespace slora::kernels::cuda {
namespace {

constexpr int kGroups = 2;  // warpgroups that multiply
constexpr int kWeightWarps = 4;
constexpr int kCluster = 2;
constexpr int kUpdateWarps = 8;  // where there is an update
template <typename Update>
inline constexpr int kThreads = 128 * kGroups +
                                32 * (kWeightWarps + 1 + (Update::kIsSome ? kUpdateWarps : 0));
constexpr int kBlockRows = 8;  // the unit that clusters share out
constexpr int kTileRows = 64;
constexpr int kStageK = 128;  // two columns of 64
constexpr int kPieceBytes = kTileRows * kStageK * 2;
constexpr int kColumnBytes = kTileRows * 128;
// Of a block. What it leaves of a multiprocessor's memory is the first-level cache of the kernels
// behind it, attention above all: while blocks follow one another it stays as this kernel had it.
constexpr int kMostShared = 162 * 1024 + 512;

// Rows of W of a cluster whose sums an update has room for.
constexpr int kShortUpdate = kGroups * kTileRows, kLongUpdate = 192;

// kM: columns of a product, at least x's rows. kTiles: of a warpgroup. kHasUpdate: what adapters
// add to the tokens that a block finishes has a place of its own.
template <int kM, int kTiles, bool kHasUpdate>
struct Shape {
  static constexpr int kSums = kM / 2;             // of a lane and tile
  static constexpr int kShare = kSums / kCluster;  // of them that a block finishes
  static constexpr int kXBytes = kM * kStageK * 2;
  static constexpr int kIncomingBytes = kGroups * kTiles * kShare * 128 * 4;
  static constexpr int kUpdatePitch = (kTiles == 1 ? kShortUpdate : kLongUpdate) + 4;  // floats
  static constexpr int kUpdateFloats = kM / kCluster * kUpdatePitch;
  static constexpr int kUpdateBytes =
      kHasUpdate ? kUpdateFloats * 4 + static_cast<int>(sizeof(ColumnRoom<kM / kCluster>)) : 0;
  // x comes from the second-level cache; where a block has one tile or two, it takes a piece of x
  // for each one or two of W.
  static constexpr int kXSlots = kTiles == 1 ? (kHasUpdate ? 3 : 4) : 2;
  static constexpr int kSlots =
      (kMostShared - 1024 - kIncomingBytes - kUpdateBytes - kXSlots * kXBytes) / kPieceBytes;
  static constexpr int kSharedBytes =
      1024 + kSlots * kPieceBytes + kXSlots * kXBytes + kIncomingBytes + kUpdateBytes;
  static_assert(kShare % 4 == 0);
  // A warpgroup's next piece is never a whole ring away.
  static_assert(kSlots > kGroups * kTiles);
};

template <int kSlots, int kXSlots>
struct Barriers {
  uint64_t full[kSlots], empty[kSlots], x_full[kXSlots], x_empty[kXSlots];
  // Of each warpgroup: the other block's sums are there; those sent there were read.
  uint64_t sums_full[kGroups], sums_free[kGroups];
  uint64_t update_full;
};

// A place in a ring and the parity of its phase.
template <int kSlots>
struct Place {
  uint32_t slot = 0, parity = 0;
  __device__ __forceinline__ void advance() {
    if (++slot == kSlots) {
      slot = 0;
      parity ^= 1;
    }
  }
  __device__ __forceinline__ void advance(int32_t by) {
    for (int32_t i = 0; i < by; ++i) advance();
  }
};

template <typename T, int kM, int kTiles, typename Update>
__global__ void __launch_bounds__(kThreads<Update>, 1)
    gemm_wgmma_kernel(const GemmParams params, const __grid_constant__ Update update) {
  using S = Shape<kM, kTiles, Update::kIsSome>;
  constexpr int kSums = S::kSums, kShare = S::kShare, kXBytes = S::kXBytes;
  allow_next();
  extern __shared__ uint8_t shared[];
  __shared__ Barriers<S::kSlots, S::kXSlots> barriers;
  const uint32_t ring = (shared_address(shared) + 1023) / 1024 * 1024;
  const uint32_t x_ring = ring + static_cast<uint32_t>(S::kSlots * kPieceBytes);
  const uint32_t incoming = x_ring + static_cast<uint32_t>(S::kXSlots * kXBytes);
  auto* const updates = reinterpret_cast<float*>(
      shared + (incoming + S::kIncomingBytes - shared_address(shared)));  // [kM / 2, kUpdatePitch]

  const int32_t warp = __shfl_sync(0xffffffffu, static_cast<int32_t>(threadIdx.x) / 32, 0);
  const int32_t lane = static_cast<int32_t>(threadIdx.x) % 32;
  const int32_t rank = cluster_rank();
  if (threadIdx.x == 0) {
    for (int i = 0; i < S::kSlots; ++i) {
      barrier_init(shared_address(&barriers.full[i]), 32 * kWeightWarps);
      barrier_init(shared_address(&barriers.empty[i]), 4);
    }
    for (int i = 0; i < S::kXSlots; ++i) {
      barrier_init(shared_address(&barriers.x_full[i]), 32);
      barrier_init(shared_address(&barriers.x_empty[i]), 4 * kGroups);
    }
    for (int i = 0; i < kGroups; ++i) {
      barrier_init(shared_address(&barriers.sums_full[i]), 128);
      barrier_init(shared_address(&barriers.sums_free[i]), 128);
    }
    barrier_init(shared_address(&barriers.update_full), kUpdateWarps);
  }
  __syncthreads();
  cluster_arrive_together();

  const int64_t clusters = gridDim.x / kCluster, cluster = blockIdx.x / kCluster;
  const int64_t num_blocks = params.n / kBlockRows;
  const int64_t first_block = num_blocks * cluster / clusters;
  const auto blocks = static_cast<int32_t>(num_blocks * (cluster + 1) / clusters - first_block);
  const int64_t k_stages = (params.k + kStageK - 1) / kStageK;
  const int64_t k_begin = k_stages * rank / kCluster * kStageK;
  const auto num_k_stages =
      static_cast<int32_t>(k_stages * (rank + 1) / kCluster - k_stages * rank / kCluster);
  // Ranges longer than the sums have room for are walked in passes.
  constexpr int32_t kPassBlocks = kGroups * kTiles * kTileRows / kBlockRows;
  const int32_t passes = (blocks + kPassBlocks - 1) / kPassBlocks;
  const auto pass_begin = [&](int32_t pass) {  // row of the range
    return blocks * pass / passes * kBlockRows;
  };
  const int64_t first_row = first_block * kBlockRows;

  if constexpr (Update::kIsSome) {
    if (warp >= 4 * kGroups + 1 + kWeightWarps) {
      // ---- what adapters add to the tokens that this block finishes
      const int32_t first_token = rank * (kM / kCluster);
      const int32_t tokens = min(static_cast<int32_t>(params.m) - first_token, kM / kCluster);
      if (tokens > 0) {
        ColumnUpdates<T, kM / kCluster, kUpdateWarps, 1>(
            update, *reinterpret_cast<ColumnRoom<kM / kCluster>*>(updates + S::kUpdateFloats),
            static_cast<int32_t>(first_row), blocks * kBlockRows, first_token, tokens,
            warp - (4 * kGroups + 1 + kWeightWarps), updates, S::kUpdatePitch);
      }
      __syncwarp();
      if (lane == 0) barrier_arrive(shared_address(&barriers.update_full));
      cluster_wait_together();
      return;
    }
  }

  if (warp >= 4 * kGroups + 1) {
    // ---- W, two rows of eight a copy
    const int32_t row_of_lane = (warp - (4 * kGroups + 1)) * 2 + lane / 16, piece = lane % 16;
    constexpr int kRowsACopy = 2 * kWeightWarps;
    Place<S::kSlots> place;
    for (int32_t pass = 0; pass < passes; ++pass) {
      const int32_t begin = pass_begin(pass), end = pass_begin(pass + 1);
      const int32_t tiles = (end - begin + kTileRows - 1) / kTileRows;
      for (int32_t stage = 0; stage < num_k_stages; ++stage) {
        const int64_t k = k_begin + int64_t{stage} * kStageK + piece * 8;
        const bool is_inside = k < params.k;
        const T* from = static_cast<const T*>(params.w) +
                        (is_inside ? (first_row + begin + row_of_lane) * params.k + k : 0);
        const int64_t step = is_inside ? kRowsACopy * params.k : 0;
        for (int32_t tile = 0; tile < tiles; ++tile) {
          barrier_wait(shared_address(&barriers.empty[place.slot]), place.parity ^ 1);
          const int32_t rows = end - begin - tile * kTileRows;
          const uint32_t to =
              ring + place.slot * kPieceBytes + static_cast<uint32_t>(piece / 8 * kColumnBytes) +
              swizzled(static_cast<uint32_t>(row_of_lane), static_cast<uint32_t>(piece % 8));
#pragma unroll
          for (int i = 0; i < kTileRows / kRowsACopy; ++i) {
            // Rows past the range are another cluster's; their sums are dropped.
            if (i * kRowsACopy >= rows) break;
            copy_16_of_run(to + static_cast<uint32_t>(i * kRowsACopy * 128), from, is_inside);
            from += step;
          }
          arrive_after_copies(shared_address(&barriers.full[place.slot]));
          place.advance();
        }
      }
    }
    wait_copies<0>();
    cluster_wait_together();
    return;
  }

  if (warp == 4 * kGroups) {
    // ---- x
    wait_for_inputs();
    const int32_t row_of_lane = lane / 16, piece = lane % 16;
    Place<S::kXSlots> place;
    for (int32_t pass = 0; pass < passes; ++pass) {
      for (int32_t stage = 0; stage < num_k_stages; ++stage) {
        const int64_t k = k_begin + int64_t{stage} * kStageK + piece * 8;
        const bool is_inside = k < params.k;
        barrier_wait(shared_address(&barriers.x_empty[place.slot]), place.parity ^ 1);
        const T* from =
            static_cast<const T*>(params.x) + (is_inside ? row_of_lane * params.x_stride + k : 0);
        const uint32_t to =
            x_ring + place.slot * kXBytes + static_cast<uint32_t>(piece / 8 * (kM * 128));
        const int64_t step = is_inside ? 2 * params.x_stride : 0;
#pragma unroll 8
        for (int i = 0; i < kM / 2; ++i) {
          if (2 * i + row_of_lane < params.m)
            copy_16(to + swizzled(static_cast<uint32_t>(2 * i + row_of_lane),
                                  static_cast<uint32_t>(piece % 8)),
                    from, is_inside);
          from += step;
        }
        arrive_after_copies(shared_address(&barriers.x_full[place.slot]));
        place.advance();
      }
    }
    wait_copies<0>();
    cluster_wait_together();
    return;
  }

  // ---- products
  cluster_wait_together();
  const int32_t group = warp / 4, thread = static_cast<int32_t>(threadIdx.x) % 128;
  const int32_t g = lane / 4, c = lane % 4;
  Place<S::kSlots> place;
  Place<S::kXSlots> x_place;
  const auto release = [&](uint64_t* empty) {
    if (lane == 0) barrier_arrive(shared_address(empty));
  };
  const uint32_t sums_full = shared_address(&barriers.sums_full[group]);
  const uint32_t sums_free = shared_address(&barriers.sums_free[group]);
  const auto other = static_cast<uint32_t>(1 - rank);
  const auto tell_other = [&](uint32_t barrier) {
    barrier_arrive_remote(remote_address(barrier, other));
  };
  // Where four sums of a lane arrive.
  const auto incoming_of = [&](int32_t tile, int32_t four) {
    return incoming + static_cast<uint32_t>(
                          (((group * kTiles + tile) * (kShare / 4) + four) * 128 + thread) * 16);
  };
  for (int32_t pass = 0; pass < passes; ++pass) {
    const int32_t begin = pass_begin(pass), end = pass_begin(pass + 1);
    const int32_t tiles = (end - begin + kTileRows - 1) / kTileRows;
    float sums[kTiles][kSums];
    for (int32_t stage = 0; stage < num_k_stages; ++stage) {
      barrier_wait(shared_address(&barriers.x_full[x_place.slot]), x_place.parity);
      const uint32_t x_tile = x_ring + x_place.slot * kXBytes;
      int32_t tile = 0;
#pragma unroll
      for (int32_t t = 0; t < kTiles; ++t) {
        const int32_t own = kGroups * t + group;
        if (own < tiles) {
          place.advance(own - tile);
          barrier_wait(shared_address(&barriers.full[place.slot]), place.parity);
          publish_to_products();
          const uint32_t w_tile = ring + place.slot * kPieceBytes;
          open_products();
#pragma unroll
          for (int k = 0; k < kStageK / 16; ++k) {
            const auto column = static_cast<uint32_t>(k / 4),
                       at = static_cast<uint32_t>(k % 4 * 32);
            multiply_tiles<T>(sums[t], tile_descriptor(w_tile + column * kColumnBytes + at),
                              tile_descriptor(x_tile + column * (kM * 128) + at),
                              stage > 0 || k > 0);
          }
          commit_products();
          wait_products<0>();
          release(&barriers.empty[place.slot]);
          place.advance();
          tile = own + 1;
        }
      }
      place.advance(tiles - tile);
      release(&barriers.x_empty[x_place.slot]);
      x_place.advance();
    }

    // ---- the other block's half goes there, this block's comes
    if (pass > 0) barrier_wait_for_cluster(sums_free, static_cast<uint32_t>(pass - 1) & 1);
    float own[kTiles][kShare];
#pragma unroll
    for (int32_t t = 0; t < kTiles; ++t) {
#pragma unroll
      for (int i = 0; i < kShare; ++i) own[t][i] = rank == 0 ? sums[t][i] : sums[t][kShare + i];
    }
#pragma unroll
    for (int32_t t = 0; t < kTiles; ++t) {
      if (kGroups * t + group >= tiles) continue;
#pragma unroll
      for (int i = 0; i < kShare; i += 4) {
        float4 four;
        four.x = rank == 0 ? sums[t][kShare + i] : sums[t][i];
        four.y = rank == 0 ? sums[t][kShare + i + 1] : sums[t][i + 1];
        four.z = rank == 0 ? sums[t][kShare + i + 2] : sums[t][i + 2];
        four.w = rank == 0 ? sums[t][kShare + i + 3] : sums[t][i + 3];
        store_remote(remote_address(incoming_of(t, i / 4), other), four);
      }
    }
    tell_other(sums_full);
    barrier_wait_for_cluster(sums_full, static_cast<uint32_t>(pass) & 1);
    if constexpr (Update::kIsSome) barrier_wait(shared_address(&barriers.update_full), 0);
#pragma unroll
    for (int32_t t = 0; t < kTiles; ++t) {
      const int32_t tile = kGroups * t + group;
      if (tile >= tiles) continue;
#pragma unroll
      for (int i = 0; i < kShare; i += 2) {
        const int32_t idx = rank * kShare + i;
        // Of the range; and with it two tokens.
        const int32_t row = begin + tile * kTileRows + warp % 4 * 16 + idx % 4 / 2 * 8 + g;
        float theirs[2], value[2];
        asm volatile("ld.shared.v2.f32 {%0, %1}, [%2];"
                     : "=f"(theirs[0]), "=f"(theirs[1])
                     : "r"(incoming_of(t, i / 4) + static_cast<uint32_t>(i % 4 * 4)));
        const float bias = params.bias && row < end ? params.bias[first_row + row] : 0;
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          value[e] = own[t][i + e] + theirs[e] + bias;
          if constexpr (Update::kIsSome)
            value[e] += updates[(i / 4 * 8 + 2 * c + e) * S::kUpdatePitch + row];
        }
        // Rows g and g + 1 of a token lie side by side: of each pair of lanes the first takes both
        // rows of the first token, the second those of the second.
        const bool is_second = g & 1;
        const float got = __shfl_xor_sync(0xffffffffu, is_second ? value[0] : value[1], 4);
        const float low = is_second ? got : value[0], high = is_second ? value[1] : got;
        const int32_t token = idx / 4 * 8 + 2 * c + is_second;
        if (token >= params.m || row >= end) continue;
        const int64_t at = token * params.y_stride + first_row + row - is_second;
        if (params.y_dtype == DType::kF32) {
          *reinterpret_cast<float2*>(static_cast<float*>(params.y) + at) = {low, high};
        } else {
          *reinterpret_cast<uint32_t*>(static_cast<T*>(params.y) + at) = pack2<T>(low, high);
        }
      }
    }
    if (pass + 1 < passes) tell_other(sums_free);
  }
}

template <typename T, int kM, int kTiles, typename Update>
int32_t run(void* stream, const GemmParams& params, int64_t clusters, const Update& update) {
  constexpr size_t kSharedBytes = Shape<kM, kTiles, Update::kIsSome>::kSharedBytes;
  const auto kernel = gemm_wgmma_kernel<T, kM, kTiles, Update>;
  if (const int32_t status = allow_shared(kernel, kSharedBytes)) return status;
  return launch(stream, kernel, dim3(static_cast<unsigned>(clusters * kCluster)),
                dim3(kThreads<Update>), kSharedBytes, kCluster, params, update);
}

template <typename T, int kM, int kTiles>
int32_t run(void* stream, const GemmParams& params, int64_t clusters) {
  return run<T, kM, kTiles>(stream, params, clusters, NoUpdate{});
}

int64_t clusters_of(void* stream, const GemmParams& params) {
  return std::min<int64_t>(params.n / kBlockRows, device_of(stream).sm_count / kCluster);
}
int64_t rows_of_cluster(void* stream, const GemmParams& params) {
  return ceil_div(params.n / kBlockRows, clusters_of(stream, params)) * kBlockRows;
}

// Tiles of a warpgroup that leave room for an update's sums.
constexpr int kUpdateTiles = 2;

template <typename T>
int32_t run_updated(void* stream, const GemmParams& params) {
  const int64_t clusters = clusters_of(stream, params);
  const bool is_short = rows_of_cluster(stream, params) <= kGroups * kTileRows;
  const ColumnUpdate update = {*params.update, parts_of_rows(stream, *params.update)};
  if (params.m <= 16) {
    return is_short ? run<T, 16, 1>(stream, params, clusters, update)
                    : run<T, 16, kUpdateTiles>(stream, params, clusters, update);
  }
  return is_short ? run<T, 32, 1>(stream, params, clusters, update)
                  : run<T, 32, kUpdateTiles>(stream, params, clusters, update);
}

template <typename T>
int32_t run_rows(void* stream, const GemmParams& params) {
  if (params.update) return run_updated<T>(stream, params);
  const int64_t clusters = clusters_of(stream, params);
  const bool is_short = rows_of_cluster(stream, params) <= kGroups * kTileRows;
  if (params.m <= 16) {
    return is_short ? run<T, 16, 1>(stream, params, clusters)
                    : run<T, 16, 3>(stream, params, clusters);
  }
  return is_short ? run<T, 32, 1>(stream, params, clusters)
                  : run<T, 32, 3>(stream, params, clusters);
}

}  // namespace

bool can_gemm_wgmma(const GemmParams& params) {
  if (params.weight_dtype == DType::kF32 || params.m > kMaxWarpgroupRows ||
      params.n % kBlockRows != 0 || params.k % 8 != 0 || params.k < kCluster * kStageK)
    return false;
  if (params.x_stride % 8 != 0 || params.y_stride % 2 != 0) return false;
  for (const void* pointer : {params.x, params.w, static_cast<const void*>(params.y)})
    if (reinterpret_cast<uintptr_t>(pointer) % 16 != 0) return false;
  return true;
}

bool takes_update_wgmma(void* stream, const GemmParams& params) {
  return is_column_update(params) && rows_of_cluster(stream, params) <= kLongUpdate;
}

int32_t gemm_wgmma(void* stream, const GemmParams& params) {
  return params.weight_dtype == DType::kBF16 ? run_rows<bf16>(stream, params)
                                             : run_rows<__half>(stream, params);
}

}  // namespace slora::kernels::cuda
