// What adapters add to a range of y's columns, for kernels that compute those columns anyway: warps
// of a matmul's block that do this alone, beside those that read W.
//
// A unit of work is four runs of eight columns of one row; warps have units that follow one
// another. A warp's lanes share out the runs and, by eights, the ranks: a load is 16 bytes of one
// rank. The loads of all its units form one list, of which a lane has kDepth under way; the first
// are asked for before the intermediate is there.
#pragma once

#include "src/cuda/lora_row.cuh"

namespace slora::kernels::cuda {

// Of a matmul with an update.
struct ColumnUpdate {
  static constexpr bool kIsSome = true;
  LoraExpandParams expand;
  LoraParts parts;
};
struct NoUpdate {
  static constexpr bool kIsSome = false;
};

inline constexpr int32_t kMostColumnRanks = 64;  // of any module in the batch

// Whether a matmul of few rows can take it along: rows that have been looked up, 16 bits.
inline bool is_column_update(const GemmParams& params) {
  const LoraExpandParams* const update = params.update;
  return update && update->batch.b_heads && update->batch.num_segments > 0 &&
         update->batch.max_lora_rank > 0 && update->batch.max_lora_rank <= kMostColumnRanks &&
         update->batch.num_tokens == params.m && update->page_dtype != DType::kF32 &&
         update->page_dtype == params.weight_dtype && params.y_dtype == params.weight_dtype &&
         update->y == params.y && update->y_stride == params.y_stride && is_vectorisable(*update);
}

// Shared memory of kWarps warps for kTokens rows.
template <int kTokens>
struct ColumnRoom {
  LoraRowHead heads[kTokens];
  float t[kTokens][kMostColumnRanks];  // times the entry's factor
};

// By kWarps warps, `warp` this one's place, with named barrier kBarrier for themselves: to
// sums[token - first_token][column - first_column], `pitch` floats a token, what adapters add to
// the block's columns [first_column, first_column + columns), multiples of 8, of `tokens` rows from
// first_token on. Waits for the kernel's inputs.
template <typename T, int kTokens, int kWarps, int kBarrier>
class ColumnUpdates {
 public:
  __device__ __forceinline__ ColumnUpdates(const ColumnUpdate& update, ColumnRoom<kTokens>& room,
                                           int32_t first_column, int32_t columns,
                                           int32_t first_token, int32_t tokens, int32_t warp,
                                           float* sums, int32_t pitch)
      : p_(update.expand), parts_(update.parts), room_(room), sums_(sums), pitch_(pitch) {
    const auto thread = warp * 32 + static_cast<int32_t>(threadIdx.x & 31);
    const int32_t end_column = first_column + columns;
    for (int32_t i = thread; i < tokens * (pitch / 4); i += 32 * kWarps)
      reinterpret_cast<float4*>(sums)[i] = make_float4(0, 0, 0, 0);
#pragma unroll 1
    for (int32_t fused = 0; fused < p_.num_fused; ++fused) {
      // The module's part of the range.
      const auto offset = static_cast<int32_t>(p_.column_offset[fused]);
      const int32_t begin = max(first_column, offset);
      const int32_t end = min(end_column, offset + static_cast<int32_t>(p_.out_dim[fused]));
      if (begin >= end) continue;
      row_elems_ = static_cast<uint32_t>(p_.out_dim[fused]);
      const LoraRowHead* const heads =
          p_.batch.b_heads +
          (p_.layer_idx * p_.batch.num_modules + p_.module_idx[fused]) * p_.batch.num_tokens +
          first_token;
      sync();  // the part before has been added up
      for (int32_t i = thread; i < tokens * 4; i += 32 * kWarps)
        reinterpret_cast<uint4*>(room.heads)[i] = __ldcg(reinterpret_cast<const uint4*>(heads) + i);
      sync();  // the heads are there for all
      tokens_ = tokens;
      end_ = end - offset;
      to_range_ = offset - first_column;
      const int32_t units = (end - begin + 31) / 32 * tokens;
      const int32_t first = units * warp / kWarps;
      end_unit_ = units * (warp + 1) / kWarps;
      const int32_t column = begin - offset + static_cast<int32_t>(threadIdx.x & 3) * 8;
      add_units(fused, {first, first % tokens, 0, column + first / tokens * 32}, thread);
    }
    wait_for_inputs();
  }

