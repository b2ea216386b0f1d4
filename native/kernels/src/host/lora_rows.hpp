// Where rows of an adapter's A and B lie, and how to read them as one run of elements.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "slora/core/page_layout.hpp"
#include "slora/kernels/kernel_api.hpp"

namespace slora::kernels {

// The adapters' pages as one parameter set sees them.
struct AdapterPages {
  const LoraBatch& batch;
  const uint8_t* slice;
  int64_t page_bytes;
  int64_t elem_bytes;

  int64_t page_elems() const { return page_bytes / elem_bytes; }

  const core::LoraModule& module(int32_t adapter_idx, int32_t layer_idx, int32_t module_idx) const {
    return batch.adapters[adapter_idx]
        .modules[static_cast<int64_t>(layer_idx) * batch.num_modules + module_idx];
  }

  // Elements [begin, begin + count) of a row. A run inside one page is returned in place; one that
  // goes on in the next page (only rows longer than a page do) is copied to `gathered` first, so
  // every sum sees one run.
  const void* row(int32_t adapter_idx, core::PagePosition run, int64_t row_elems, int64_t row_idx,
                  int64_t begin, int64_t count, void* gathered) const {
    const core::PagePosition position = core::row_position(run, row_elems, row_idx, page_elems());
    const int32_t* pages = batch.pages + batch.adapters[adapter_idx].page_offset;
    int64_t page = position.page + (position.offset + begin) / page_elems();
    int64_t offset = (position.offset + begin) % page_elems();
    if (offset + count <= page_elems()) return address(pages[page], offset);
    auto* out = static_cast<uint8_t*>(gathered);
    for (int64_t copied = 0; copied < count; ++page, offset = 0) {
      const int64_t piece = std::min(count - copied, page_elems() - offset);
      std::memcpy(out + copied * elem_bytes, address(pages[page], offset),
                  static_cast<size_t>(piece * elem_bytes));
      copied += piece;
    }
    return gathered;
  }

  // The addresses of rows [first, first + num_rows): found once, used for every group of tokens.
  // Null: the elements go on in another page, ask row().
  void find_rows(int32_t adapter_idx, core::PagePosition run, int64_t row_elems, int64_t first,
                 int64_t num_rows, int64_t begin, int64_t count, const void** out) const {
    const int32_t* pages = batch.pages + batch.adapters[adapter_idx].page_offset;
    const int64_t elems = page_elems();
    for (int64_t i = 0; i < num_rows; ++i) {
      const core::PagePosition position = core::row_position(run, row_elems, first + i, elems);
      const int64_t offset = position.offset + begin;
      out[i] = offset + count <= elems ? address(pages[position.page], offset) : nullptr;
    }
  }

 private:
  const uint8_t* address(int32_t page_id, int64_t offset) const {
    return slice + page_id * page_bytes + offset * elem_bytes;
  }
};

}  // namespace slora::kernels
