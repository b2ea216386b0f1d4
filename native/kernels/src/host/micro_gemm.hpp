// Inner loops of the base matmuls: a register tile of rows x columns walks along k in steps of one
// weight line.
#pragma once

#include "src/host/isa.hpp"

namespace slora::kernels {
namespace {

// What one step along k is for a bf16 weight (two k) and a float weight (one k).
struct Bf16Steps {
  using Element = uint16_t;
  using Weight = Vw;
  using Input = PairBroadcast;
  static constexpr int64_t kPerStep = 2;
  static Weight load(const uint16_t* w) { return vload_pairs(w); }
  static Input broadcast(const uint16_t* x) { return broadcast_pair(x); }
  static Vf step(Vf acc, Weight w, Input x) { return vdot_pairs(acc, w, x); }
};
struct F32Steps {
  using Element = float;
  using Weight = Vf;
  using Input = Vf;
  static constexpr int64_t kPerStep = 1;
  static Weight load(const float* w) { return vload(w); }
  static Input broadcast(const float* x) { return vset(*x); }
  static Vf step(Vf acc, Weight w, Input x) { return vfma(x, w, acc); }
};

// A run of steps of one tile. Accumulators start from y (or zero) and go back to it, so a long k
// may be cut anywhere.
template <typename Steps>
struct TileRun {
  const typename Steps::Element* x;
  int64_t x_stride;
  const typename Steps::Element* w;  // [num_steps][64][kPerStep]
  int64_t num_steps;
  bool from_zero;
  float* y;
  int64_t y_stride;
  int32_t num_columns;   // <= 64
  const float* bias;     // added after the run; null: none
  const char* prefetch;  // fetched along the way, prefetch_lines a step
  int32_t prefetch_lines;
};

inline Vf load_columns(const float* p, int32_t column, int32_t num_columns) {
  if (column + kLanes <= num_columns) return vload(p + column);
  return column < num_columns ? vload_n(p + column, num_columns - column) : vzero();
}
inline void store_columns(float* p, int32_t column, int32_t num_columns, Vf x) {
  if (column + kLanes <= num_columns) {
    vstore(p + column, x);
  } else if (column < num_columns) {
    vstore_n(p + column, num_columns - column, x);
  }
}

template <typename Steps, int kRows, int kVectors, int kPrefetchLines>
void run_tile(const TileRun<Steps>& run, int32_t first_column) {
  Vf acc[kRows][kVectors];
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 8
    for (int j = 0; j < kVectors; ++j) {
      acc[i][j] = run.from_zero ? vzero()
                                : load_columns(run.y + i * run.y_stride, first_column + j * kLanes,
                                               run.num_columns);
    }
  }
  const typename Steps::Element* x = run.x;
  const typename Steps::Element* w = run.w + first_column * Steps::kPerStep;
  const char* prefetch = run.prefetch;
  for (int64_t step = 0; step < run.num_steps; ++step) {
    typename Steps::Weight weights[kVectors];
#pragma GCC unroll 8
    for (int j = 0; j < kVectors; ++j) weights[j] = Steps::load(w + j * kLanes * Steps::kPerStep);
#pragma GCC unroll 8
    for (int line = 0; line < kPrefetchLines; ++line)
      __builtin_prefetch(prefetch + line * 64, 0, kPrefetchLines == 1 ? 2 : 3);
    prefetch += kPrefetchLines * 64;
#pragma GCC unroll 8
    for (int i = 0; i < kRows; ++i) {
      const typename Steps::Input input = Steps::broadcast(x + i * run.x_stride);
#pragma GCC unroll 8
      for (int j = 0; j < kVectors; ++j) acc[i][j] = Steps::step(acc[i][j], weights[j], input);
    }
    x += Steps::kPerStep;
    w += kBlockColumns * Steps::kPerStep;
  }
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 8
    for (int j = 0; j < kVectors; ++j) {
      const int32_t column = first_column + j * kLanes;
      if (run.bias) acc[i][j] = vadd(acc[i][j], load_columns(run.bias, column, run.num_columns));
      store_columns(run.y + i * run.y_stride, column, run.num_columns, acc[i][j]);
    }
  }
}

