// An adapter merged into a row-major matrix.
#include "src/cuda/lora_common.cuh"

namespace slora::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kRows = 16;   // of W a block: so often is a row of A read once
constexpr int kRanks = 64;  // of B in shared memory at a time

// Semantics  as LoraMergeParams, fused module blockIdx.z
// Cost       W read and written once, A once a 16 rows of W (from the cache), 2 N K R operations
// Grid       (k by 256, rows by 16, fused modules)
template <typename T>
__global__ void __launch_bounds__(kThreads)
    lora_merge_kernel(const __grid_constant__ LoraMergeParams p) {
  // No allow_next(): what is written here are weights, which the kernels after it take for
  // constants and fetch before they wait.
  wait_for_inputs();
  const int32_t fused = static_cast<int32_t>(blockIdx.z);
  const int64_t first = int64_t{blockIdx.y} * kRows;
  if (first >= p.out_dim[fused]) return;
  const int64_t rows = min(int64_t{kRows}, p.out_dim[fused] - first);
  const int64_t k = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  const LoraAdapterRef& adapter = p.batch.adapters[0];
  const core::LoraModule module = *module_of(p.batch, adapter, p.layer_idx, p.module_idx[fused]);
  const int32_t* pages = p.batch.pages + adapter.page_offset;
  __shared__ float b[kRanks][kRows];
  float sum[kRows] = {};
  for (int32_t r0 = 0; r0 < module.lora_rank; r0 += kRanks) {
    const int32_t ranks = min(kRanks, module.lora_rank - r0);
    __syncthreads();  // the last ranks' b has been read
    for (int32_t i = static_cast<int32_t>(threadIdx.x); i < ranks * kRows; i += kThreads) {
      const int32_t r = i / kRows, row = i % kRows;
      int64_t piece;
      b[r][row] = row < rows
                      ? to_float(*piece_of_row<T>(p.slice, p.page_bytes, pages, module.b,
                                                  p.out_dim[fused], r0 + r, first + row, &piece))
                      : 0.0f;
    }
    __syncthreads();  // b is there for all
    for (int32_t r = 0; k < p.k && r < ranks; ++r) {
      int64_t piece;
      const float a = to_float(
          *piece_of_row<T>(p.slice, p.page_bytes, pages, module.a, p.k, r0 + r, k, &piece));
#pragma unroll
      for (int row = 0; row < kRows; ++row) sum[row] = fmaf(b[r][row], a, sum[row]);
    }
  }
  if (k >= p.k) return;
#pragma unroll
  for (int row = 0; row < kRows; ++row) {
    if (row >= rows) break;
    const int64_t at = (p.column_offset[fused] + first + row) * p.k + k;
    static_cast<T*>(p.merged)[at] = from_float<T>(
        fmaf(module.scale, sum[row], to_float(static_cast<const T*>(p.original)[at])));
  }
}

}  // namespace

int32_t lora_merge(void* stream, const LoraMergeParams* params) {
  if (params->weight_dtype != params->page_dtype || params->num_fused > kMaxFusedModules)
    return kUnsupported;
  int64_t widest = 0;
  for (int32_t j = 0; j < params->num_fused; ++j)
    widest = params->out_dim[j] > widest ? params->out_dim[j] : widest;
  if (widest == 0) return kOk;
  const dim3 grid(static_cast<unsigned>(ceil_div(params->k, kThreads)),
                  static_cast<unsigned>(ceil_div(widest, kRows)),
                  static_cast<unsigned>(params->num_fused));
  return with_dtype(params->weight_dtype, [&](auto element) {
    return launch(stream, lora_merge_kernel<decltype(element)>, grid, dim3(kThreads), 0, *params);
  });
}

}  // namespace slora::kernels::cuda
