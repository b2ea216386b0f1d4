// The CUDA side of KernelApi, one function an operation. Each checks what it cannot run
// (kUnsupported), launches on the stream and answers the launch's status.
#pragma once

#include "slora/kernels/kernel_api.hpp"

namespace slora::kernels::cuda {

const KernelApi* cuda_kernel_api();

// weights.cu, gemm*.cu
int32_t weight_pack(void* stream, const WeightPackParams* params);
int32_t weight_fill(void* stream, const WeightFillParams* params);
int32_t gemm(void* stream, const GemmParams* params);
int32_t gemm_tune(void* stream, const GemmTuneParams* params);
uint64_t gemm_workspace_bytes(DType weight_dtype, int64_t m, int64_t k);

// elementwise.cu
int32_t embed(void* stream, const EmbedParams* params);
int32_t norm(void* stream, const NormParams* params);
int32_t gated_activation(void* stream, const GatedActivationParams* params);
int32_t softcap(void* stream, const SoftcapParams* params);

// rope.cu
int32_t head_norm(void* stream, const HeadNormParams* params);
int32_t rope_kv(void* stream, const RopeKvParams* params);

// attention.cu
int32_t attention(void* stream, const AttentionParams* params);
uint64_t attention_workspace_bytes(int64_t num_tokens, int32_t num_heads, int32_t head_size);

// lora*.cu
int32_t lora_shrink(void* stream, const LoraShrinkParams* params);
int32_t lora_expand(void* stream, const LoraExpandParams* params);
int32_t lora_partials(int64_t num_tokens);
int32_t lora_find_rows(void* stream, const LoraFindParams* params);
int32_t lora_shrink_padded(void* stream, const LoraShrinkParams* params);
int32_t lora_expand_padded(void* stream, const LoraExpandParams* params);
int32_t lora_merge(void* stream, const LoraMergeParams* params);
int32_t lora_epilogue(void* stream, const LoraEpilogueParams* params);
int32_t lora_embed(void* stream, const LoraEmbedParams* params);
int32_t lora_head(void* stream, const LoraHeadParams* params);

// tensor_parallel.cu
int32_t gather_columns(void* stream, const GatherColumnsParams* params);
int32_t append_tokens(void* stream, const AppendTokensParams* params);
int32_t lora_pack(void* stream, const LoraExchangeParams* params);
int32_t lora_unpack(void* stream, const LoraExchangeParams* params);

// sample.cu
int32_t sample(void* stream, const SampleParams* params);
uint64_t sample_workspace_bytes(int64_t num_rows, int64_t vocab_size);

}  // namespace slora::kernels::cuda
