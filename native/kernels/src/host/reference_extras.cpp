// References of head norms, of epilogues and of changed embeddings and heads.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "slora/kernels/reference.hpp"

namespace slora::kernels::reference {
namespace {

// Number `index` of a row of fp32 numbers in pages, byte by byte.
double float_element(const LoraEpilogueParams& params, const LoraAdapterRef& adapter,
                     core::PagePosition run, int64_t index) {
  const int64_t elem_bytes = core::dtype_bytes(params.page_dtype);
  uint8_t bytes[sizeof(float)];
  for (size_t i = 0; i < sizeof(float); ++i) {
    const int64_t linear = run.offset * elem_bytes + index * static_cast<int64_t>(sizeof(float)) +
                           static_cast<int64_t>(i);
    const int32_t page_id =
        params.batch.pages[adapter.page_offset + run.page + linear / params.page_bytes];
    bytes[i] = params.slice[page_id * params.page_bytes + linear % params.page_bytes];
  }
  float value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

// The changed row of `token`, or -1.
int64_t changed_row(const WideModule& module, int64_t token) {
  for (int64_t k = 0; k < module.num_rows; ++k) {
    if ((module.row_ids ? module.row_ids[k] : k) == token) return k;
  }
  return -1;
}

}  // namespace

std::vector<double> lora_epilogue(const LoraEpilogueParams& params, int64_t num_tokens) {
  const LoraBatch& batch = params.batch;
  const auto* y = static_cast<const float*>(params.y);
  std::vector<double> out(y, y + num_tokens * params.y_stride);
  for (int32_t g = 0; g < batch.num_segments; ++g) {
    for (int32_t e = batch.entry_offsets[g]; e < batch.entry_offsets[g + 1]; ++e) {
      const LoraAdapterRef& adapter = batch.adapters[batch.entries[e].adapter_idx];
      for (int32_t j = 0; j < params.num_fused; ++j) {
        const core::LoraModule& module =
            adapter.modules[static_cast<int64_t>(params.layer_idx) * batch.num_modules +
                            params.module_idx[j]];
        for (int64_t t = batch.segment_begin[g]; t < batch.segment_end[g]; ++t) {
          for (int64_t o = 0; o < params.out_dim[j]; ++o) {
            double& value =
                out[static_cast<size_t>(t * params.y_stride + params.column_offset[j] + o)];
            if (module.parts & core::kHasFactor)
              value *= float_element(params, adapter, module.factor, o);
            if (module.parts & core::kHasOffset) {
              value += static_cast<double>(batch.entries[e].weight) *
                       float_element(params, adapter, module.offset, o);
            }
          }
        }
      }
    }
  }
  return out;
}

std::vector<double> lora_embed(const LoraEmbedParams& params, int64_t num_tokens) {
  const LoraBatch& batch = params.batch;
  const int64_t hidden = params.hidden_size;
  const float* base = params.out;
  std::vector<double> out(base, base + num_tokens * hidden);
  for (int32_t g = 0; g < batch.num_segments; ++g) {
    for (int32_t e = batch.entry_offsets[g]; e < batch.entry_offsets[g + 1]; ++e) {
      const LoraEntry& entry = batch.entries[e];
      if (!batch.adapters[entry.adapter_idx].wide) continue;
      const WideModule& module = batch.adapters[entry.adapter_idx].wide[0];
      for (int64_t t = batch.segment_begin[g]; t < batch.segment_end[g]; ++t) {
        const int64_t token =
            params
                .history[params.token_slot[t] * params.history_stride + params.token_position[t]] -
            params.vocab_begin;
        if (token < 0 || token >= params.vocab_size) continue;
        const int64_t row = changed_row(module, token);
        for (int64_t h = 0; h < hidden; ++h) {
          double& value = out[static_cast<size_t>(t * hidden + h)];
          if (row >= 0) {
            value = static_cast<double>(params.scale) *
                    core::load_as_float(module.rows, params.page_dtype, row * hidden + h);
          }
          for (int32_t r = 0; r < module.lora_rank; ++r) {
            value += static_cast<double>(params.scale) * entry.weight * module.scale *
                     module.a[token * module.lora_rank + r] * module.b[r * hidden + h];
          }
        }
      }
    }
  }
  return out;
}

std::vector<double> lora_head(const LoraHeadParams& params, int64_t num_outputs) {
  const LoraBatch& batch = params.batch;
  std::vector<double> y(params.y, params.y + num_outputs * params.vocab_size);
  for (int32_t g = 0; g < batch.num_segments; ++g) {
    for (int32_t e = batch.entry_offsets[g]; e < batch.entry_offsets[g + 1]; ++e) {
      const LoraEntry& entry = batch.entries[e];
      if (!batch.adapters[entry.adapter_idx].wide) continue;
      const WideModule& module = batch.adapters[entry.adapter_idx].wide[1];
      for (int64_t i = batch.segment_begin[g]; i < batch.segment_end[g]; ++i) {
        const float* x = static_cast<const float*>(params.x) + i * params.x_stride;
        for (int64_t v = 0; v < params.vocab_size; ++v) {
          double& value = y[static_cast<size_t>(i * params.vocab_size + v)];
          if (const int64_t row = changed_row(module, v); row >= 0) {
            value = 0;
            for (int64_t h = 0; h < params.hidden_size; ++h) {
              value +=
                  static_cast<double>(x[h]) *
                  core::load_as_float(module.rows, params.page_dtype, row * params.hidden_size + h);
            }
          }
          for (int32_t r = 0; r < module.lora_rank; ++r) {
            double t = 0;
            for (int64_t h = 0; h < params.hidden_size; ++h)
              t += static_cast<double>(x[h]) * module.a[r * params.hidden_size + h];
            value += static_cast<double>(entry.weight) * module.scale * t *
                     module.b[r * params.vocab_size + v];
          }
        }
      }
    }
  }
  return y;
}

std::vector<double> head_norm(const HeadNormParams& params) {
  const auto* in = static_cast<const float*>(params.qkv);
  std::vector<double> out(in, in + params.num_tokens * params.row_stride);
  const int32_t num_heads = params.num_heads + params.num_kv_heads;
  for (int64_t t = 0; t < params.num_tokens; ++t) {
    for (int64_t n = 0; n < num_heads; ++n) {
      const float* weight = n < params.num_heads ? params.q_weight : params.k_weight;
      double* head = out.data() + t * params.row_stride + n * params.head_size;
      double squares = 0;
      for (int32_t d = 0; d < params.head_size; ++d) squares += head[d] * head[d];
      const double factor = 1.0 / std::sqrt(squares / params.head_size + params.eps);
      for (int32_t d = 0; d < params.head_size; ++d)
        head[d] *= factor * (static_cast<double>(params.weight_offset) + weight[d]);
    }
  }
  return out;
}

}  // namespace slora::kernels::reference
