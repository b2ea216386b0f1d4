// How LoRA rows lie in pages: the one layout that adapter packing and every kernel share. C++17:
// .cu files reach it.
//
// An adapter's pages form one logical run of page_elems-sized pages. Packed one after another: for
// each module, the lora_rank rows of A (length in_dim), then the lora_rank rows of B transposed
// (length out_dim), then its rows of fp32 factors and offsets, where it has them. A row never
// straddles two pages unless it is longer than a page; then it begins where the one before ended
// and goes on through the run.
#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#define SLORA_HOST_DEVICE __host__ __device__
#else
#define SLORA_HOST_DEVICE
#endif

namespace slora::core {

// A place in an adapter's run of pages: `page` counts from the adapter's first page, `offset` is in
// elements.
struct PagePosition {
  int32_t page;
  int32_t offset;
};

// One module of one layer of one adapter, as kernels read it. lora_rank 0: the adapter leaves the
// module alone.
struct LoraModule {
  int32_t lora_rank;
  float scale;     // lora_alpha / r, or lora_alpha / sqrt(r) with rsLoRA
  PagePosition a;  // first row of A [lora_rank, in_dim]
  PagePosition b;  // first row of B transposed [lora_rank, out_dim]
  // What the adapter does to the module's output y beside its update (see LoraEpilogueParams): two
  // rows of out_dim fp32 numbers, whatever the dtype of the page. Bits of `parts`: kHasFactor,
  // kHasOffset. A module may have an offset and lora_rank 0.
  uint32_t parts = 0;
  PagePosition factor = {0, 0};
  PagePosition offset = {0, 0};
};

inline constexpr uint32_t kHasFactor = 1;
inline constexpr uint32_t kHasOffset = 2;

// Where row `row_idx` of a run of rows of `row_elems` elements lies that begins at `begin`. `begin`
// itself must come from run_begin (or be the position after such a run), so that a short row never
// straddles.
SLORA_HOST_DEVICE inline PagePosition row_position(PagePosition begin, int64_t row_elems,
                                                   int64_t row_idx, int64_t page_elems) {
  if (row_elems > page_elems) {
    const int64_t linear = begin.offset + row_idx * row_elems;
    return {static_cast<int32_t>(begin.page + linear / page_elems),
            static_cast<int32_t>(linear % page_elems)};
  }
  const int64_t rows_in_first = (page_elems - begin.offset) / row_elems;
  if (row_idx < rows_in_first) {
    return {begin.page, static_cast<int32_t>(begin.offset + row_idx * row_elems)};
  }
  const int64_t rows_a_page = page_elems / row_elems;
  const int64_t rest = row_idx - rows_in_first;
  return {static_cast<int32_t>(begin.page + 1 + rest / rows_a_page),
          static_cast<int32_t>(rest % rows_a_page * row_elems)};
}

// Where a run of rows of `row_elems` begins if everything before it ends at `cursor`.
SLORA_HOST_DEVICE inline PagePosition run_begin(PagePosition cursor, int64_t row_elems,
                                                int64_t page_elems) {
  if (row_elems <= page_elems && cursor.offset + row_elems > page_elems)
    return {cursor.page + 1, 0};
  return cursor;
}

// The position after `num_rows` rows (>= 1) of a run that begins at `begin`. `offset` may equal
// page_elems.
SLORA_HOST_DEVICE inline PagePosition run_end(PagePosition begin, int64_t row_elems,
                                              int64_t num_rows, int64_t page_elems) {
  PagePosition last = row_position(begin, row_elems, num_rows - 1, page_elems);
  const int64_t linear = last.offset + row_elems;
  if (linear <= page_elems) return {last.page, static_cast<int32_t>(linear)};
  return {static_cast<int32_t>(last.page + linear / page_elems),
          static_cast<int32_t>(linear % page_elems)};
}

}  // namespace slora::core