template <typename Steps, int kRows>
void run_rows(const TileRun<Steps>& run) {
  constexpr int kVectors = kRows == 1 ? kRowVectors : kTileVectors;
  for (int32_t column = 0; column < run.num_columns; column += kVectors * kLanes) {
    // Only the first pass over the columns fetches.
    const int32_t lines = kFetchesWeights && column == 0 ? run.prefetch_lines : 0;
    if constexpr (kFetchesWeights) {
      if (lines == 4) run_tile<Steps, kRows, kVectors, 4>(run, column);
      if (lines == 2) run_tile<Steps, kRows, kVectors, 2>(run, column);
      if (lines == 1) run_tile<Steps, kRows, kVectors, 1>(run, column);
    }
    if (lines == 0) run_tile<Steps, kRows, kVectors, 0>(run, column);
  }
}

// Runs a tile of `num_rows` rows, kRows at most.
template <typename Steps, int kRows>
void run_rows_up_to(const TileRun<Steps>& run, int64_t num_rows) {
  if constexpr (kRows > 1) {
    if (num_rows < kRows) return run_rows_up_to<Steps, kRows - 1>(run, num_rows);
  }
  run_rows<Steps, kRows>(run);
}

// Bytes of weights that stay in a cache while all tiles of rows pass over them. A few tiles: half
// the first level, so that the next panel arrives from memory behind the work on this one. Many: a
// good part of the second level, where weights arrive fast enough and y, whose rows lie a power of
// two apart, is touched once for most k.
constexpr int64_t kPanelBytes = 16 << 10;
constexpr int64_t kTallPanelBytes = 256 << 10;
// How far ahead of a single tile weights are fetched: about memory latency times a thread's
// bandwidth.
constexpr int64_t kStreamAheadBytes = 6 << 10;

// Of the four lines of a step, how many the tile fetches.
inline int32_t prefetch_lines_of(int64_t tile, int64_t num_tiles) {
  if (num_tiles == 1) return 4;
  if (num_tiles == 2) return 2;
  if (num_tiles == 3) return tile == 0 ? 2 : 1;
  return tile < 4 ? 1 : 0;
}

template <typename Steps>
void gemm_block(const GemmBlock& block) {
  using Element = typename Steps::Element;
  constexpr int64_t kStepBytes =
      kBlockColumns * Steps::kPerStep * static_cast<int64_t>(sizeof(Element));
  const Element* x = static_cast<const Element*>(block.x);
  const Element* w = static_cast<const Element*>(block.w);
  const int64_t num_steps = (block.k + Steps::kPerStep - 1) / Steps::kPerStep;
  const int64_t num_tiles = (block.m + kTileRows - 1) / kTileRows;
  const int64_t panel_bytes = num_tiles <= 2 ? kPanelBytes : kTallPanelBytes;
  const int64_t panel_steps = num_tiles == 1 ? num_steps : panel_bytes / kStepBytes;
  for (int64_t first_step = 0; first_step < num_steps; first_step += panel_steps) {
    const int64_t run_steps =
        first_step + panel_steps < num_steps ? panel_steps : num_steps - first_step;
    TileRun<Steps> run;
    run.w = w + first_step * kBlockColumns * Steps::kPerStep;
    run.x_stride = block.x_stride;
    run.num_steps = run_steps;
    run.from_zero = first_step == 0;
    run.y_stride = block.y_stride;
    run.num_columns = block.num_columns;
    run.bias = first_step + run_steps == num_steps ? block.bias : nullptr;
    // One tile fetches what it will read itself. Several share the fetching of the next panel (at
    // the end of this block that of the next block, since blocks are contiguous): four lines a
    // step, 4, 2 + 2, 2 + 1 + 1 or 1 + 1 + 1 + 1.
    const char* panel = reinterpret_cast<const char*>(run.w);
    int64_t lines_done = 0;
    for (int64_t tile = 0; tile < num_tiles; ++tile) {
      const int64_t row = tile * block.m / num_tiles;
      const int64_t end_row = (tile + 1) * block.m / num_tiles;
      run.prefetch_lines = prefetch_lines_of(tile, num_tiles);
      run.prefetch = num_tiles == 1 ? panel + kStreamAheadBytes
                                    : panel + run_steps * (kStepBytes + lines_done * 64);
      lines_done += run.prefetch_lines;
      run.x = x + row * block.x_stride + first_step * Steps::kPerStep;
      run.y = block.y + row * block.y_stride;
      run_rows_up_to<Steps, kTileRows>(run, end_row - row);
    }
  }
}

}  // namespace
}  // namespace slora::kernels
