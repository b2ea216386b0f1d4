// Matmuls of few rows (M <= 16), bound by reading W once. bf16 and fp16.
#pragma once

#include "src/cuda/common.cuh"

namespace slora::kernels::cuda {

// Whether gemm_decode can run it (shape, dtype, alignment, device).
bool can_gemm_decode(const device::cuda::CudaDevice& device, const GemmParams& params);
int32_t gemm_decode(void* stream, const GemmParams& params);
// Whether it takes the update of one that it can run; params without an update otherwise.
bool takes_update_decode(const device::cuda::CudaDevice& device, const GemmParams& params);

}  // namespace slora::kernels::cuda
