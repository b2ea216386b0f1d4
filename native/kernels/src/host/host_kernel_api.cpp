// The host backend's table: checks what the kernels cannot run, enqueues the rest.
#include "slora/core/status.hpp"
#include "slora/device/host_device.hpp"
#include "slora/kernels/host_kernels.hpp"
#include "src/host/gemm.hpp"
#include "src/host/packed_weight.hpp"
#include "src/host/sample_processors.hpp"

namespace slora::kernels {
namespace {

using core::Status;

// Limits that come from a thread's scratch (ThreadTeam::kScratchBytes): a gathered row of A, and
// the query rows of a task of attention. Both are several times what any published model has.
constexpr int64_t kMaxLoraRowElems = device::ThreadTeam::kScratchBytes / 4;
constexpr int32_t kMaxHeadSize = 512;

constexpr int32_t kOk = static_cast<int32_t>(Status::kOk);
constexpr int32_t kUnsupported = static_cast<int32_t>(Status::kUnsupported);

DType activation_dtype(DType) { return DType::kF32; }
int32_t supports_dtype(DType dtype) { return dtype == DType::kF32 || dtype == DType::kBF16; }

uint64_t weight_bytes(DType dtype, int64_t n, int64_t k) {
  return static_cast<uint64_t>(num_column_blocks(n) * packed_block_elems(dtype, k) *
                               core::dtype_bytes(dtype));
}
uint64_t gemm_workspace_bytes(DType weight_dtype, int64_t m, int64_t k) {
  return weight_dtype == DType::kBF16 ? static_cast<uint64_t>(m * rounded_x_stride(k) * 2) : 0;
}
uint64_t sample_workspace_bytes(int64_t num_rows, int64_t vocab_size) {
  return static_cast<uint64_t>(num_rows * kSampleScratchArrays * vocab_size) * sizeof(float);
}

int32_t lora_partials(int64_t) { return 1; }
uint64_t attention_workspace_bytes(int64_t, int32_t, int32_t) { return 0; }

// The stream's thread cannot report: what a kernel cannot run is refused here.
bool can_run(const WeightPackParams& params) { return supports_dtype(params.dst_dtype) == 1; }
bool can_run(const WeightFillParams& params) { return supports_dtype(params.dtype) == 1; }
bool can_run(const EmbedParams& params) { return supports_dtype(params.weight_dtype) == 1; }
bool can_run(const NormParams& params) {
  return params.activation_dtype == DType::kF32 && params.residual_dtype == DType::kF32 &&
         !(params.row_indices && params.delta);
}
bool can_run(const GemmParams& params) {
  return supports_dtype(params.weight_dtype) == 1 && params.activation_dtype == DType::kF32 &&
         params.y_dtype == DType::kF32;
}
bool can_run(const RopeKvParams& params) {
  return params.activation_dtype == DType::kF32 && supports_dtype(params.page_dtype) == 1 &&
         params.rotary_size % 2 == 0 && params.rotary_size <= params.head_size;
}
bool can_run(const AttentionParams& params) {
  return params.activation_dtype == DType::kF32 && supports_dtype(params.page_dtype) == 1 &&
         params.head_size <= kMaxHeadSize && params.num_heads % params.num_kv_heads == 0;
}
bool can_run(const GatedActivationParams& params) { return params.activation_dtype == DType::kF32; }
bool can_run(const LoraShrinkParams& params) {
  return params.activation_dtype == DType::kF32 && supports_dtype(params.page_dtype) == 1 &&
         params.num_fused <= kMaxFusedModules && params.in_dim <= kMaxLoraRowElems;
}
bool can_run(const LoraExpandParams& params) {
  return params.activation_dtype == DType::kF32 && supports_dtype(params.page_dtype) == 1 &&
         params.num_fused <= kMaxFusedModules;
}
bool can_run(const LoraEpilogueParams& params) {
  return params.activation_dtype == DType::kF32 && supports_dtype(params.page_dtype) == 1 &&
         params.num_fused <= kMaxFusedModules;
}
bool can_run(const LoraMergeParams& params) {
  return supports_dtype(params.weight_dtype) == 1 && supports_dtype(params.page_dtype) == 1 &&
         params.num_fused <= kMaxFusedModules;
}
bool can_run(const LoraEmbedParams& params) { return supports_dtype(params.page_dtype) == 1; }
bool can_run(const LoraHeadParams& params) {
  return params.activation_dtype == DType::kF32 && supports_dtype(params.page_dtype) == 1;
}
bool can_run(const HeadNormParams& params) { return params.activation_dtype == DType::kF32; }
bool can_run(const SoftcapParams& params) { return params.cap > 0; }
bool can_run(const SampleParams&) { return true; }
bool can_run(const GatherColumnsParams&) { return true; }
bool can_run(const AppendTokensParams&) { return true; }
bool can_run(const LoraExchangeParams&) { return true; }

template <auto kRun, typename Params>
int32_t enqueue(void* stream, const Params* params) {
  if (!can_run(*params)) return kUnsupported;
  device::enqueue_host<kRun>(stream, *params);
  return kOk;
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
  api.weight_pack = enqueue<run_weight_pack, WeightPackParams>;
  api.weight_fill = enqueue<run_weight_fill, WeightFillParams>;
  api.embed = enqueue<run_embed, EmbedParams>;
  api.norm = enqueue<run_norm, NormParams>;
  api.gemm = enqueue<run_gemm, GemmParams>;
  api.rope_kv = enqueue<run_rope_kv, RopeKvParams>;
  api.attention = enqueue<run_attention, AttentionParams>;
  api.gated_activation = enqueue<run_gated_activation, GatedActivationParams>;
  api.lora_shrink = enqueue<run_lora_shrink, LoraShrinkParams>;
  api.lora_expand = enqueue<run_lora_expand, LoraExpandParams>;
  api.sample = enqueue<run_sample, SampleParams>;
  api.head_norm = enqueue<run_head_norm, HeadNormParams>;
  api.softcap = enqueue<run_softcap, SoftcapParams>;
  api.lora_epilogue = enqueue<run_lora_epilogue, LoraEpilogueParams>;
  api.lora_embed = enqueue<run_lora_embed, LoraEmbedParams>;
  api.lora_head = enqueue<run_lora_head, LoraHeadParams>;
  api.lora_partials = lora_partials;
  api.attention_workspace_bytes = attention_workspace_bytes;
  api.gather_columns = enqueue<run_gather_columns, GatherColumnsParams>;
  api.append_tokens = enqueue<run_append_tokens, AppendTokensParams>;
  api.lora_pack = enqueue<run_lora_pack, LoraExchangeParams>;
  api.lora_unpack = enqueue<run_lora_unpack, LoraExchangeParams>;
  api.lora_shrink_padded = enqueue<run_lora_shrink_padded, LoraShrinkParams>;
  api.lora_expand_padded = enqueue<run_lora_expand_padded, LoraExpandParams>;
  api.lora_merge = enqueue<run_lora_merge, LoraMergeParams>;
  return api;
}

}  // namespace

const KernelApi* host_kernel_api() {
  static constexpr KernelApi kTable = make_table();
  return &kTable;
}

}  // namespace slora::kernels