 private:
  static constexpr int kDepth = 8;
  static constexpr int kGroups = 8;  // of lanes, which share out the ranks

  __device__ __forceinline__ static void sync() {
    asm volatile("bar.sync %0, %1;" ::"n"(kBarrier), "n"(32 * kWarps) : "memory");
  }

  // A place in the list: kGroups ranks of a unit, which is a row and the lane's column in the
  // module.
  struct Cursor {
    int32_t unit, row, rank, column;
  };
  __device__ __forceinline__ void next_unit(Cursor& at) const {
    ++at.unit;
    at.rank = 0;
    if (++at.row == tokens_) {
      at.row = 0;
      at.column += 32;
    }
  }
  __device__ __forceinline__ void skip_empty(Cursor& at) const {
    while (at.unit < end_unit_ && at.rank >= room_.heads[at.row].lora_rank) next_unit(at);
  }

  __device__ __forceinline__ uint4 load(const Cursor& at) const {
    const int32_t r = at.rank + static_cast<int32_t>(threadIdx.x & 31) / 4;
    if (at.unit >= end_unit_ || at.column >= end_) return make_uint4(0, 0, 0, 0);
    const LoraRowHead& head = room_.heads[at.row];
    if (r >= head.lora_rank) return make_uint4(0, 0, 0, 0);
    const T* const from = row_of(head, static_cast<uint32_t>(r)) + at.column;
    return reinterpret_cast<uintptr_t>(head.first) % 16 == 0 ? load_once(from)
                                                             : load_unaligned(from);
  }
  __device__ __forceinline__ const T* row_of(const LoraRowHead& head, uint32_t r) const {
    return run_of_head<T>(head, p_.batch, p_.slice, p_.page_bytes, row_elems_).row(r);
  }

  // t of all rows, by all warps.
  __device__ __forceinline__ void stage_t(int32_t fused, int32_t thread) {
    const int32_t ranks = p_.batch.max_lora_rank <= 16 ? 16 : kMostColumnRanks;
    constexpr int kAtOnce = 2;
#pragma unroll 1
    for (int32_t i = thread; i < tokens_ * ranks; i += kAtOnce * 32 * kWarps) {
      float part[kAtOnce][kMostParts];
#pragma unroll
      for (int n = 0; n < kAtOnce; ++n) {
        const int32_t at = i + n * 32 * kWarps, row = at / ranks;
        ask_for_parts(part[n], fused, room_.heads[min(row, tokens_ - 1)],
                      row < tokens_ ? at % ranks : kMostColumnRanks);
      }
#pragma unroll
      for (int n = 0; n < kAtOnce; ++n) {
        const int32_t at = i + n * 32 * kWarps, row = at / ranks;
        if (row < tokens_) room_.t[row][at % ranks] = sum_of(part[n]) * room_.heads[row].factor;
      }
    }
  }
  // Zeros past the entry's ranks.
  __device__ __forceinline__ void ask_for_parts(float (&part)[kMostParts], int32_t fused,
                                                const LoraRowHead& head, int32_t r) const {
    const int32_t parts = r >= head.lora_rank        ? 0
                          : head.rows > kPieceTokens ? parts_.of_long
                                                     : parts_.of_short;
    const float* const from = p_.t + head.t_offset +
                              (static_cast<int64_t>(fused) * head.rows + head.row) * head.t_stride +
                              r;
#pragma unroll
    for (int i = 0; i < kMostParts; ++i)
      part[i] = i < parts ? __ldcg(from + i * p_.t_stride) : 0.0f;
  }
  __device__ __forceinline__ static float sum_of(const float (&part)[kMostParts]) {
    float sum = 0;
#pragma unroll
    for (int i = 0; i < kMostParts; ++i) sum += part[i];
    return sum;
  }

