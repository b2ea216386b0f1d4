// What the LoRA kernels share: how a launch is cut, which segment a block works on, where the rows
// of A and B lie, and the tensor-core step.
//
// A launch is shaped by bounds only (segments, tokens, ranks, dimensions), so that a captured one
// is valid for every batch within them; blocks find their work in the tables and leave if there is
// none.
#pragma once

#include "src/cuda/common.cuh"
#include "src/cuda/cuda_kernels.hpp"
#include "src/cuda/tensor_cores.cuh"

namespace slora::kernels::cuda {

// ---- how a launch is cut

inline constexpr int32_t kTileTokens = 16;     // rows of one tensor-core tile
inline constexpr int32_t kPrefillTokens = 64;  // tokens of a unit of work where segments are long

// Batches of long segments take the kernels that hold A or B over several tiles of tokens. A
// decode step's bounds allow one segment of all rows, but as many segments as rows.
inline bool is_prefill(const LoraBatch& batch) {
  const bool has_long = batch.max_segment_tokens == 0 || batch.max_segment_tokens > 2 * kTileTokens;
  // Short prompts of small ranks fill the card better in small pieces.
  const bool is_large =
      batch.num_tokens >= 1024 || (batch.num_tokens >= 256 && batch.max_lora_rank > 16);
  return has_long && is_large && batch.num_tokens >= int64_t{kTileTokens} * batch.num_segments;
}

// Units of `tile` tokens that a batch can have: segment g owns the units from
// segment_begin[g] / tile + g on, which leaves no two segments the same one.
inline int64_t num_units(const LoraBatch& batch, int32_t tile) {
  return batch.num_segments + batch.num_tokens / tile;
}

// Of `units` that each want `blocks` blocks, how many get their own: what fills the card twice. The
// others come to the same blocks in turn, for the next unit is found faster than a block begins,
// and most may have none.
inline unsigned units_at_once(void* stream, int64_t units, int64_t blocks,
                              int32_t blocks_an_sm = 8) {
  const int64_t most = blocks_an_sm * int64_t{device_of(stream).sm_count} / blocks;
  return static_cast<unsigned>(most < 1 ? 1 : most < units ? most : units);
}

// How the sum over in_dim is cut into parts, alike in both halves. Few tokens cannot fill the card,
// so their sums are cut finer; where there are many, a block should ask for some 32 KB of A at once
// and the parts' own traffic counts.
struct LoraSplit {
  int32_t parts;
  int32_t part_elems;
  bool is_summed;  // by clusters, so that the intermediate holds one sum and not `parts`
  int32_t written() const { return is_summed ? 1 : parts; }
};

inline constexpr int32_t kMostParts = 8;

inline LoraSplit split_of(void* stream, const LoraBatch& batch, DType dtype, int64_t in_dim,
                          int64_t t_stride) {
  int64_t most = batch.num_tokens <= 16 ? kMostParts : 4;
  const bool is_summed =
      is_prefill(batch) && dtype != DType::kF32 && device_of(stream).sm_version >= 90;
  if (is_summed && batch.num_tokens <= 1024) most = 8;
  if (batch.num_tokens > 2048) most = is_summed && batch.num_tokens <= 4096 ? 2 : 1;
  if (t_stride == 0 && !is_summed) most = 1;
  // Whole stages of the kernels: eight warps of 32 elements, or rows of 64.
  const int64_t grain = is_summed ? 64 : 256;
  const auto elems_of = [&] { return ceil_div(ceil_div(in_dim, most), grain) * grain; };
  // Clusters are of two, four or eight blocks.
  while (is_summed && ceil_div(in_dim, elems_of()) < most) most /= 2;
  const auto parts = static_cast<int32_t>(ceil_div(in_dim, elems_of()));
  return {parts, static_cast<int32_t>(elems_of()), is_summed && parts > 1};
}

// ---- which rows a block works on

struct LoraUnit {
  int32_t begin;  // first token of the segment
  int32_t rows;   // tokens of the segment
  int32_t first;  // first row of the unit, counted in the segment
  int32_t count;  // rows of the unit; 0: nothing to do
  int32_t entry_begin;
  int32_t entry_end;
};

// Zeros before the first.
struct LoraSegment {
  int32_t begin;
  int32_t end;
  int32_t entry_begin;
  int32_t entry_end;
};
__device__ __forceinline__ LoraSegment load_segment(const LoraBatch& batch, int32_t g) {
  if (g < 0) return {0, 0, 0, 0};
  return {__ldg(batch.segment_begin + g), __ldg(batch.segment_end + g),
          __ldg(batch.entry_offsets + g), __ldg(batch.entry_offsets + g + 1)};
}

// The unit of `tile` tokens that begins with a row, if one does.
__device__ __forceinline__ LoraUnit unit_of_head(const LoraRowHead& head, int32_t token,
                                                 int32_t tile) {
  const bool begins = head.row % tile == 0 && head.entry_begin < head.entry_end;
  return {token - head.row, head.rows,     head.row, begins ? min(tile, head.rows - head.row) : 0,
          head.entry_begin, head.entry_end};
}

// By all lanes of a warp; every warp may ask for itself.
__device__ __forceinline__ LoraUnit find_unit(const LoraBatch& batch, int32_t unit_idx,
                                              int32_t tile) {
  const int32_t lane = static_cast<int32_t>(threadIdx.x & 31);
  // Segment g's units begin at g or later, and rarely much later.
  for (int32_t top = min(unit_idx, batch.num_segments - 1); top >= 0; top -= 32) {
    const int32_t g = top - lane;
    const auto [begin, end, entry_begin, entry_end] = load_segment(batch, g);
    const int32_t first = (unit_idx - (begin / tile + g)) * tile;
    const unsigned found = __ballot_sync(
        0xffffffffu, first >= 0 && first < end - begin && end - begin >= batch.min_segment_tokens);
    if (found == 0) continue;
    const int32_t owner = __ffs(static_cast<int>(found)) - 1;
    LoraUnit unit;
    unit.begin = __shfl_sync(0xffffffffu, begin, owner);
    unit.rows = __shfl_sync(0xffffffffu, end, owner) - unit.begin;
    unit.first = __shfl_sync(0xffffffffu, first, owner);
    unit.count = min(tile, unit.rows - unit.first);
    unit.entry_begin = __shfl_sync(0xffffffffu, entry_begin, owner);
    unit.entry_end = __shfl_sync(0xffffffffu, entry_end, owner);
    return unit;
  }
  return {0, 0, 0, 0, 0, 0};
}

// What a kernel of long segments does first. Where pieces follow it, they run beside it: they begin
// when all its blocks have come past this, so what the kernels before it wrote is there for both,
// and they end with a wait for it, so that whoever waits for them has waited for both.
__device__ __forceinline__ void begin_beside_pieces(const LoraBatch& batch) {
  if (batch.min_segment_tokens > 0) wait_for_inputs();
  allow_next();
}

// ---- where rows of A and B lie

// One run of rows of an adapter, as a kernel reads it. Rows are at most a page long here.
struct LoraRun {
  const uint8_t* slice;
  const int32_t* pages;  // of the adapter
  int64_t page_bytes;
  uint32_t page;
  uint32_t offset;  // elements
  uint32_t row_elems;
  uint32_t rows_in_first;  // of the run, in its first page
  uint32_t rows_a_page;

