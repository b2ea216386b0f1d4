// The host kernels as plain functions on a team: what the table's entries enqueue. For tests and
// benchmarks; the engine goes through host_kernel_api().
#pragma once

#include <vector>

#include "slora/device/host_device.hpp"
#include "slora/kernels/kernel_api.hpp"

namespace slora::kernels {

void run_weight_pack(const WeightPackParams& params, device::ThreadTeam& team);
void run_weight_fill(const WeightFillParams& params, device::ThreadTeam& team);
void run_embed(const EmbedParams& params, device::ThreadTeam& team);
void run_norm(const NormParams& params, device::ThreadTeam& team);
void run_gemm(const GemmParams& params, device::ThreadTeam& team);
void run_rope_kv(const RopeKvParams& params, device::ThreadTeam& team);
void run_attention(const AttentionParams& params, device::ThreadTeam& team);
void run_gated_activation(const GatedActivationParams& params, device::ThreadTeam& team);
void run_lora_shrink(const LoraShrinkParams& params, device::ThreadTeam& team);
void run_lora_expand(const LoraExpandParams& params, device::ThreadTeam& team);
void run_lora_shrink_padded(const LoraShrinkParams& params, device::ThreadTeam& team);
void run_lora_expand_padded(const LoraExpandParams& params, device::ThreadTeam& team);
void run_lora_merge(const LoraMergeParams& params, device::ThreadTeam& team);
void run_lora_epilogue(const LoraEpilogueParams& params, device::ThreadTeam& team);
void run_lora_embed(const LoraEmbedParams& params, device::ThreadTeam& team);
void run_lora_head(const LoraHeadParams& params, device::ThreadTeam& team);
void run_head_norm(const HeadNormParams& params, device::ThreadTeam& team);
void run_softcap(const SoftcapParams& params, device::ThreadTeam& team);
void run_gather_columns(const GatherColumnsParams& params, device::ThreadTeam& team);
void run_append_tokens(const AppendTokensParams& params, device::ThreadTeam& team);
void run_lora_pack(const LoraExchangeParams& params, device::ThreadTeam& team);
void run_lora_unpack(const LoraExchangeParams& params, device::ThreadTeam& team);
void run_sample(const SampleParams& params, device::ThreadTeam& team);

// Semantics  out[v] = the probability of drawing v for params.rows[row_idx], after all processors;
// one-hot if greedy.
//            out [vocab_size]; uses the row's part of the workspace.
void host_sample_distribution(const SampleParams& params, int32_t row_idx, float* out);

// Names of the instruction sets that this machine can run, from the plainest to the best.
std::vector<const char*> host_isas();
// Makes all kernels use another one; false if this machine cannot. Not while kernels run.
bool use_host_isa(const char* name);

}  // namespace slora::kernels
