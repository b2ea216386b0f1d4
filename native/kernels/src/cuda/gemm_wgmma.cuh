// Matmuls of tens of rows by warpgroups, bound by reading W once. Built where the compiler knows
// sm_90a (CUDA 12 and later), which SLORA_HAS_SM90A says; used where the device is one.
#pragma once

#include "src/cuda/common.cuh"

namespace slora::kernels::cuda {

inline constexpr int64_t kMaxWarpgroupRows = 32;

// Whether gemm_wgmma can run it (shape, dtype, alignment).
bool can_gemm_wgmma(const GemmParams& params);
int32_t gemm_wgmma(void* stream, const GemmParams& params);
// Whether it takes the update of one that it can run; params without an update otherwise.
bool takes_update_wgmma(void* stream, const GemmParams& params);

}  // namespace slora::kernels::cuda
