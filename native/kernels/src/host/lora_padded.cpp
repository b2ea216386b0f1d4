// LoRA as batched matrix products over padded tensors: what systems without kernels of their own
// do. Gathers, multiplies zeros too, and adds.
#include <algorithm>
#include <vector>

#include "slora/kernels/host_kernels.hpp"
#include "src/host/lora_rows.hpp"

namespace slora::kernels {
namespace {

// The padded shape of a batch: one product a segment, for its first entry.
struct Padded {
  explicit Padded(const LoraBatch& batch) : num_batches(batch.num_segments) {
    for (int32_t g = 0; g < batch.num_segments; ++g) {
      tokens = std::max<int64_t>(tokens, batch.segment_end[g] - batch.segment_begin[g]);
      rank = std::max<int64_t>(rank, batch.entries[batch.entry_offsets[g]].t_stride);
    }
  }
  int32_t num_batches;
  int64_t tokens = 0;
  int64_t rank = 0;
};

// Rows of one module of one adapter into [padded.rank, row_elems], zeros after its own.
void gather(const AdapterPages& pages, const LoraEntry& entry, core::PagePosition run,
            int64_t row_elems, int64_t num_rows, DType dtype, const Padded& padded, float* out) {
  std::vector<uint8_t> gathered(static_cast<size_t>(row_elems * core::dtype_bytes(dtype)));
  for (int64_t r = 0; r < num_rows; ++r) {
    const void* row =
        pages.row(entry.adapter_idx, run, row_elems, r, 0, row_elems, gathered.data());
    for (int64_t i = 0; i < row_elems; ++i)
      out[r * row_elems + i] = core::load_as_float(row, dtype, i);
  }
  std::fill(out + num_rows * row_elems, out + padded.rank * row_elems, 0.0f);
}

}  // namespace

void run_lora_shrink_padded(const LoraShrinkParams& params, device::ThreadTeam& team) {
  const LoraBatch& batch = params.batch;
  const Padded padded(batch);
  const AdapterPages pages{batch, params.slice, params.page_bytes,
                           core::dtype_bytes(params.page_dtype)};
  team.parallel_for(padded.num_batches * params.num_fused, [&](int32_t task, int32_t) {
    const int32_t g = task / params.num_fused, j = task % params.num_fused;
    const LoraEntry& entry = batch.entries[batch.entry_offsets[g]];
    const core::LoraModule& module =
        pages.module(entry.adapter_idx, params.layer_idx, params.module_idx[j]);
    std::vector<float> a(static_cast<size_t>(padded.rank * params.in_dim));
    gather(pages, entry, module.a, params.in_dim, module.lora_rank, params.page_dtype, padded,
           a.data());
    const int64_t rows = batch.segment_end[g] - batch.segment_begin[g];
    std::vector<float> x(static_cast<size_t>(padded.tokens * params.in_dim), 0.0f);
    for (int64_t i = 0; i < rows; ++i) {
      const float* from =
          static_cast<const float*>(params.x) + (batch.segment_begin[g] + i) * params.x_stride;
      std::copy_n(from, params.in_dim, x.data() + i * params.in_dim);
    }
    for (int64_t i = 0; i < padded.tokens; ++i) {
      for (int64_t r = 0; r < padded.rank; ++r) {
        const float *x_row = x.data() + i * params.in_dim, *a_row = a.data() + r * params.in_dim;
        float sum[8] = {};
        int64_t h = 0;
        for (; h + 8 <= params.in_dim; h += 8)
          for (int u = 0; u < 8; ++u) sum[u] += x_row[h + u] * a_row[h + u];
        for (; h < params.in_dim; ++h) sum[0] += x_row[h] * a_row[h];
        const float total =
            ((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7]));
        if (i < rows && r < module.lora_rank)
          params.t[entry.t_offset + (j * rows + i) * entry.t_stride + r] = total;
      }
    }
  });
}

void run_lora_expand_padded(const LoraExpandParams& params, device::ThreadTeam& team) {
  const LoraBatch& batch = params.batch;
  const Padded padded(batch);
  const AdapterPages pages{batch, params.slice, params.page_bytes,
                           core::dtype_bytes(params.page_dtype)};
  team.parallel_for(padded.num_batches * params.num_fused, [&](int32_t task, int32_t) {
    const int32_t g = task / params.num_fused, j = task % params.num_fused;
    const LoraEntry& entry = batch.entries[batch.entry_offsets[g]];
    const core::LoraModule& module =
        pages.module(entry.adapter_idx, params.layer_idx, params.module_idx[j]);
    const int64_t out_dim = params.out_dim[j];
    const int64_t rows = batch.segment_end[g] - batch.segment_begin[g];
    std::vector<float> b(static_cast<size_t>(padded.rank * out_dim));
    gather(pages, entry, module.b, out_dim, module.lora_rank, params.page_dtype, padded, b.data());
    std::vector<float> sum(static_cast<size_t>(out_dim));
    for (int64_t i = 0; i < padded.tokens; ++i) {
      std::fill(sum.begin(), sum.end(), 0.0f);
      for (int64_t r = 0; r < padded.rank; ++r) {
        const bool is_real = i < rows && r < module.lora_rank;
        const float t =
            is_real ? params.t[entry.t_offset + (j * rows + i) * entry.t_stride + r] : 0.0f;
        const float* b_row = b.data() + r * out_dim;
        for (int64_t o = 0; o < out_dim; ++o) sum[static_cast<size_t>(o)] += t * b_row[o];
      }
      if (i >= rows) continue;
      float* y = static_cast<float*>(params.y) + (batch.segment_begin[g] + i) * params.y_stride +
                 params.column_offset[j];
      const float factor = entry.weight * module.scale;
      for (int64_t o = 0; o < out_dim; ++o) y[o] += factor * sum[static_cast<size_t>(o)];
    }
  });
}

}  // namespace slora::kernels
