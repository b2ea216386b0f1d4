// What adapters do beside shrink and expand: factors and offsets of a module's output, rows and
// updates of the embedding and of the head.
#include "src/cuda/lora_common.cuh"

namespace slora::kernels::cuda {
namespace {

constexpr int kExtraThreads = 256;

// ---- epilogue

// Number `index` of a row of fp32 numbers. The row lies in elements of the page's dtype, so a
// number may begin between words, even end in the next page.
template <typename T>
__device__ __forceinline__ float float_of_row(const LoraEpilogueParams& p, const int32_t* pages,
                                              core::PagePosition row, int64_t index) {
  constexpr int64_t kElems = static_cast<int64_t>(sizeof(float) / sizeof(T));
  const int64_t page_elems = p.page_bytes / static_cast<int64_t>(sizeof(T));
  const auto element = [&](int64_t i) {
    const int64_t linear = row.offset + i;
    const int64_t page = linear / page_elems;
    const uint8_t* from = p.slice + __ldg(pages + row.page + page) * p.page_bytes;
    return reinterpret_cast<const T*>(from) + (linear - page * page_elems);
  };
  if constexpr (kElems == 1) {
    return *element(index);
  } else {
    const uint32_t low = *reinterpret_cast<const uint16_t*>(element(index * 2));
    const uint32_t high = *reinterpret_cast<const uint16_t*>(element(index * 2 + 1));
    return __uint_as_float(low | high << 16);
  }
}

// Semantics  y[row, column] = y * factor + weight * offset, entries in order, rounded once
// Cost       y once, factors and offsets once a unit
// Grid       (256 columns of all fused modules one after another, units of 16 tokens)
template <typename T>
__global__ void __launch_bounds__(kExtraThreads)
    lora_epilogue_kernel(const __grid_constant__ LoraEpilogueParams p) {
  allow_next();
  wait_for_inputs();
  const LoraUnit unit = find_unit(p.batch, static_cast<int32_t>(blockIdx.y), kTileTokens);
  int32_t fused = 0;
  int64_t column = static_cast<int64_t>(blockIdx.x) * kExtraThreads;
  for (; fused + 1 < p.num_fused; ++fused) {
    const int64_t width = (p.out_dim[fused] + kExtraThreads - 1) / kExtraThreads * kExtraThreads;
    if (column < width) break;
    column -= width;
  }
  column += threadIdx.x;
  if (column >= p.out_dim[fused]) return;
  T* const y = static_cast<T*>(p.y) + (unit.begin + unit.first) * p.y_stride +
               p.column_offset[fused] + column;
  float value[kTileTokens];
  bool is_touched = false;
  for (int32_t e = unit.entry_begin; e < unit.entry_end; ++e) {
    const LoraEntry entry = p.batch.entries[e];
    const LoraAdapterRef& adapter = p.batch.adapters[entry.adapter_idx];
    const core::LoraModule module = *module_of(p.batch, adapter, p.layer_idx, p.module_idx[fused]);
    if (module.parts == 0) continue;
    if (!is_touched) {
#pragma unroll
      for (int row = 0; row < kTileTokens; ++row)
        value[row] = row < unit.count ? to_float(y[row * p.y_stride]) : 0.0f;
      is_touched = true;
    }
    const int32_t* pages = p.batch.pages + adapter.page_offset;
    const float factor =
        module.parts & core::kHasFactor ? float_of_row<T>(p, pages, module.factor, column) : 1.0f;
    const float offset = module.parts & core::kHasOffset
                             ? entry.weight * float_of_row<T>(p, pages, module.offset, column)
                             : 0.0f;
#pragma unroll
    for (int row = 0; row < kTileTokens; ++row) value[row] = fmaf(value[row], factor, offset);
  }
  if (!is_touched) return;
#pragma unroll
  for (int row = 0; row < kTileTokens; ++row) {
    if (row < unit.count) y[row * p.y_stride] = from_float<T>(value[row]);
  }
}

// ---- embedding

// The first of the ascending `ids` that is not less than `token`.
__device__ __forceinline__ int32_t lower_bound(const int32_t* ids, int32_t count, int32_t token) {
  int32_t low = 0, high = count;
  while (low < high) {
    const int32_t middle = (low + high) / 2;
    if (__ldg(ids + middle) < token) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

// The place of `token` among the changed rows, or -1.
__device__ __forceinline__ int32_t changed_row(const WideModule& module, int32_t token) {
  if (module.num_rows == 0) return -1;
  if (!module.row_ids) return token;
  const int32_t at = lower_bound(module.row_ids, module.num_rows, token);
  return at < module.num_rows && __ldg(module.row_ids + at) == token ? at : -1;
}

constexpr int kEmbedTokens = 4;

// Semantics  out[t] = the changed row, where there is one, plus the update; entries in order
// Cost       lora_rank + 1 rows of H a token
// Grid       (256 columns, units of 4 tokens)
template <typename T>
__global__ void __launch_bounds__(kExtraThreads)
    lora_embed_kernel(const __grid_constant__ LoraEmbedParams p) {
  allow_next();
  wait_for_inputs();
  const LoraUnit unit = find_unit(p.batch, static_cast<int32_t>(blockIdx.y), kEmbedTokens);
  const int64_t column = static_cast<int64_t>(blockIdx.x) * kExtraThreads + threadIdx.x;
  if (column >= p.hidden_size) return;
  for (int32_t i = 0; i < unit.count; ++i) {
    const int64_t t = unit.begin + unit.first + i;
    const int64_t id =
        p.history[p.token_slot[t] * p.history_stride + p.token_position[t]] - p.vocab_begin;
    if (id < 0 || id >= p.vocab_size) continue;
    const int32_t token = static_cast<int32_t>(id);
    float* const out = p.out + t * p.hidden_size + column;
    float value = *out;
    bool is_touched = false;
    for (int32_t e = unit.entry_begin; e < unit.entry_end; ++e) {
      const LoraEntry entry = p.batch.entries[e];
      const WideModule* wide = p.batch.adapters[entry.adapter_idx].wide;
      if (!wide) continue;
      const WideModule module = wide[0];
      if (const int32_t row = changed_row(module, token); row >= 0) {
        value =
            p.scale * to_float(static_cast<const T*>(module.rows)[row * p.hidden_size + column]);
        is_touched = true;
      }
      if (module.lora_rank == 0) continue;
      is_touched = true;
      const float* a = module.a + static_cast<int64_t>(token) * module.lora_rank;
      const float factor = p.scale * entry.weight * module.scale;
      for (int32_t r = 0; r < module.lora_rank; ++r)
        value = fmaf(factor * __ldg(a + r), __ldg(module.b + r * p.hidden_size + column), value);
    }
    if (is_touched) *out = value;
  }
}

// ---- head

constexpr int kHeadRows = 8;
constexpr int kHeadColumns = 4 * kExtraThreads;
constexpr int kHeadRanks = 32;

// x[0 .. kHeadRows) . row, by one warp; every lane has the sums.
template <typename T, typename Row>
__device__ __forceinline__ void dot_rows(float (&sum)[kHeadRows], const T* x, int64_t x_stride,
                                         int32_t rows, const Row* row, int64_t elems) {
#pragma unroll
  for (int i = 0; i < kHeadRows; ++i) sum[i] = 0;
  for (int64_t h = threadIdx.x % 32; h < elems; h += 32) {
    const float weight = to_float(row[h]);
#pragma unroll
    for (int i = 0; i < kHeadRows; ++i) {
      if (i < rows) sum[i] = fmaf(to_float(x[i * x_stride + h]), weight, sum[i]);
    }
  }
#pragma unroll
  for (int i = 0; i < kHeadRows; ++i) sum[i] = warp_sum(sum[i]);
}

// Changed rows whose token is in [begin, end), one a warp at a time.
template <typename T>
__device__ __forceinline__ void replace_logits(const LoraHeadParams& p, const WideModule& module,
                                               const T* x, int32_t rows, float* y, int32_t begin,
                                               int32_t end) {
  const int32_t first =
      module.row_ids ? lower_bound(module.row_ids, module.num_rows, begin) : begin;
  for (int32_t k = first + static_cast<int32_t>(threadIdx.x / 32); k < module.num_rows;
       k += kExtraThreads / 32) {
    const int32_t token = module.row_ids ? __ldg(module.row_ids + k) : k;
    if (token >= end) return;
    float sum[kHeadRows];
    dot_rows(sum, x, p.x_stride, rows, static_cast<const T*>(module.rows) + k * p.hidden_size,
             p.hidden_size);
#pragma unroll
    for (int i = 0; i < kHeadRows; ++i) {
      if (i < rows && threadIdx.x % 32 == 0) y[i * p.vocab_size + token] = sum[i];
    }
  }
}

// Semantics  y[i, id(k)] = x[i] . rows[k], then y[i, v] += weight * scale * (x[i] . A) . B[:, v];
//            entries in order
// Cost       changed rows and B once a unit, A once a block (from cache), y once
// Grid       (1024 logits, units of 8 rows)
template <typename T>
__global__ void __launch_bounds__(kExtraThreads)
    lora_head_kernel(const __grid_constant__ LoraHeadParams p) {
  __shared__ float t[kHeadRanks][kHeadRows];
  allow_next();
  wait_for_inputs();
  const LoraUnit unit = find_unit(p.batch, static_cast<int32_t>(blockIdx.y), kHeadRows);
  const int32_t begin = static_cast<int32_t>(blockIdx.x) * kHeadColumns;
  const int32_t end = min(begin + kHeadColumns, static_cast<int32_t>(p.vocab_size));
  const T* const x = static_cast<const T*>(p.x) + (unit.begin + unit.first) * p.x_stride;
  float* const y = p.y + (unit.begin + unit.first) * p.vocab_size;
  for (int32_t e = unit.entry_begin; e < unit.entry_end; ++e) {
    const LoraEntry entry = p.batch.entries[e];
    const WideModule* wide = p.batch.adapters[entry.adapter_idx].wide;
    if (!wide) continue;
    const WideModule module = wide[1];
    if (module.num_rows > 0) {
      replace_logits(p, module, x, unit.count, y, begin, end);
      __syncthreads();  // other threads add to these logits next
    }
    float sum[4][kHeadRows] = {};
    for (int32_t r0 = 0; r0 < module.lora_rank; r0 += kHeadRanks) {
      const int32_t ranks = min(kHeadRanks, module.lora_rank - r0);
      __syncthreads();  // the last ranks' t has been used
      for (int32_t r = static_cast<int32_t>(threadIdx.x / 32); r < ranks; r += kExtraThreads / 32) {
        float dots[kHeadRows];
        dot_rows(dots, x, p.x_stride, unit.count, module.a + (r0 + r) * p.hidden_size,
                 p.hidden_size);
        if (threadIdx.x % 32 == 0) {
#pragma unroll
          for (int i = 0; i < kHeadRows; ++i) t[r][i] = dots[i];
        }
      }
      __syncthreads();  // t is there for all
      for (int32_t r = 0; r < ranks; ++r) {
#pragma unroll
        for (int c = 0; c < 4; ++c) {
          const int32_t v = begin + c * kExtraThreads + static_cast<int32_t>(threadIdx.x);
          const float b = v < end ? __ldg(module.b + (r0 + r) * p.vocab_size + v) : 0.0f;
#pragma unroll
          for (int i = 0; i < kHeadRows; ++i) sum[c][i] = fmaf(t[r][i], b, sum[c][i]);
        }
      }
    }
    if (module.lora_rank == 0) continue;
    const float factor = entry.weight * module.scale;
#pragma unroll
    for (int c = 0; c < 4; ++c) {
      const int32_t v = begin + c * kExtraThreads + static_cast<int32_t>(threadIdx.x);
#pragma unroll
      for (int i = 0; i < kHeadRows; ++i) {
        if (v < end && i < unit.count) y[i * p.vocab_size + v] += factor * sum[c][i];
      }
    }
    __syncthreads();  // the next entry may replace these logits
  }
}

}  // namespace

int32_t lora_epilogue(void* stream, const LoraEpilogueParams* params) {
  const LoraBatch& batch = params->batch;
  if (batch.num_segments == 0) return kOk;
  if (!is_lora_runnable(batch, params->activation_dtype, params->page_dtype)) return kUnsupported;
  int64_t tiles = 0;
  for (int32_t j = 0; j < params->num_fused; ++j)
    tiles += ceil_div(params->out_dim[j], kExtraThreads);
  const dim3 grid(static_cast<unsigned>(tiles),
                  static_cast<unsigned>(num_units(batch, kTileTokens)));
  return with_dtype(params->page_dtype, [&](auto type) {
    return launch(stream, lora_epilogue_kernel<decltype(type)>, grid, dim3(kExtraThreads), 0,
                  *params);
  });
}

int32_t lora_embed(void* stream, const LoraEmbedParams* params) {
  const LoraBatch& batch = params->batch;
  if (batch.num_segments == 0) return kOk;
  if (!is_lora_runnable(batch, params->page_dtype, params->page_dtype)) return kUnsupported;
  const dim3 grid(static_cast<unsigned>(ceil_div(params->hidden_size, kExtraThreads)),
                  static_cast<unsigned>(num_units(batch, kEmbedTokens)));
  return with_dtype(params->page_dtype, [&](auto type) {
    return launch(stream, lora_embed_kernel<decltype(type)>, grid, dim3(kExtraThreads), 0, *params);
  });
}

int32_t lora_head(void* stream, const LoraHeadParams* params) {
  const LoraBatch& batch = params->batch;
  if (batch.num_segments == 0) return kOk;
  if (!is_lora_runnable(batch, params->activation_dtype, params->page_dtype)) return kUnsupported;
  const dim3 grid(static_cast<unsigned>(ceil_div(params->vocab_size, kHeadColumns)),
                  static_cast<unsigned>(num_units(batch, kHeadRows)));
  return with_dtype(params->page_dtype, [&](auto type) {
    return launch(stream, lora_head_kernel<decltype(type)>, grid, dim3(kExtraThreads), 0, *params);
  });
}

}  // namespace slora::kernels::cuda
