// Shrink and expand of large decode batches: blocks that stay and stream.
//
// A block that does one piece of work spends most of its life on finding it: segment, entry,
// adapter, module, page, row are loads that wait for one another. Where each block has several
// pieces of work, it finds all of them at once, one a lane, and then streams their rows of A or B
// through a ring in shared memory without a gap. A thread copies into the ring what it reads from
// it itself, so the stream needs no barrier.
#include <algorithm>
#include <cstdlib>

#include "src/cuda/lora_common.cuh"

namespace slora::kernels::cuda {
namespace {

constexpr int kStreamThreads = 256;
constexpr int kStreamWarps = kStreamThreads / 32;
constexpr int kTasks = 32;  // a block finds at once
constexpr int kBlocksAnSm = 2;

// Odd, so that neighbouring tasks of a segment fall to different blocks in no rhythm of the ranks.
int32_t stream_blocks(void* stream) { return kBlocksAnSm * device_of(stream).sm_count - 1; }

// ---- the ring

// 16 bytes into this thread's place; zeros where there are none.
__device__ __forceinline__ void copy_async(void* to, const void* from, bool is_there) {
  const int bytes = is_there ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(
                   static_cast<uint32_t>(__cvta_generic_to_shared(to))),
               "l"(from), "r"(bytes)
               : "memory");
}
__device__ __forceinline__ void close_stage() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
template <int kStages>
__device__ __forceinline__ void await_stage() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kStages - 1) : "memory");
}

template <typename T>
__device__ __forceinline__ void fetch(uint4* to, const T* from, bool is_there, bool is_aligned,
                                      const void* anywhere) {
  if (is_aligned) {
    copy_async(to, is_there ? static_cast<const void*>(from) : anywhere, is_there);
  } else {
    *to = is_there ? load_unaligned(from) : make_uint4(0, 0, 0, 0);
  }
}

// ---- which tasks a block has

// Task i of round r of a block is number blockIdx.x + (r * kTasks + i) * gridDim.x; a unit of 16
// tokens owns `tasks_a_unit` numbers. Leaves each task's segment (-1: none) and first row.
__device__ __forceinline__ void find_tasks(const LoraBatch& batch, int32_t round,
                                           int32_t tasks_a_unit, int32_t (&segment)[kTasks],
                                           int32_t (&first_row)[kTasks]) {
  const int32_t thread = static_cast<int32_t>(threadIdx.x);
  const int32_t blocks = static_cast<int32_t>(gridDim.x);
  const int32_t block = static_cast<int32_t>(blockIdx.x);
  if (thread < kTasks) segment[thread] = -1;
  __syncthreads();  // none is found yet
  for (int32_t g = thread; g < batch.num_segments; g += kStreamThreads) {
    const int32_t begin = __ldg(batch.segment_begin + g);
    const int32_t rows = __ldg(batch.segment_end + g) - begin;
    for (int32_t row = 0; row < rows; row += kTileTokens) {
      const int32_t number = (begin / kTileTokens + g + row / kTileTokens) * tasks_a_unit;
      int32_t i = max(0, (number - block + blocks - 1) / blocks) - round * kTasks;
      i = max(0, i);
      for (; i < kTasks && block + (round * kTasks + i) * blocks < number + tasks_a_unit; ++i) {
        segment[i] = g;
        first_row[i] = row;
      }
    }
  }
  __syncthreads();  // all are found
}

// The `turn`-th run of at most `most` ranks from `first_rank` on, `step` apart, over a segment's
// entries; false: there are fewer.
struct Turn {
  LoraEntry entry;
  const int32_t* pages;
  const core::LoraModule* module;
  int32_t first_rank;
};
__device__ __forceinline__ bool find_turn(const LoraBatch& batch, int32_t segment,
                                          int32_t layer_idx, int32_t module_idx, int32_t first_rank,
                                          int32_t step, int32_t turn, Turn& out,
                                          bool& out_has_more) {
  const int32_t end = __ldg(batch.entry_offsets + segment + 1);
  for (int32_t e = __ldg(batch.entry_offsets + segment); e < end; ++e) {
    out.entry = batch.entries[e];
    const LoraAdapterRef& adapter = batch.adapters[out.entry.adapter_idx];
    out.module = module_of(batch, adapter, layer_idx, module_idx);
    const int32_t turns = max(0, (out.module->lora_rank - first_rank + step - 1) / step);
    if (turn < turns) {
      out.pages = batch.pages + adapter.page_offset;
      out.first_rank = first_rank + turn * step;
      out_has_more |= e + 1 < end || turn + 1 < turns;
      return true;
    }
    turn -= turns;
  }
  return false;
}

