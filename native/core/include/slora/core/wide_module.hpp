// What an adapter does to the embedding or to the head: whole rows in place of the base's, and an
// update of low rank. The one layout that packing and kernels share. C++17: .cu files reach it.
#pragma once

#include <cstdint>

namespace slora::core {

// Held in device memory of its own, not in pages; fp32 but for `rows`.
struct WideModule {
  int32_t lora_rank;  // 0: no update
  float scale;
  const float* a;    // embedding: [V, R]; head: [R, H]
  const float* b;    // embedding: [R, H]; head: [R, V]
  int32_t num_rows;  // 0: none
  int32_t reserved;
  const int32_t* row_ids;  // [num_rows] ascending token ids; null: num_rows is V, every row
  const void* rows;        // [num_rows, H] in the page dtype
};

}  // namespace slora::core