  template <typename T>
  __device__ __forceinline__ const T* row(uint32_t row_idx) const {
    uint32_t in_page = page;
    uint32_t at = offset + row_idx * row_elems;
    if (row_idx >= rows_in_first) {
      const uint32_t rest = row_idx - rows_in_first;
      const uint32_t passed = rest / rows_a_page;
      in_page = page + 1 + passed;
      at = (rest - passed * rows_a_page) * row_elems;
    }
    return reinterpret_cast<const T*>(slice + __ldg(pages + in_page) * page_bytes) + at;
  }
  // 16-byte loads need rows that begin on 16 bytes; those of later pages do if row_elems is a
  // multiple of eight.
  __device__ __forceinline__ bool is_aligned() const { return offset % 8 == 0; }
};

__device__ __forceinline__ LoraRun make_run(const uint8_t* slice, int64_t page_bytes,
                                            uint32_t elem_bytes, const int32_t* pages,
                                            core::PagePosition begin, int64_t row_elems) {
  LoraRun run;
  run.slice = slice;
  run.pages = pages;
  run.page_bytes = page_bytes;
  run.page = static_cast<uint32_t>(begin.page);
  run.offset = static_cast<uint32_t>(begin.offset);
  run.row_elems = static_cast<uint32_t>(row_elems);
  const uint32_t page_elems = static_cast<uint32_t>(page_bytes) / elem_bytes;
  run.rows_in_first = (page_elems - run.offset) / run.row_elems;
  run.rows_a_page = page_elems / run.row_elems;
  return run;
}

// The same, found by a row's head.
template <typename T>
struct FoundRun {
  const T* first;
  const T* second;
  const int32_t* next_pages;
  const uint8_t* slice;
  int64_t page_bytes;
  uint32_t row_elems;
  uint32_t rows_in_first;