// Where in the task list lane's own task goes, and how many there are.
__device__ __forceinline__ int32_t place_task(bool is_there, int32_t* out_count) {
  const unsigned there = __ballot_sync(0xffffffffu, is_there);
  if (threadIdx.x == 0) *out_count = __popc(there);
  return __popc(there & ((1u << threadIdx.x % 32) - 1));
}

// ---- shrink

struct ShrinkTask {
  int64_t t;  // of the unit's first row and the task's first rank
  int32_t t_stride;
  int32_t ranks;
  int32_t first_rank;
  int32_t first_token;
  int32_t count;
  int32_t k_begin;
  int32_t is_aligned;
};

template <typename T, int kRankTiles>
struct ShrinkStream {
  static constexpr int kRanks = 8 * kRankTiles;
  static constexpr int kSteps = 4;                                // of 32 elements a warp and stage
  static constexpr int kStageElems = kSteps * 32 * kStreamWarps;  // of in_dim
  static constexpr int kPieces = kSteps * kRankTiles;             // 16 bytes a thread and stage
  static constexpr int kStages = kRankTiles == 1 ? 5 : 2;
  static constexpr int kBytes = kStages * kPieces * kStreamThreads * 16;
};

// Semantics  t[part, e, j, i, r] = sum of x . A over the part's elements
// Cost       A once a 16-row unit of a segment, x once a fused module and rank group
// Grid       as many blocks as stay on the card
template <typename T, int kRankTiles>
__global__ void __launch_bounds__(kStreamThreads, kBlocksAnSm)
    lora_shrink_stream_kernel(const __grid_constant__ LoraShrinkParams p, int32_t parts,
                              int32_t part_elems, int32_t rank_groups, int32_t rounds) {
  using Stream = ShrinkStream<T, kRankTiles>;
  constexpr int kRanks = Stream::kRanks;
  extern __shared__ __align__(128) uint8_t ring[];
  __shared__ int32_t segment[kTasks], first_row[kTasks];
  __shared__ ShrinkTask tasks[kTasks];
  __shared__ LoraRun runs[kTasks];
  __shared__ const T* rows[kTasks][kRanks];
  __shared__ float sums[2][kStreamWarps][kTileTokens][kRanks + 2];
  __shared__ int32_t num_tasks;
  __shared__ int32_t has_more;
  allow_next();
  const int32_t thread = static_cast<int32_t>(threadIdx.x);
  const int32_t warp = thread / 32;
  const int32_t group = thread % 32 / 4;
  const int32_t lane_k = warp * 32 + thread % 4 * 8;
  const int32_t in_dim = static_cast<int32_t>(p.in_dim);
  const int32_t tasks_a_unit = p.num_fused * rank_groups * parts;
  const int32_t stages_a_task = (part_elems + Stream::kStageElems - 1) / Stream::kStageElems;
  uint4* const own = reinterpret_cast<uint4*>(ring) + thread;

  for (int32_t round = 0; round < rounds; ++round) {
    find_tasks(p.batch, round, tasks_a_unit, segment, first_row);
    for (int32_t turn = 0;; ++turn) {
      if (warp == 0) {
        Turn found;
        bool more = false;
        bool is_there = segment[thread] >= 0;
        int32_t part = 0, fused = 0, rank_group = 0;
        if (is_there) {
          int32_t number = (static_cast<int32_t>(blockIdx.x) +
                            (round * kTasks + thread) * static_cast<int32_t>(gridDim.x)) %
                           tasks_a_unit;
          part = number % parts;
          number /= parts;
          fused = number % p.num_fused;
          rank_group = number / p.num_fused;
          is_there = find_turn(p.batch, segment[thread], p.layer_idx, p.module_idx[fused],
                               rank_group * kRanks, rank_groups * kRanks, turn, found, more);
        }
        const int32_t place = place_task(is_there, &num_tasks);
        more = __ballot_sync(0xffffffffu, more) != 0;
        if (thread == 0) has_more = more;
        if (is_there) {
          const int32_t begin = __ldg(p.batch.segment_begin + segment[thread]);
          const int32_t segment_rows = __ldg(p.batch.segment_end + segment[thread]) - begin;
          const LoraRun run =
              make_run(p.slice, p.page_bytes, sizeof(T), found.pages, found.module->a, in_dim);
          ShrinkTask task;
          task.t = part * p.t_stride + found.entry.t_offset +
                   (static_cast<int64_t>(fused) * segment_rows + first_row[thread]) *
                       found.entry.t_stride +
                   found.first_rank;
          task.t_stride = found.entry.t_stride;
          task.ranks = min(kRanks, found.module->lora_rank - found.first_rank);
          task.first_rank = found.first_rank;
          task.first_token = begin + first_row[thread];
          task.count = min(kTileTokens, segment_rows - first_row[thread]);
          task.k_begin = part * part_elems;
          task.is_aligned = run.is_aligned();
          runs[place] = run;
          tasks[place] = task;
        }
      }
      __syncthreads();  // the tasks are known to all
      for (int32_t i = thread; i < num_tasks * kRanks; i += kStreamThreads) {
        const int32_t task = i / kRanks;
        const int32_t r = i % kRanks;
        rows[task][r] =
            r < tasks[task].ranks
                ? runs[task].template row<T>(static_cast<uint32_t>(tasks[task].first_rank + r))
                : nullptr;
      }
      __syncthreads();  // so are their rows

      const int32_t stages = num_tasks * stages_a_task;
      // A position in the stream: a stage of a task.
      struct Position {
        int32_t task = 0, stage = 0;
      };
      const auto advance = [&](Position& at) {
        if (++at.stage == stages_a_task) {
          at.stage = 0;
          ++at.task;
        }
      };
      const auto k_of = [&](const Position& at) {
        return tasks[at.task].k_begin + at.stage * Stream::kStageElems + lane_k;
      };
      const auto end_of = [&](const Position& at) {
        return min(tasks[at.task].k_begin + part_elems, in_dim);
      };
      Position asked;
      int32_t asked_slot = 0;
      const auto ask = [&] {
        if (asked.task < num_tasks) {
          uint4* const to = own + asked_slot * Stream::kPieces * kStreamThreads;
          const int32_t k_end = end_of(asked);
          const bool is_aligned = tasks[asked.task].is_aligned;
#pragma unroll
          for (int n = 0; n < kRankTiles; ++n) {
            const T* const row = rows[asked.task][n * 8 + group];
#pragma unroll
            for (int s = 0; s < Stream::kSteps; ++s) {
              const int32_t at = k_of(asked) + s * 32 * kStreamWarps;
              fetch(to + (s * kRankTiles + n) * kStreamThreads, row + at, row && at < k_end,
                    is_aligned, p.slice);
            }
          }
          advance(asked);
          asked_slot = asked_slot + 1 == Stream::kStages ? 0 : asked_slot + 1;
        }
        close_stage();
      };
      const auto load_x = [&](const Position& at, int32_t down, uint4(&x)[Stream::kSteps]) {
        const bool is_there = at.task < num_tasks && group + down < tasks[at.task].count;
#pragma unroll
        for (int s = 0; s < Stream::kSteps; ++s) {
          x[s] = make_uint4(0, 0, 0, 0);
          if (!is_there) continue;
          const int32_t k = k_of(at) + s * 32 * kStreamWarps;
          if (k >= end_of(at)) continue;
          x[s] = *reinterpret_cast<const uint4*>(
              static_cast<const T*>(p.x) +
              static_cast<int64_t>(tasks[at.task].first_token + group + down) * p.x_stride + k);
        }
      };

#pragma unroll 1
      for (int s = 0; s < Stream::kStages; ++s) ask();
      wait_for_inputs();
      float acc[kRankTiles][4] = {};
      uint4 low[Stream::kSteps], next[Stream::kSteps];
      Position at;
      load_x(at, 0, next);
      int32_t slot = 0;
#pragma unroll 1
      for (int32_t stage = 0; stage < stages; ++stage) {
        const ShrinkTask& task = tasks[at.task];
#pragma unroll
        for (int s = 0; s < Stream::kSteps; ++s) low[s] = next[s];
        Position ahead = at;
        advance(ahead);
        load_x(ahead, 0, next);
        await_stage<Stream::kStages>();
        const uint4* const from = own + slot * Stream::kPieces * kStreamThreads;
        uint4 high[Stream::kSteps];
        load_x(at, 8, high);
#pragma unroll
        for (int s = 0; s < Stream::kSteps; ++s) {
#pragma unroll
          for (int n = 0; n < kRankTiles; ++n) {
            const uint4 a = from[(s * kRankTiles + n) * kStreamThreads];
            mma<T>(acc[n], low[s].x, high[s].x, low[s].y, high[s].y, a.x, a.y);
            mma<T>(acc[n], low[s].z, high[s].z, low[s].w, high[s].w, a.z, a.w);
          }
        }
        ask();
        slot = slot + 1 == Stream::kStages ? 0 : slot + 1;
        if (ahead.stage == 0) {
          // The warps' sums in their order. Two copies: one barrier a task is enough.
          auto& copy = sums[at.task & 1];
          const int32_t column = thread % 4 * 2;
#pragma unroll
          for (int n = 0; n < kRankTiles; ++n) {
            *reinterpret_cast<float2*>(&copy[warp][group][n * 8 + column]) =
                make_float2(acc[n][0], acc[n][1]);
            *reinterpret_cast<float2*>(&copy[warp][group + 8][n * 8 + column]) =
                make_float2(acc[n][2], acc[n][3]);
#pragma unroll
            for (int c = 0; c < 4; ++c) acc[n][c] = 0;
          }
          __syncthreads();  // all sums are there
          for (int32_t i = thread; i < task.count * kRanks; i += kStreamThreads) {
            const int32_t row = i / kRanks;
            const int32_t r = i % kRanks;
            if (r >= task.ranks) continue;
            float sum = copy[0][row][r];
#pragma unroll
            for (int w = 1; w < kStreamWarps; ++w) sum += copy[w][row][r];
            p.t[task.t + static_cast<int64_t>(row) * task.t_stride + r] = sum;
          }
        }
        at = ahead;
      }
      const bool is_done = has_more == 0;
      __syncthreads();  // the tables are free again
      if (is_done) break;
    }
  }
}

