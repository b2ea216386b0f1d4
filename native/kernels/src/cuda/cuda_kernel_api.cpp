// The CUDA backend's table of operations.
#include "src/cuda/cuda_kernels.hpp"

namespace slora::kernels::cuda {
namespace {

DType activation_dtype(DType compute_dtype) { return compute_dtype; }
int32_t supports_dtype(DType) { return 1; }
// Row-major [N, K]: one copy serves the matrix library and our own kernels.
uint64_t weight_bytes(DType dtype, int64_t n, int64_t k) {
  return static_cast<uint64_t>(n * k * core::dtype_bytes(dtype));
}

constexpr KernelApi make_table() {
  KernelApi api{};
  api.struct_size = sizeof(KernelApi);
  api.api_version = kKernelApiVersion;
  api.activation_dtype = activation_dtype;
  api.supports_dtype = supports_dtype;
  api.weight_bytes = weight_bytes;
  api.gemm_workspace_bytes = gemm_workspace_bytes;
  api.sample_workspace_bytes = sample_workspace_bytes;
  api.weight_pack = weight_pack;
  api.weight_fill = weight_fill;
  api.embed = embed;
  api.norm = norm;
  api.gemm = gemm;
  api.rope_kv = rope_kv;
  api.attention = attention;
  api.gated_activation = gated_activation;
  api.lora_shrink = lora_shrink;
  api.lora_expand = lora_expand;
  api.sample = sample;
  api.head_norm = head_norm;
  api.softcap = softcap;
  api.lora_epilogue = lora_epilogue;
  api.lora_embed = lora_embed;
  api.lora_head = lora_head;
  api.lora_partials = lora_partials;
  api.attention_workspace_bytes = attention_workspace_bytes;
  api.gather_columns = gather_columns;
  api.append_tokens = append_tokens;
  api.lora_pack = lora_pack;
  api.lora_unpack = lora_unpack;
  api.lora_shrink_padded = lora_shrink_padded;
  api.lora_expand_padded = lora_expand_padded;
  api.lora_merge = lora_merge;
  api.gemm_tune = gemm_tune;
  api.takes_updates = true;
  api.lora_find_rows = lora_find_rows;
  api.most_found_rows = 32;
  api.most_found_decode_rows = 16;
  api.most_updated_decode_rows = 8;
  return api;
}

}  // namespace

const KernelApi* cuda_kernel_api() {
  static constexpr KernelApi kTable = make_table();
  return &kTable;
}

}  // namespace slora::kernels::cuda
