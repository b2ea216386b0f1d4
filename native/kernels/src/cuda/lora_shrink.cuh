// What the shrink of long segments is made of: a tile's columns, its stages in shared memory, and
// the sum of its parts in a cluster.
#pragma once

#include <cooperative_groups.h>

#include "src/cuda/async_copy.cuh"
#include "src/cuda/lora_common.cuh"

namespace slora::kernels::cuda {

inline constexpr int kTileK = 64;  // elements of in_dim a stage: a row of it is 128 bytes
inline constexpr int kTileThreads = 256;

// Byte offset of 16-byte piece `piece` of row `row` in a stage's tile. Rows of 128 bytes share
// their banks; turning the pieces by the row keeps eight rows of one column apart.
__device__ __forceinline__ uint32_t swizzled(int32_t row, int32_t piece) {
  return static_cast<uint32_t>(row * 128 + ((piece ^ (row & 7)) << 4));
}

// Where one column of the tile comes from and goes to: one rank of one fused module of one entry.
struct ShrinkColumn {
  const void* a;     // null: none
  int64_t t;         // of the segment's row 0
  int32_t t_stride;  // floats a row
  int32_t is_aligned;
};

template <typename T>
__device__ ShrinkColumn find_column(const LoraShrinkParams& p, const LoraUnit& unit,
                                    int32_t column) {
  for (int32_t e = unit.entry_begin; e < unit.entry_end; ++e) {
    const LoraEntry entry = p.batch.entries[e];
    const LoraAdapterRef& adapter = p.batch.adapters[entry.adapter_idx];
    for (int32_t j = 0; j < p.num_fused; ++j) {
      const core::LoraModule* module = module_of(p.batch, adapter, p.layer_idx, p.module_idx[j]);
      const int32_t lora_rank = module->lora_rank;
      if (column < lora_rank) {
        const LoraRun run = make_run(p.slice, p.page_bytes, sizeof(T),
                                     p.batch.pages + adapter.page_offset, module->a, p.in_dim);
        return {run.row<T>(static_cast<uint32_t>(column)),
                entry.t_offset + static_cast<int64_t>(j) * unit.rows * entry.t_stride + column,
                entry.t_stride, run.is_aligned()};
      }
      column -= lora_rank;
    }
  }
  return {nullptr, 0, 0, 1};
}

// Whom a tile's launch is for. kAny: any device, its parts written one by one.
enum class TileKind { kAny, kSummed, kSummedBesidePieces };

// A tile's stages. What they take of the first-level cache is missing to whoever runs on the same
// multiprocessor, so beside pieces there are fewer: three ask for enough (docs/benchmarks.md).
template <int kColumns, TileKind kKind>
struct ShrinkTile {
  static constexpr int kStageBytes = (kPrefillTokens + kColumns) * kTileK * 2;
  static constexpr int kStages = kKind == TileKind::kSummedBesidePieces ? 3
                                 : kColumns <= 64                       ? 6
                                 : kKind == TileKind::kSummed           ? 5
                                                                        : 4;
  static constexpr int kBytes = kStages * kStageBytes;
  // With the table of columns; of 8.0, whose blocks may have this much, every kind must be able.
  static constexpr int kAllBytes = kBytes + kColumns * static_cast<int>(sizeof(ShrinkColumn));
  static_assert(kKind != TileKind::kAny || kAllBytes <= 166912);
};

// The blocks of a cluster hold the parts of one tile: each leaves its own in its shared memory,
// sums a share of the rows over all blocks in order, and writes it. Not before the last has read
// may any block go on.
template <int kColumns>
__device__ __forceinline__ void sum_in_cluster(const float (&acc)[kColumns / 16][4], float* tile,
                                               float* t, const LoraUnit& unit,
                                               const ShrinkColumn (&columns)[kColumns]) {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
  constexpr int kStride = kColumns + 8;  // eight rows apart in banks
  const auto cluster = cooperative_groups::this_cluster();
  const int32_t thread = static_cast<int32_t>(threadIdx.x);
  const int32_t first_row = thread / 32 % 4 * 16 + thread % 32 / 4;
  const int32_t first_column = thread / 128 * (kColumns / 2) + thread % 4 * 2;
  wait_copies<0>();
  __syncthreads();  // nobody reads the stages any more
#pragma unroll
  for (int n = 0; n < kColumns / 16; ++n) {
    float* const to = tile + first_row * kStride + first_column + n * 8;
    *reinterpret_cast<float2*>(to) = make_float2(acc[n][0], acc[n][1]);
    *reinterpret_cast<float2*>(to + 8 * kStride) = make_float2(acc[n][2], acc[n][3]);
  }
  cluster.sync();  // all parts are there
  const int32_t parts = static_cast<int32_t>(gridDim.x);
  const int32_t share = kPrefillTokens / parts;
  const int32_t begin = static_cast<int32_t>(blockIdx.x) * share;
  for (int32_t i = thread; i < share * (kColumns / 4); i += kTileThreads) {
    const int32_t row = begin + i / (kColumns / 4);
    const int32_t first = i % (kColumns / 4) * 4;
    if (row >= unit.count || !columns[first].a) continue;
    // All parts are asked for before any is added.
    float4 part[kMostParts];
#pragma unroll
    for (int k = 0; k < kMostParts; ++k) {
      if (k < parts) {
        part[k] = *reinterpret_cast<const float4*>(
            cluster.map_shared_rank(tile, static_cast<unsigned>(k)) + row * kStride + first);
      }
    }
    float sum[4] = {};
#pragma unroll
    for (int k = 0; k < kMostParts; ++k) {
      if (k >= parts) break;
      sum[0] += part[k].x;
      sum[1] += part[k].y;
      sum[2] += part[k].z;
      sum[3] += part[k].w;
    }
#pragma unroll
    for (int c = 0; c < 4; ++c) {
      const ShrinkColumn& column = columns[first + c];
      if (column.a) t[column.t + static_cast<int64_t>(unit.first + row) * column.t_stride] = sum[c];
    }
  }
  cluster.sync();  // all parts have been read
#endif
}

}  // namespace slora::kernels::cuda