// ---- expand

struct ExpandTask {
  int64_t y;  // of the unit's first row and the task's first column
  int64_t t;
  int32_t t_stride;
  int32_t ranks;
  int32_t first_rank;
  int32_t columns;  // of the module from the task's first on
  int32_t count;
  float factor;
  int32_t is_aligned;
};

struct ExpandStream {
  static constexpr int kColumns = 64 * kStreamWarps;
  static constexpr int kMostRanks = 64;  // a turn
  static constexpr int kPieces = 4;      // 16 bytes a thread and stage: 16 ranks
  static constexpr int kStages = 5;
  static constexpr int kBytes = kStages * kPieces * kStreamThreads * 16;
};

// Column group of 8 that tile column `lane / 4` stands for, so that lane t of a quad gets whole
// pieces of y (see lora_expand.cu).
__device__ __forceinline__ int32_t piece_of_lane(int32_t lane) {
  return lane / 8 + lane / 4 % 2 * 4;
}

__device__ __forceinline__ uint32_t word(const uint4& v, int i) {
  return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w;
}

// Semantics  y[row, column] += weight * scale * sum_r t[r] * Bt[r, column], 64 ranks and one entry
//            at a time
// Cost       B once a 16-row unit of a segment, y once a turn, t once a warp (from cache)
// Grid       as many blocks as stay on the card
template <typename T>
__global__ void __launch_bounds__(kStreamThreads, kBlocksAnSm)
    lora_expand_stream_kernel(const __grid_constant__ LoraExpandParams p, int32_t parts,
                              int32_t tiles, int32_t rounds) {
  using Stream = ExpandStream;
  extern __shared__ __align__(128) uint8_t ring[];
  __shared__ int32_t segment[kTasks], first_row[kTasks];
  __shared__ ExpandTask tasks[kTasks];
  __shared__ LoraRun runs[kTasks];
  __shared__ const T* rows[kTasks][Stream::kMostRanks];
  __shared__ int32_t num_tasks;
  __shared__ int32_t has_more;
  allow_next();
  const int32_t thread = static_cast<int32_t>(threadIdx.x);
  const int32_t warp = thread / 32;
  const int32_t lane = thread % 32;
  const int32_t group = lane / 4;
  const int32_t quad = lane % 4;
  uint4* const own = reinterpret_cast<uint4*>(ring) + thread;

  for (int32_t round = 0; round < rounds; ++round) {
    find_tasks(p.batch, round, tiles, segment, first_row);
    for (int32_t turn = 0;; ++turn) {
      if (warp == 0) {
        Turn found;
        bool more = false;
        bool is_there = segment[thread] >= 0;
        int32_t fused = 0, tile = 0;
        if (is_there) {
          tile = (static_cast<int32_t>(blockIdx.x) +
                  (round * kTasks + thread) * static_cast<int32_t>(gridDim.x)) %
                 tiles;
          for (; fused + 1 < p.num_fused; ++fused) {
            const int32_t of_module =
                (static_cast<int32_t>(p.out_dim[fused]) + Stream::kColumns - 1) / Stream::kColumns;
            if (tile < of_module) break;
            tile -= of_module;
          }
          is_there = find_turn(p.batch, segment[thread], p.layer_idx, p.module_idx[fused], 0,
                               Stream::kMostRanks, turn, found, more);
        }
        const int32_t place = place_task(is_there, &num_tasks);
        more = __ballot_sync(0xffffffffu, more) != 0;
        if (thread == 0) has_more = more;
        if (is_there) {
          const int32_t begin = __ldg(p.batch.segment_begin + segment[thread]);
          const int32_t segment_rows = __ldg(p.batch.segment_end + segment[thread]) - begin;
          const int32_t out_dim = static_cast<int32_t>(p.out_dim[fused]);
          const int32_t column = tile * Stream::kColumns;
          const LoraRun run =
              make_run(p.slice, p.page_bytes, sizeof(T), found.pages, found.module->b, out_dim);
          ExpandTask task;
          task.y = (begin + first_row[thread]) * p.y_stride + p.column_offset[fused] + column;
          task.t = found.entry.t_offset +
                   (static_cast<int64_t>(fused) * segment_rows + first_row[thread]) *
                       found.entry.t_stride +
                   found.first_rank;
          task.t_stride = found.entry.t_stride;
          task.ranks = min(Stream::kMostRanks, found.module->lora_rank - found.first_rank);
          task.first_rank = found.first_rank;
          task.columns = out_dim - column;
          task.count = min(kTileTokens, segment_rows - first_row[thread]);
          task.factor = found.entry.weight * found.module->scale;
          task.is_aligned = run.is_aligned();
          runs[place] = run;
          tasks[place] = task;
        }
      }
      __syncthreads();  // the tasks are known to all
      for (int32_t i = thread; i < num_tasks * Stream::kMostRanks; i += kStreamThreads) {
        const int32_t task = i / Stream::kMostRanks;
        const int32_t r = i % Stream::kMostRanks;
        if (r >= (tasks[task].ranks + 15) / 16 * 16) continue;
        // Rows begin at the task's first column.
        const int32_t column = static_cast<int32_t>(runs[task].row_elems) - tasks[task].columns;
        rows[task][r] =
            r < tasks[task].ranks
                ? runs[task].template row<T>(static_cast<uint32_t>(tasks[task].first_rank + r)) +
                      column
                : nullptr;
      }
      __syncthreads();  // so are their rows

      struct Position {
        int32_t task = 0, rank = 0;
      };
      const auto advance = [&](Position& at) {
        at.rank += 16;
        if (at.rank >= tasks[at.task].ranks) {
          at.rank = 0;
          ++at.task;
        }
      };
      Position asked;
      int32_t asked_slot = 0;
      const auto ask = [&] {
        if (asked.task < num_tasks) {
          uint4* const to = own + asked_slot * Stream::kPieces * kStreamThreads;
          const int32_t column = warp * 64 + piece_of_lane(lane) * 8;
          const bool is_there = column < tasks[asked.task].columns;
          const bool is_aligned = tasks[asked.task].is_aligned;
#pragma unroll
          for (int i = 0; i < Stream::kPieces; ++i) {
            const T* const row = rows[asked.task][asked.rank + quad * 2 + i % 2 + i / 2 * 8];
            fetch(to + i * kStreamThreads, row + column, row && is_there, is_aligned, p.slice);
          }
          advance(asked);
          asked_slot = asked_slot + 1 == Stream::kStages ? 0 : asked_slot + 1;
        }
        close_stage();
      };
      // Two neighbouring ranks of t of a row, all parts in order.
      const auto load_t = [&](const Position& at, int32_t down, int32_t along) {
        float2 sum = make_float2(0, 0);
        if (at.task >= num_tasks) return sum;
        const ExpandTask& task = tasks[at.task];
        const int32_t r = at.rank + quad * 2 + along;
        if (group + down >= task.count || r >= task.ranks) return sum;
        const float* from = p.t + task.t + static_cast<int64_t>(group + down) * task.t_stride + r;
        const bool has_second = r + 1 < task.ranks;
        if (parts == 4 && has_second) {
          float2 of_part[4];
#pragma unroll
          for (int i = 0; i < 4; ++i)
            of_part[i] = make_float2(from[i * p.t_stride], from[i * p.t_stride + 1]);
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            sum.x += of_part[i].x;
            sum.y += of_part[i].y;
          }
          return sum;
        }
#pragma unroll 1
        for (int32_t part = 0; part < parts; ++part) {
          sum.x += from[part * p.t_stride];
          if (has_second) sum.y += from[part * p.t_stride + 1];
        }
        return sum;
      };
      // Operands of tensor cores: the rounded pair and what rounding lost.
      const auto split = [&](float2 t, float factor, uint32_t& high, uint32_t& low) {
        t.x *= factor;
        t.y *= factor;
        high = pack2<T>(t.x, t.y);
        low = pack2<T>(t.x - low_of<T>(high), t.y - high_of<T>(high));
      };
      // Pieces `quad` and that + 4 of this warp's columns of row `group + down`.
      const auto y_of = [&](const ExpandTask& task, int32_t down, int along) -> T* {
        const int32_t column = warp * 64 + quad * 8 + along * 32;
        if (group + down >= task.count || column >= task.columns) return nullptr;
        return static_cast<T*>(p.y) + task.y + static_cast<int64_t>(group + down) * p.y_stride +
               column;
      };

#pragma unroll 1
      for (int s = 0; s < Stream::kStages; ++s) ask();
      wait_for_inputs();
      float acc[8][4] = {};
      uint4 y_low[2] = {};
      Position at;
      float2 next_t[2] = {load_t(at, 0, 0), load_t(at, 0, 8)};
      int32_t slot = 0;
#pragma unroll 1
      while (at.task < num_tasks) {
        const ExpandTask& task = tasks[at.task];
        Position ahead = at;
        advance(ahead);
        if (at.rank == 0) {
#pragma unroll
          for (int along = 0; along < 2; ++along) {
            if (const T* y = y_of(task, 0, along))
              y_low[along] = *reinterpret_cast<const uint4*>(y);
          }
        }
        uint32_t high[4], low[4];
        split(next_t[0], task.factor, high[0], low[0]);
        split(next_t[1], task.factor, high[2], low[2]);
        split(load_t(at, 8, 0), task.factor, high[1], low[1]);
        split(load_t(at, 8, 8), task.factor, high[3], low[3]);
        next_t[0] = load_t(ahead, 0, 0);
        next_t[1] = load_t(ahead, 0, 8);
        await_stage<Stream::kStages>();
        const uint4* const from = own + slot * Stream::kPieces * kStreamThreads;
        const uint4 b[4] = {from[0], from[kStreamThreads], from[2 * kStreamThreads],
                            from[3 * kStreamThreads]};
#pragma unroll
        for (int n = 0; n < 8; ++n) {
          const uint32_t half = n % 2 ? 0x7632 : 0x5410;
          const uint32_t b0 = __byte_perm(word(b[0], n / 2), word(b[1], n / 2), half);
          const uint32_t b1 = __byte_perm(word(b[2], n / 2), word(b[3], n / 2), half);
          mma<T>(acc[n], high[0], high[1], high[2], high[3], b0, b1);
          mma<T>(acc[n], low[0], low[1], low[2], low[3], b0, b1);
        }
        ask();
        slot = slot + 1 == Stream::kStages ? 0 : slot + 1;
        if (ahead.rank == 0) {
#pragma unroll
          for (int down = 0; down < 2; ++down) {
#pragma unroll
            for (int along = 0; along < 2; ++along) {
              T* const y = y_of(task, down * 8, along);
              if (!y) continue;
              const uint4 old = down == 0 ? y_low[along] : *reinterpret_cast<const uint4*>(y);
              const auto sum = [&](int i) {
                return pack2<T>(low_of<T>(word(old, i)) + acc[2 * i][down * 2 + along],
                                high_of<T>(word(old, i)) + acc[2 * i + 1][down * 2 + along]);
              };
              *reinterpret_cast<uint4*>(y) = make_uint4(sum(0), sum(1), sum(2), sum(3));
            }
          }
#pragma unroll
          for (int n = 0; n < 8; ++n) {
#pragma unroll
            for (int c = 0; c < 4; ++c) acc[n][c] = 0;
          }
        }
        at = ahead;
      }
      const bool is_done = has_more == 0;
      __syncthreads();  // the tables are free again, and y is written before the next turn adds
      if (is_done) break;
    }
  }
}

