// An adapter merged into a packed matrix.
#include <vector>

#include "slora/kernels/host_kernels.hpp"
#include "src/host/lora_rows.hpp"
#include "src/host/packed_weight.hpp"

namespace slora::kernels {
namespace {

// Rows of A of one module as fp32, read once a task.
std::vector<float> rows_of(const AdapterPages& pages, core::PagePosition run, int64_t row_elems,
                           int64_t num_rows, DType dtype) {
  std::vector<float> out(static_cast<size_t>(num_rows * row_elems));
  std::vector<uint8_t> gathered(static_cast<size_t>(row_elems * core::dtype_bytes(dtype)));
  for (int64_t r = 0; r < num_rows; ++r) {
    const void* row = pages.row(0, run, row_elems, r, 0, row_elems, gathered.data());
    for (int64_t i = 0; i < row_elems; ++i)
      out[static_cast<size_t>(r * row_elems + i)] = core::load_as_float(row, dtype, i);
  }
  return out;
}

struct Element {
  DType dtype;
  int64_t offset(int64_t k) const {
    return dtype == DType::kBF16 ? packed_k_offset_bf16(k) : packed_k_offset_f32(k);
  }
  float load(const void* from, int64_t i) const { return core::load_as_float(from, dtype, i); }
  void store(void* to, int64_t i, float value) const {
    if (dtype == DType::kBF16) {
      static_cast<uint16_t*>(to)[i] = core::float_to_bf16(value);
    } else {
      static_cast<float*>(to)[i] = value;
    }
  }
};

}  // namespace

// Cost       reads the original once and writes the merged once; 2 N K R operations
void run_lora_merge(const LoraMergeParams& params, device::ThreadTeam& team) {
  const AdapterPages pages{params.batch, params.slice, params.page_bytes,
                           core::dtype_bytes(params.page_dtype)};
  const Element element{params.weight_dtype};
  for (int32_t j = 0; j < params.num_fused; ++j) {
    const core::LoraModule& module = pages.module(0, params.layer_idx, params.module_idx[j]);
    const std::vector<float> a =
        rows_of(pages, module.a, params.k, module.lora_rank, params.page_dtype);
    const std::vector<float> b =
        rows_of(pages, module.b, params.out_dim[j], module.lora_rank, params.page_dtype);
    team.parallel_for(static_cast<int32_t>(params.out_dim[j]), [&](int32_t o, int32_t) {
      const int64_t begin =
          packed_row_begin(params.weight_dtype, params.k, params.column_offset[j] + o);
      for (int64_t k = 0; k < params.k; ++k) {
        float sum = 0;
        for (int64_t r = 0; r < module.lora_rank; ++r)
          sum += b[static_cast<size_t>(r * params.out_dim[j] + o)] *
                 a[static_cast<size_t>(r * params.k + k)];
        const int64_t at = begin + element.offset(k);
        element.store(params.merged, at, element.load(params.original, at) + module.scale * sum);
      }
    });
  }
}

}  // namespace slora::kernels
