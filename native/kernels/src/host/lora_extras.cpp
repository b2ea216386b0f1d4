// What adapters do beside shrink and expand: factors and offsets of a module's output, and changes
// of the embedding and of the head.
#include <algorithm>

#include "slora/kernels/host_kernels.hpp"
#include "src/host/isa.hpp"
#include "src/host/lora_rows.hpp"

namespace slora::kernels {
namespace {

// Columns a task, so that one row of a wide model uses all threads.
constexpr int64_t kColumns = 4096;

int64_t num_column_chunks(int64_t columns) { return (columns + kColumns - 1) / kColumns; }

// The entries of a segment that come with `kind` of WideModule.
template <typename Each>
void for_wide_modules(const LoraBatch& batch, int32_t segment, int32_t kind, const Each& each) {
  for (int32_t e = batch.entry_offsets[segment]; e < batch.entry_offsets[segment + 1]; ++e) {
    const LoraAdapterRef& adapter = batch.adapters[batch.entries[e].adapter_idx];
    if (adapter.wide) each(batch.entries[e], adapter.wide[kind]);
  }
}

// ---- epilogue

// A row of fp32 numbers in an adapter's pages.
const float* float_row(const AdapterPages& pages, int32_t adapter_idx, core::PagePosition run,
                       int64_t row_floats, int64_t begin, int64_t count, void* gathered) {
  const int64_t elems_a_float = static_cast<int64_t>(sizeof(float)) / pages.elem_bytes;
  return static_cast<const float*>(pages.row(adapter_idx, run, row_floats * elems_a_float, 0,
                                             begin * elems_a_float, count * elems_a_float,
                                             gathered));
}

void finish_module(const LoraEpilogueParams& params, const AdapterPages& pages, int32_t segment,
                   int32_t fused, void* scratch) {
  constexpr int64_t kPiece = 512;
  const LoraBatch& batch = params.batch;
  for (int32_t e = batch.entry_offsets[segment]; e < batch.entry_offsets[segment + 1]; ++e) {
    const LoraEntry& entry = batch.entries[e];
    const core::LoraModule& module =
        pages.module(entry.adapter_idx, params.layer_idx, params.module_idx[fused]);
    if (module.parts == 0) continue;
    for (int64_t begin = 0; begin < params.out_dim[fused]; begin += kPiece) {
      const int64_t count = std::min(kPiece, params.out_dim[fused] - begin);
      auto* gathered = static_cast<float*>(scratch);
      const float* factor = nullptr;
      const float* offset = nullptr;
      if (module.parts & core::kHasFactor) {
        factor = float_row(pages, entry.adapter_idx, module.factor, params.out_dim[fused], begin,
                           count, gathered);
      }
      if (module.parts & core::kHasOffset) {
        offset = float_row(pages, entry.adapter_idx, module.offset, params.out_dim[fused], begin,
                           count, gathered + kPiece);
      }
      for (int64_t t = batch.segment_begin[segment]; t < batch.segment_end[segment]; ++t) {
        float* y = static_cast<float*>(params.y) + t * params.y_stride +
                   params.column_offset[fused] + begin;
        if (factor) {
          for (int64_t i = 0; i < count; ++i) y[i] *= factor[i];
        }
        if (offset) {
          for (int64_t i = 0; i < count; ++i) y[i] += entry.weight * offset[i];
        }
      }
    }
  }
}

// ---- embedding

// The place of `token` among the changed rows, or -1.
int64_t changed_row(const WideModule& module, int32_t token) {
  if (module.num_rows == 0) return -1;
  if (!module.row_ids) return token;
  const int32_t* end = module.row_ids + module.num_rows;
  const int32_t* found = std::lower_bound(module.row_ids, end, token);
  return found != end && *found == token ? found - module.row_ids : -1;
}

void embed_token(const LoraEmbedParams& params, const LoraEntry& entry, const WideModule& module,
                 int32_t token, float* out) {
  const int64_t hidden = params.hidden_size;
  if (const int64_t row = changed_row(module, token); row >= 0) {
    for (int64_t h = 0; h < hidden; ++h) {
      out[h] = params.scale * core::load_as_float(module.rows, params.page_dtype, row * hidden + h);
    }
  }
  const float* a = module.a + static_cast<int64_t>(token) * module.lora_rank;
  for (int32_t r = 0; r < module.lora_rank; ++r) {
    isa().axpy(params.scale * entry.weight * module.scale * a[r], module.b + r * hidden, hidden,
               out);
  }
}

// ---- head

void replace_logits(const LoraHeadParams& params, const WideModule& module, const float* x,
                    int64_t begin, int64_t end, float* y) {
  const int64_t hidden = params.hidden_size;
  const bool is_whole = module.row_ids == nullptr;
  const int64_t first =
      is_whole ? begin
               : std::lower_bound(module.row_ids, module.row_ids + module.num_rows, begin) -
                     module.row_ids;
  for (int64_t k = first; k < module.num_rows; ++k) {
    const int64_t token = is_whole ? k : module.row_ids[k];
    if (token >= end) return;
    if (params.page_dtype == DType::kBF16) {
      isa().dot_bf16(x, 0, 1, static_cast<const uint16_t*>(module.rows) + k * hidden, nullptr,
                     hidden, y + token, 1);
    } else {
      isa().dot_f32(x, 0, 1, static_cast<const float*>(module.rows) + k * hidden, nullptr, hidden,
                    y + token, 1);
    }
  }
}

void head_row(const LoraHeadParams& params, const LoraEntry& entry, const WideModule& module,
              const float* x, int64_t begin, int64_t end, float* sums, float* y) {
  if (module.num_rows > 0) replace_logits(params, module, x, begin, end, y);
  if (module.lora_rank == 0) return;
  std::fill(sums, sums + (end - begin), 0.0f);
  for (int32_t r = 0; r < module.lora_rank; ++r) {
    float t = 0;
    isa().dot_f32(x, 0, 1, module.a + r * params.hidden_size, nullptr, params.hidden_size, &t, 1);
    isa().axpy(t, module.b + r * params.vocab_size + begin, end - begin, sums);
  }
  isa().axpy(entry.weight * module.scale, sums, end - begin, y + begin);
}

}  // namespace

// Cost       factors and offsets once a segment, y once
void run_lora_epilogue(const LoraEpilogueParams& params, device::ThreadTeam& team) {
  const AdapterPages pages{params.batch, params.slice, params.page_bytes,
                           core::dtype_bytes(params.page_dtype)};
  team.parallel_for(params.batch.num_segments * params.num_fused,
                    [&](int32_t task, int32_t thread) {
                      finish_module(params, pages, task / params.num_fused, task % params.num_fused,
                                    team.scratch(thread));
                    });
}

// Cost       lora_rank + 1 rows of H a token
void run_lora_embed(const LoraEmbedParams& params, device::ThreadTeam& team) {
  const LoraBatch& batch = params.batch;
  for (int32_t g = 0; g < batch.num_segments; ++g) {
    for_wide_modules(batch, g, 0, [&](const LoraEntry& entry, const WideModule& module) {
      if (module.lora_rank == 0 && module.num_rows == 0) return;
      const int32_t begin = batch.segment_begin[g];
      team.parallel_for(batch.segment_end[g] - begin, [&](int32_t i, int32_t) {
        const int64_t t = begin + i;
        const int64_t token =
            params
                .history[params.token_slot[t] * params.history_stride + params.token_position[t]] -
            params.vocab_begin;
        if (token < 0 || token >= params.vocab_size) return;
        embed_token(params, entry, module, static_cast<int32_t>(token),
                    params.out + t * params.hidden_size);
      });
    });
  }
}

// Cost       a changed row, or lora_rank multiply-adds, a logit; A once for every 4096 logits
void run_lora_head(const LoraHeadParams& params, device::ThreadTeam& team) {
  const LoraBatch& batch = params.batch;
  const int64_t chunks = num_column_chunks(params.vocab_size);
  for (int32_t g = 0; g < batch.num_segments; ++g) {
    for_wide_modules(batch, g, 1, [&](const LoraEntry& entry, const WideModule& module) {
      if (module.lora_rank == 0 && module.num_rows == 0) return;
      const int64_t rows = batch.segment_end[g] - batch.segment_begin[g];
      team.parallel_for(static_cast<int32_t>(rows * chunks), [&](int32_t task, int32_t thread) {
        const int64_t row = batch.segment_begin[g] + task / chunks;
        const int64_t begin = task % chunks * kColumns;
        head_row(params, entry, module, static_cast<const float*>(params.x) + row * params.x_stride,
                 begin, std::min(begin + kColumns, params.vocab_size),
                 static_cast<float*>(team.scratch(thread)), params.y + row * params.vocab_size);
      });
    });
  }
}

}  // namespace slora::kernels
