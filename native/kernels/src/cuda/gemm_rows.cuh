// Matmuls of tens of rows, still bound by reading W once. bf16 and fp16, compute capability 9.0.
#pragma once

#include "src/cuda/common.cuh"

namespace slora::kernels::cuda {

inline constexpr int64_t kMaxGemmRows = 128;

// Whether gemm_rows can run it (shape, dtype, alignment, device).
bool can_gemm_rows(const device::cuda::CudaDevice& device, const GemmParams& params);
int32_t gemm_rows(void* stream, const GemmParams& params);

}  // namespace slora::kernels::cuda
