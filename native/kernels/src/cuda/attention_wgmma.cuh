// Attention of rows of several tokens by warpgroups. Built where the compiler knows sm_90a (CUDA 12
// and later), which SLORA_HAS_SM90A says; used where the device is one.
#pragma once

#include "attention.cuh"

namespace slora::kernels::cuda {

inline bool fits_wgmma(const AttentionParams& params) { return params.head_size == 128; }
// Rows of at least `min_tokens` tokens, as launch_attention_prefill.
int32_t launch_attention_wgmma(void* stream, const AttentionParams& params, int32_t min_tokens,
                               bool is_beside);

}  // namespace slora::kernels::cuda
