// Looks up, once a step, where each row of a small batch has its A and B at every module
// (LoraRowHead).
#include "src/cuda/cuda_kernels.hpp"
#include "src/cuda/lora_row.cuh"

namespace slora::kernels::cuda {
namespace {

constexpr int kThreads = 128;

struct Dimensions {
  int64_t in_dim[kMostFoundModules];
  int64_t out_dim[kMostFoundModules];
};

// Grid       (tokens, shares of layers * modules): a thread writes both heads of one
// Kernels that begin early read the heads before they wait for what comes before them, so none may
// begin before this one ends: it does not allow it.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    lora_find_kernel(const __grid_constant__ LoraFindParams p,
                     const __grid_constant__ Dimensions dims) {
  wait_for_inputs();
  const auto token = static_cast<int32_t>(blockIdx.x);
  const LoraRow row = find_row(p.batch, token);
  const int32_t idx =
      static_cast<int32_t>(blockIdx.y) * kThreads + static_cast<int32_t>(threadIdx.x);
  if (idx >= p.num_layers * p.batch.num_modules) return;
  const int32_t layer_idx = idx / p.batch.num_modules;
  const int32_t module_idx = idx - layer_idx * p.batch.num_modules;
  const int64_t at = int64_t{idx} * p.batch.num_tokens + token;
  const uint8_t* const slice = p.slice + layer_idx * p.slice_bytes;
  p.a_heads[at] = find_head<T>(p.batch, row, layer_idx, module_idx, true, dims.in_dim[module_idx],
                               slice, p.page_bytes);
  p.b_heads[at] = find_head<T>(p.batch, row, layer_idx, module_idx, false, dims.out_dim[module_idx],
                               slice, p.page_bytes);
}

}  // namespace

int32_t lora_find_rows(void* stream, const LoraFindParams* params) {
  const LoraBatch& batch = params->batch;
  if (batch.num_modules > kMostFoundModules) return kUnsupported;
  if (batch.num_segments == 0 || batch.num_tokens == 0) return kOk;
  Dimensions dims{};
  for (int32_t j = 0; j < batch.num_modules; ++j) {
    dims.in_dim[j] = params->in_dim[j];
    dims.out_dim[j] = params->out_dim[j];
  }
  const int32_t pairs = params->num_layers * batch.num_modules;
  const dim3 grid(static_cast<unsigned>(batch.num_tokens),
                  static_cast<unsigned>(ceil_div(pairs, kThreads)));
  return with_dtype(params->page_dtype, [&](auto element) {
    return launch(stream, lora_find_kernel<decltype(element)>, grid, dim3(kThreads), 0, *params,
                  dims);
  });
}

}  // namespace slora::kernels::cuda
