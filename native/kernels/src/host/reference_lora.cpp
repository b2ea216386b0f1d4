// References of LoRA shrink and expand, one element at a time out of the pages.
#include "slora/kernels/reference.hpp"

namespace slora::kernels::reference {
namespace {

const core::LoraModule& module_of(const LoraBatch& batch, const LoraEntry& entry, int32_t layer_idx,
                                  int32_t module_idx) {
  return batch.adapters[entry.adapter_idx]
      .modules[static_cast<int64_t>(layer_idx) * batch.num_modules + module_idx];
}

// Element `column` of row `row_idx` of a run.
double run_element(const LoraBatch& batch, const LoraEntry& entry, const uint8_t* slice,
                   int64_t page_bytes, DType dtype, core::PagePosition run, int64_t row_elems,
                   int64_t row_idx, int64_t column) {
  const int64_t page_elems = page_bytes / core::dtype_bytes(dtype);
  const core::PagePosition position = core::row_position(run, row_elems, row_idx, page_elems);
  const int64_t linear = position.offset + column;
  const int32_t page_id = batch.pages[batch.adapters[entry.adapter_idx].page_offset +
                                      position.page + linear / page_elems];
  return core::load_as_float(slice + page_id * page_bytes, dtype, linear % page_elems);
}

}  // namespace

std::vector<double> lora_shrink(const LoraShrinkParams& params, int64_t t_floats) {
  const LoraBatch& batch = params.batch;
  std::vector<double> t(static_cast<size_t>(t_floats));
  for (int32_t g = 0; g < batch.num_segments; ++g) {
    const int64_t rows = batch.segment_end[g] - batch.segment_begin[g];
    for (int32_t e = batch.entry_offsets[g]; e < batch.entry_offsets[g + 1]; ++e) {
      const LoraEntry& entry = batch.entries[e];
      for (int32_t j = 0; j < params.num_fused; ++j) {
        const core::LoraModule& module =
            module_of(batch, entry, params.layer_idx, params.module_idx[j]);
        for (int64_t i = 0; i < rows; ++i) {
          const float* x =
              static_cast<const float*>(params.x) + (batch.segment_begin[g] + i) * params.x_stride;
          for (int32_t r = 0; r < module.lora_rank; ++r) {
            double sum = 0.0;
            for (int64_t h = 0; h < params.in_dim; ++h) {
              sum += x[h] * run_element(batch, entry, params.slice, params.page_bytes,
                                        params.page_dtype, module.a, params.in_dim, r, h);
            }
            t[static_cast<size_t>(entry.t_offset + (j * rows + i) * entry.t_stride + r)] = sum;
          }
        }
      }
    }
  }
  return t;
}

std::vector<double> lora_expand(const LoraExpandParams& params, int64_t num_tokens) {
  const LoraBatch& batch = params.batch;
  std::vector<double> y(static_cast<size_t>(num_tokens * params.y_stride));
  for (int32_t g = 0; g < batch.num_segments; ++g) {
    const int64_t rows = batch.segment_end[g] - batch.segment_begin[g];
    for (int32_t e = batch.entry_offsets[g]; e < batch.entry_offsets[g + 1]; ++e) {
      const LoraEntry& entry = batch.entries[e];
      for (int32_t j = 0; j < params.num_fused; ++j) {
        const core::LoraModule& module =
            module_of(batch, entry, params.layer_idx, params.module_idx[j]);
        for (int64_t i = 0; i < rows; ++i) {
          const float* t = params.t + entry.t_offset + (j * rows + i) * entry.t_stride;
          double* row =
              y.data() + (batch.segment_begin[g] + i) * params.y_stride + params.column_offset[j];
          for (int64_t o = 0; o < params.out_dim[j]; ++o) {
            double sum = 0.0;
            for (int32_t r = 0; r < module.lora_rank; ++r) {
              sum += t[r] * run_element(batch, entry, params.slice, params.page_bytes,
                                        params.page_dtype, module.b, params.out_dim[j], r, o);
            }
            row[o] += static_cast<double>(entry.weight) * module.scale * sum;
          }
        }
      }
    }
  }
  return y;
}

}  // namespace slora::kernels::reference