  __device__ __forceinline__ static void multiply(float (&sum)[8], float factor, const uint4& b) {
    const uint32_t words[4] = {b.x, b.y, b.z, b.w};
#pragma unroll
    for (int w = 0; w < 4; ++w) {
      sum[2 * w] = fmaf(factor, low_of<T>(words[w]), sum[2 * w]);
      sum[2 * w + 1] = fmaf(factor, high_of<T>(words[w]), sum[2 * w + 1]);
    }
  }

  // The groups' sums, which become zeros, to the row's place or onto what is there.
  __device__ __forceinline__ void leave(float (&sum)[8], int32_t row, int32_t column) const {
#pragma unroll
    for (int by = 4; by < 32; by *= 2) {
#pragma unroll
      for (int i = 0; i < 8; ++i) sum[i] += __shfl_xor_sync(0xffffffffu, sum[i], by);
    }
    if (column < end_ && (threadIdx.x & 31) < 4) {
      auto* const to = reinterpret_cast<float4*>(sums_ + row * pitch_ + to_range_ + column);
      float4 low = to[0], high = to[1];
      low.x += sum[0], low.y += sum[1], low.z += sum[2], low.w += sum[3];
      high.x += sum[4], high.y += sum[5], high.z += sum[6], high.w += sum[7];
      to[0] = low;
      to[1] = high;
    }
#pragma unroll
    for (int i = 0; i < 8; ++i) sum[i] = 0;
  }

  __device__ __forceinline__ void add_units(int32_t fused, const Cursor& first, int32_t thread) {
    const int32_t group = static_cast<int32_t>(threadIdx.x & 31) / 4;
    Cursor asked = first;
    skip_empty(asked);
    Cursor used = asked;
    uint4 b[kDepth];
    const auto ask = [&](uint4& to) {
      to = load(asked);
      asked.rank += kGroups;
      skip_empty(asked);
    };
#pragma unroll
    for (int i = 0; i < kDepth; ++i) ask(b[i]);
    wait_for_inputs();
    stage_t(fused, thread);
    sync();
    float sum[8] = {};
#pragma unroll 1
    while (used.unit < end_unit_) {
#pragma unroll
      for (int i = 0; i < kDepth; ++i) {
        if (used.unit >= end_unit_) break;
        multiply(sum, room_.t[used.row][used.rank + group], b[i]);
        ask(b[i]);
        const Cursor now = used;
        used.rank += kGroups;
        skip_empty(used);
        if (used.unit != now.unit) leave(sum, now.row, now.column);
      }
    }
    // Entries after the first are looked up.
#pragma unroll 1
    for (Cursor at = first; at.unit < end_unit_; next_unit(at)) {
      const LoraRowHead& own = room_.heads[at.row];
#pragma unroll 1
      for (int32_t e = own.entry_begin + 1; e < own.entry_end; ++e) {
        const LoraRow place = {own.row, own.rows, e, own.entry_end};
        const LoraRowHead head = find_head<T>(p_.batch, place, p_.layer_idx, p_.module_idx[fused],
                                              false, row_elems_, p_.slice, p_.page_bytes);
#pragma unroll 1
        for (int32_t r = group; r < head.lora_rank; r += kGroups) {
          if (at.column >= end_) break;
          float part[kMostParts];
          ask_for_parts(part, fused, head, r);
          multiply(sum, sum_of(part) * head.factor,
                   load_unaligned(row_of(head, static_cast<uint32_t>(r)) + at.column));
        }
        __syncwarp();
        leave(sum, at.row, at.column);
      }
    }
  }

  const LoraExpandParams& p_;
  const LoraParts& parts_;
  ColumnRoom<kTokens>& room_;
  float* const sums_;
  const int32_t pitch_;
  // Of the module at hand: its row, where the range ends in it, from its columns to the range's.
  uint32_t row_elems_ = 0;
  int32_t end_ = 0, to_range_ = 0;
  int32_t tokens_ = 0, end_unit_ = 0;
};

}  // namespace slora::kernels::cuda