template <typename T, int kRankTiles>
int32_t launch_shrink(void* stream, const LoraShrinkParams& params, const LoraSplit& split,
                      int32_t rank) {
  using Stream = ShrinkStream<T, kRankTiles>;
  const auto kernel = lora_shrink_stream_kernel<T, kRankTiles>;
  if (const int32_t status = allow_shared(kernel, Stream::kBytes); status != kOk) return status;
  const auto rank_groups = static_cast<int32_t>(ceil_div(rank, Stream::kRanks));
  const int64_t tasks =
      num_units(params.batch, kTileTokens) * params.num_fused * rank_groups * split.parts;
  const int64_t blocks = std::min<int64_t>(tasks, stream_blocks(stream));
  return launch(stream, kernel, dim3(static_cast<unsigned>(blocks)), dim3(kStreamThreads),
                Stream::kBytes, params, split.parts, split.part_elems, rank_groups,
                static_cast<int32_t>(ceil_div(tasks, blocks * kTasks)));
}

template <typename T>
int32_t launch_expand(void* stream, const LoraExpandParams& params, const LoraSplit& split) {
  const auto kernel = lora_expand_stream_kernel<T>;
  if (const int32_t status = allow_shared(kernel, ExpandStream::kBytes); status != kOk)
    return status;
  int64_t tiles = 0;
  for (int32_t j = 0; j < params.num_fused; ++j)
    tiles += ceil_div(params.out_dim[j], ExpandStream::kColumns);
  const int64_t tasks = num_units(params.batch, kTileTokens) * tiles;
  const int64_t blocks = std::min<int64_t>(tasks, stream_blocks(stream));
  return launch(stream, kernel, dim3(static_cast<unsigned>(blocks)), dim3(kStreamThreads),
                ExpandStream::kBytes, params, split.written(), static_cast<int32_t>(tiles),
                static_cast<int32_t>(ceil_div(tasks, blocks * kTasks)));
}

}  // namespace

