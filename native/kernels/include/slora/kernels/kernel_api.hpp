// The kernel half of the backend seam: the C table of every operation. The operations' parameters
// stand by group in the headers that this one includes. C++17.
//
// Kernels know shapes and spans, no sequences, requests or policy. All pointers are device memory;
// every call enqueues on the caller's stream, allocates nothing and returns a core::Status value.
// Letters: T tokens, S rows of the batch (sequences), H hidden, N heads, D head size, R lora_rank,
// V vocabulary, L layers.
//
// Results of the host backend do not depend on what else is in the batch: each output element is
// one fixed sum, in an order that depends on nothing but its own operands' lengths. That is what
// makes a request's tokens bitwise equal alone and in any mixed batch, however its prompt is
// chunked.
#pragma once

#include <cstdint>

#include "slora/core/dtype.hpp"
#include "slora/kernels/attention_params.hpp"
#include "slora/kernels/base_params.hpp"
#include "slora/kernels/exchange_params.hpp"
#include "slora/kernels/lora_params.hpp"
#include "slora/kernels/sample_params.hpp"
#include "slora/kernels/weight_params.hpp"

namespace slora::kernels {

inline constexpr uint32_t kKernelApiVersion = 9;

inline constexpr int32_t kMostFoundModules = 8;  // a layer, that lora_find_rows takes

struct KernelApi {
  uint32_t struct_size;
  uint32_t api_version;

  // The dtype of activations between operations for a compute dtype: fp32 on the host, the compute
  // dtype on CUDA.
  DType (*activation_dtype)(DType compute_dtype);
  int32_t (*supports_dtype)(DType compute_dtype);  // 1 or 0

  uint64_t (*weight_bytes)(DType dtype, int64_t n, int64_t k);
  uint64_t (*gemm_workspace_bytes)(DType weight_dtype, int64_t m, int64_t k);
  uint64_t (*sample_workspace_bytes)(int64_t num_rows, int64_t vocab_size);

  int32_t (*weight_pack)(void* stream, const WeightPackParams* params);
  int32_t (*weight_fill)(void* stream, const WeightFillParams* params);
  int32_t (*embed)(void* stream, const EmbedParams* params);
  int32_t (*norm)(void* stream, const NormParams* params);
  int32_t (*gemm)(void* stream, const GemmParams* params);
  int32_t (*rope_kv)(void* stream, const RopeKvParams* params);
  int32_t (*attention)(void* stream, const AttentionParams* params);
  int32_t (*gated_activation)(void* stream, const GatedActivationParams* params);
  int32_t (*lora_shrink)(void* stream, const LoraShrinkParams* params);
  int32_t (*lora_expand)(void* stream, const LoraExpandParams* params);
  int32_t (*sample)(void* stream, const SampleParams* params);

  int32_t (*head_norm)(void* stream, const HeadNormParams* params);
  int32_t (*softcap)(void* stream, const SoftcapParams* params);
  int32_t (*lora_epilogue)(void* stream, const LoraEpilogueParams* params);
  int32_t (*lora_embed)(void* stream, const LoraEmbedParams* params);
  int32_t (*lora_head)(void* stream, const LoraHeadParams* params);

  // Most partial sums of the LoRA intermediate in a batch of num_tokens tokens; no more for more
  // tokens. Host: 1.
  int32_t (*lora_partials)(int64_t num_tokens);
  uint64_t (*attention_workspace_bytes)(int64_t num_tokens, int32_t num_heads, int32_t head_size);

  int32_t (*gather_columns)(void* stream, const GatherColumnsParams* params);
  int32_t (*append_tokens)(void* stream, const AppendTokensParams* params);
  // packed's share `part` = t, partial sums added, in order; elements that no rank holds are zero.
  int32_t (*lora_pack)(void* stream, const LoraExchangeParams* params);
  // t = packed's shares, one sum each: an expand after it takes t_stride 0.
  int32_t (*lora_unpack)(void* stream, const LoraExchangeParams* params);

  // ---- of experiments (native/ablation) alone; null where a backend lacks them

  // As lora_shrink and lora_expand, the way of batched matrix products: adapters are gathered into
  // contiguous tensors of the batch's largest rank and tokens into those of its longest segment,
  // zeros between. Of each segment the first entry alone. May allocate.
  int32_t (*lora_shrink_padded)(void* stream, const LoraShrinkParams* params) = nullptr;
  int32_t (*lora_expand_padded)(void* stream, const LoraExpandParams* params) = nullptr;
  int32_t (*lora_merge)(void* stream, const LoraMergeParams* params) = nullptr;

  // ---- before recording

  // Measures the ways of computing products of this shape and keeps the fastest for later calls of
  // gemm, of the process. Waits; the device should have nothing else to do. Not while recording.
  // Null: there is but one way.
  int32_t (*gemm_tune)(void* stream, const GemmTuneParams* params) = nullptr;

  // ---- updates within the base's product

  // Whether gemm takes an `update`, in place of an expand after it. A decode step of more than
  // most_updated_decode_rows is faster with the expand.
  bool takes_updates = false;
  int32_t most_updated_decode_rows = 0;
  // Looks up the rows of a step of at most kMostFoundModules modules, which is worth it up to
  // most_found_rows tokens, most_found_decode_rows where no row has more than one. Null: none is.
  int32_t (*lora_find_rows)(void* stream, const LoraFindParams* params) = nullptr;
  int32_t most_found_rows = 0;
  int32_t most_found_decode_rows = 0;
};

// The host backend's table, for the best instruction set of this machine ("generic", "avx2",
// "avx512", "avx512_bf16"); SLORA_HOST_ISA may ask for a lesser one.
const KernelApi* host_kernel_api();
const char* host_kernel_isa();

}  // namespace slora::kernels