  __device__ __forceinline__ const T* row(uint32_t row_idx) const {
    if (row_idx < rows_in_first) return first + row_idx * row_elems;
    const uint32_t rows_a_page = static_cast<uint32_t>(page_bytes) / sizeof(T) / row_elems;
    const uint32_t rest = row_idx - rows_in_first;
    if (rest < rows_a_page) return second + rest * row_elems;
    const uint32_t passed = rest / rows_a_page;
    return reinterpret_cast<const T*>(slice + __ldg(next_pages + passed) * page_bytes) +
           (rest - passed * rows_a_page) * row_elems;
  }
  __device__ __forceinline__ bool is_aligned() const {
    return reinterpret_cast<uintptr_t>(first) % 16 == 0;
  }
};

// Of a row at a module, by loads that do not wait for one another.
__device__ __forceinline__ LoraRowHead load_row_head(const LoraRowHead* heads,
                                                     const LoraBatch& batch, int32_t layer_idx,
                                                     int32_t module_idx, int32_t token) {
  static_assert(sizeof(LoraRowHead) == 64);
  const uint4* const from = reinterpret_cast<const uint4*>(
      heads + (layer_idx * batch.num_modules + module_idx) * batch.num_tokens + token);
  uint4 words[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    asm volatile("ld.global.cg.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(words[i].x), "=r"(words[i].y), "=r"(words[i].z), "=r"(words[i].w)
                 : "l"(from + i));
  }
  const auto address = [](uint32_t low, uint32_t high) {
    return reinterpret_cast<const void*>(low | static_cast<uint64_t>(high) << 32);
  };
  LoraRowHead head;
  head.first = address(words[0].x, words[0].y);
  head.second = address(words[0].z, words[0].w);
  head.t_offset = static_cast<int64_t>(words[1].x | static_cast<uint64_t>(words[1].y) << 32);
  head.rows_in_first = static_cast<int32_t>(words[1].z);
  head.page = static_cast<int32_t>(words[1].w);
  head.lora_rank = static_cast<int32_t>(words[2].x);
  head.factor = __uint_as_float(words[2].y);
  head.t_stride = static_cast<int32_t>(words[2].z);
  head.row = static_cast<int32_t>(words[2].w);
  head.rows = static_cast<int32_t>(words[3].x);
  head.entry_begin = static_cast<int32_t>(words[3].y);
  head.entry_end = static_cast<int32_t>(words[3].z);
  return head;
}

template <typename T>
__device__ __forceinline__ FoundRun<T> run_of_head(const LoraRowHead& head, const LoraBatch& batch,
                                                   const uint8_t* slice, int64_t page_bytes,
                                                   int64_t row_elems) {
  return {static_cast<const T*>(head.first),
          static_cast<const T*>(head.second),
          batch.pages + head.page + 1,
          slice,
          page_bytes,
          static_cast<uint32_t>(row_elems),
          static_cast<uint32_t>(head.rows_in_first)};
}

__device__ __forceinline__ const core::LoraModule* module_of(const LoraBatch& batch,
                                                             const LoraAdapterRef& adapter,
                                                             int32_t layer_idx,
                                                             int32_t module_idx) {
  return adapter.modules + (layer_idx * batch.num_modules + module_idx);
}

// A module's rank, scale and place of A or B by loads that do not wait for one another.
struct ModuleHead {
  int32_t lora_rank;
  float scale;
  core::PagePosition begin;
};
__device__ __forceinline__ ModuleHead load_head(const core::LoraModule* module,
                                                const core::PagePosition* begin) {
  ModuleHead head;
  asm volatile("ld.global.nc.s32 %0, [%1];" : "=r"(head.lora_rank) : "l"(&module->lora_rank));
  asm volatile("ld.global.nc.f32 %0, [%1];" : "=f"(head.scale) : "l"(&module->scale));
  asm volatile("ld.global.nc.s32 %0, [%1];" : "=r"(head.begin.page) : "l"(&begin->page));
  asm volatile("ld.global.nc.s32 %0, [%1];" : "=r"(head.begin.offset) : "l"(&begin->offset));
  return head;
}

// Any run, also of rows longer than a page: address of elements [column, ...) of a row, and how
// many of them the page still holds.
template <typename T>
__device__ __forceinline__ const T* piece_of_row(const uint8_t* slice, int64_t page_bytes,
                                                 const int32_t* pages, core::PagePosition begin,
                                                 int64_t row_elems, int64_t row_idx, int64_t column,
                                                 int64_t* out_elems) {
  const int64_t page_elems = page_bytes / static_cast<int64_t>(sizeof(T));
  const core::PagePosition at = core::row_position(begin, row_elems, row_idx, page_elems);
  const int64_t linear = at.offset + column;
  const int64_t page = linear / page_elems;
  const int64_t offset = linear - page * page_elems;
  *out_elems = page_elems - offset;
  return reinterpret_cast<const T*>(slice + __ldg(pages + at.page + page) * page_bytes) + offset;
}

// ---- loads

// 16 bytes that no kernel of the stream writes, to be used once: not kept in the first-level cache.
// `volatile` keeps them before wait_for_inputs().
__device__ __forceinline__ uint4 load_once(const void* from) {
  uint4 v;
  asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(from));
  return v;
}

