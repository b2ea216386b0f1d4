// The packed form of the LoRA intermediate and the gathering of columns, element by element.
#include <algorithm>

#include "slora/kernels/reference.hpp"

namespace slora::kernels::reference {

std::vector<float> gather_columns(const GatherColumnsParams& params) {
  std::vector<float> out;
  for (int32_t i = 0; i < params.num_rows; ++i) {
    for (int64_t v = 0; v < params.offsets[params.num_parts]; ++v) {
      int32_t p = 0;
      while (v >= params.offsets[p + 1]) ++p;
      const int64_t width = params.offsets[p + 1] - params.offsets[p];
      out.push_back(params.in[p * params.part_stride + i * width + v - params.offsets[p]]);
    }
  }
  return out;
}

std::vector<LoraExchangeElement> lora_exchange(const LoraExchangeParams& params) {
  const LoraBatch& batch = params.batch;
  std::vector<LoraExchangeElement> elements;
  int64_t before = 0;  // floats of one fused module in a share
  for (int32_t g = 0; g < batch.num_segments; ++g) {
    const int64_t rows = batch.segment_end[g] - batch.segment_begin[g];
    for (int32_t e = batch.entry_offsets[g]; e < batch.entry_offsets[g + 1]; ++e) {
      const LoraEntry& entry = batch.entries[e];
      const int64_t width = (entry.t_stride + params.parts - 1) / params.parts;
      for (int64_t j = 0; j < params.num_fused; ++j) {
        const int64_t lora_rank =
            batch.adapters[entry.adapter_idx]
                .modules[params.layer_idx * batch.num_modules + params.module_idx[j]]
                .lora_rank;
        for (int64_t i = 0; i < rows; ++i) {
          for (int64_t r = 0; r < lora_rank; ++r) {
            int64_t p = 0;
            while (r >= lora_rank * (p + 1) / params.parts) ++p;
            elements.push_back({static_cast<int32_t>(p), r - lora_rank * p / params.parts,
                                entry.t_offset + (j * rows + i) * entry.t_stride, r,
                                p * params.part_stride + params.num_fused * before +
                                    (j * rows + i) * width + r - lora_rank * p / params.parts});
          }
        }
      }
      before += rows * width;
    }
  }
  return elements;
}

}  // namespace slora::kernels::reference