// A block's last task has no other beside it: with few tasks a block, short-lived blocks that the
// card hands out as others end are the better balance.
bool is_stream_worth_it(void* stream, const LoraBatch& batch, int64_t tasks) {
  static const char* const least = std::getenv("SLORA_LORA_STREAM");
  static const double tasks_a_block = least ? std::atof(least) : 3;
  return batch.num_tokens > kTileTokens && tasks >= tasks_a_block * stream_blocks(stream);
}

int32_t stream_shrink(void* stream, const LoraShrinkParams& params, LoraSplit split) {
  const int32_t rank = params.batch.max_lora_rank > 0 ? params.batch.max_lora_rank : 64;
  if (params.page_dtype == DType::kBF16) {
    return rank <= 8 ? launch_shrink<bf16, 1>(stream, params, split, rank)
                     : launch_shrink<bf16, 2>(stream, params, split, rank);
  }
  return rank <= 8 ? launch_shrink<__half, 1>(stream, params, split, rank)
                   : launch_shrink<__half, 2>(stream, params, split, rank);
}

int32_t stream_expand(void* stream, const LoraExpandParams& params, LoraSplit split) {
  return params.page_dtype == DType::kBF16 ? launch_expand<bf16>(stream, params, split)
                                           : launch_expand<__half>(stream, params, split);
}

}  // namespace slora::kernels::cuda