// The same of any alignment to two bytes.
__device__ __forceinline__ uint4 load_unaligned(const void* from) {
  const uintptr_t address = reinterpret_cast<uintptr_t>(from);
  const uint32_t* words = reinterpret_cast<const uint32_t*>(address & ~uintptr_t{3});
  const uint32_t shift = static_cast<uint32_t>(address & 2) * 8;
  const uint32_t w0 = __ldg(words), w1 = __ldg(words + 1), w2 = __ldg(words + 2),
                 w3 = __ldg(words + 3), w4 = shift ? __ldg(words + 4) : 0;
  return {__funnelshift_r(w0, w1, shift), __funnelshift_r(w1, w2, shift),
          __funnelshift_r(w2, w3, shift), __funnelshift_r(w3, w4, shift)};
}

__device__ __forceinline__ uint4 load_shared_input(const void* from) {
  return *static_cast<const uint4*>(from);
}

// ---- lora_pieces.cu: segments of few rows in large batches

// Both halves of a batch that has pieces: 16-bit pages, aligned memory. is_beside: the launch
// before is that of the batch's long segments.
int32_t shrink_pieces(void* stream, const LoraShrinkParams& params, bool is_beside);
int32_t expand_pieces(void* stream, const LoraExpandParams& params, bool is_beside);
// How many parts their sum over in_dim is cut into, from what both halves know and a graph fixes.
int32_t parts_of_pieces(const LoraBatch& batch, int64_t in_dim, int32_t num_fused);

// The segments that do not go in pieces; none if num_segments is 0.
inline LoraBatch long_segments(const LoraBatch& batch) {
  LoraBatch rest = batch;
  rest.min_segment_tokens = kPieceTokens + 1;
  rest.max_shrink_pieces = rest.max_expand_pieces = 0;
  rest.a_heads = rest.b_heads = nullptr;  // they are of all segments
  if (batch.num_long_segments >= 0) {
    rest.num_segments = batch.num_long_segments;
    rest.num_tokens = batch.num_long_tokens;
  }
  return rest;
}
// Whether both halves take the batch's pieces. Measured (docs/benchmarks.md): where all ranks are
// low and rows are few, they take 1.14 to 1.81 of the time of one launch over all segments.
inline bool has_pieces(const LoraBatch& batch, DType page_dtype, int32_t num_fused) {
  constexpr int32_t kLowRank = 16, kFewRows = 256;  // rows once a fused module
  if (batch.max_expand_pieces == 0 || page_dtype == DType::kF32) return false;
  const bool is_low = batch.max_lora_rank > 0 && batch.max_lora_rank <= kLowRank;
  return !is_low || batch.num_tokens * num_fused >= kFewRows;
}

// ---- lora_plain.cu: any dtype, dimension and page size

int32_t plain_shrink(void* stream, const LoraShrinkParams& params, LoraSplit split);
int32_t plain_expand(void* stream, const LoraExpandParams& params, LoraSplit split);

// lora_expand.cu: 16-byte accesses of y and B need this; B's own place in its page is seen in the
// kernels.
bool is_vectorisable(const LoraExpandParams& params);

// What both halves refuse.
inline bool is_lora_runnable(const LoraBatch& batch, DType activation_dtype, DType page_dtype) {
  return activation_dtype == page_dtype && batch.num_tokens > 0;
}

}  // namespace slora::kernels::cuda
