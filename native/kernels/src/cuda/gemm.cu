// y = x W^T (+ bias): few rows by our own kernels, many by cuBLASLt, what neither takes by a plain
// loop; a shape that was measured (gemm_tune.cu) as was fastest.
#include <algorithm>
#include <array>

#include "src/cuda/common.cuh"
#include "src/cuda/cuda_kernels.hpp"
#include "src/cuda/gemm_decode.cuh"
#include "src/cuda/gemm_plans.cuh"
#include "src/cuda/gemm_wgmma.cuh"
#include "src/cuda/warpgroups.cuh"

namespace slora::kernels::cuda {
namespace {

// What NVIDIA recommends for Hopper; enough for every split that the heuristics choose.
constexpr uint64_t kWorkspaceBytes = 32u << 20;

cudaDataType_t blas_type(DType dtype) {
  return dtype == DType::kF32 ? CUDA_R_32F : dtype == DType::kBF16 ? CUDA_R_16BF : CUDA_R_16F;
}

using Key = std::array<int64_t, 9>;

// All that a choice rests on, the device included.
Key key_of(cublasLtHandle_t blas, const GemmParams& params) {
  int64_t alignment = 0;
  for (const void* pointer : {params.x, params.w, static_cast<const void*>(params.y)})
    alignment = 2 * alignment + (reinterpret_cast<uintptr_t>(pointer) % 16 == 0);
  return {reinterpret_cast<int64_t>(blas),
          static_cast<int64_t>(params.weight_dtype),
          static_cast<int64_t>(params.y_dtype),
          params.m,
          params.n,
          params.k,
          params.x_stride,
          params.y_stride,
          alignment};
}

using Plans = BlasPlans<Key, GemmPlan>;
Plans& plans() {
  static auto* const all = new Plans;
  return *all;
}

// Row-major y [M, N] = x W^T is column-major y^T [N, M] = W (as [K, N] transposed) x^T.
bool make_layouts(const GemmParams& params, BlasPlan& plan) {
  const cublasOperation_t transposed = CUBLAS_OP_T;
  const cudaDataType_t type = blas_type(params.weight_dtype);
  // CUBLAS_COMPUTE_32F: fp32 products of fp32 operands, no TF32.
  return cublasLtMatmulDescCreate(&plan.matmul, CUBLAS_COMPUTE_32F, CUDA_R_32F) ==
             CUBLAS_STATUS_SUCCESS &&
         cublasLtMatmulDescSetAttribute(plan.matmul, CUBLASLT_MATMUL_DESC_TRANSA, &transposed,
                                        sizeof transposed) == CUBLAS_STATUS_SUCCESS &&
         cublasLtMatrixLayoutCreate(&plan.w, type, static_cast<uint64_t>(params.k),
                                    static_cast<uint64_t>(params.n),
                                    params.k) == CUBLAS_STATUS_SUCCESS &&
         cublasLtMatrixLayoutCreate(&plan.x, type, static_cast<uint64_t>(params.k),
                                    static_cast<uint64_t>(params.m),
                                    params.x_stride) == CUBLAS_STATUS_SUCCESS &&
         cublasLtMatrixLayoutCreate(
             &plan.y, blas_type(params.y_dtype), static_cast<uint64_t>(params.n),
             static_cast<uint64_t>(params.m), params.y_stride) == CUBLAS_STATUS_SUCCESS;
}

// One warp an output. For shapes that no other path takes.
template <typename T, typename Y>
__global__ void gemm_any_kernel(GemmParams params) {
  wait_for_inputs();
  const int64_t warps_a_block = blockDim.x / 32;
  const int64_t count = params.m * params.n;
  for (int64_t i = blockIdx.x * warps_a_block + threadIdx.x / 32; i < count;
       i += gridDim.x * warps_a_block) {
    const int64_t m = i / params.n, n = i % params.n;
    const T* x = static_cast<const T*>(params.x) + m * params.x_stride;
    const T* w = static_cast<const T*>(params.w) + n * params.k;
    float sum = 0;
    for (int64_t k = threadIdx.x % 32; k < params.k; k += 32)
      sum += to_float(x[k]) * to_float(w[k]);
    sum = warp_sum(sum);
    if (threadIdx.x % 32 != 0) continue;
    if (params.bias) sum += params.bias[n];
    static_cast<Y*>(params.y)[m * params.y_stride + n] = from_float<Y>(sum);
  }
}

template <typename Y>
__global__ void add_bias_kernel(GemmParams params) {
  allow_next();
  wait_for_inputs();
  const int64_t n = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (n >= params.n) return;
  const float bias = params.bias[n];
  for (int64_t m = blockIdx.y; m < params.m; m += gridDim.y) {
    Y* y = static_cast<Y*>(params.y) + m * params.y_stride + n;
    *y = from_float<Y>(to_float(*y) + bias);
  }
}

int32_t gemm_any(void* stream, const GemmParams& params) {
  const int64_t blocks =
      std::min<int64_t>(ceil_div(params.m * params.n, 8), int64_t{device_of(stream).sm_count} * 16);
  const dim3 grid(static_cast<unsigned>(blocks));
  return with_dtype(params.weight_dtype, [&](auto element) {
    using T = decltype(element);
    return params.y_dtype == DType::kF32
               ? launch(stream, gemm_any_kernel<T, float>, grid, dim3(256), 0, params)
               : launch(stream, gemm_any_kernel<T, T>, grid, dim3(256), 0, params);
  });
}

// Measured (docs/benchmarks.md): ahead of gemm_decode from 9 rows on and of the library up to 32.
// Above that x weighs too much, of which each block reads half.
bool prefers_warpgroups([[maybe_unused]] const device::cuda::CudaDevice& device,
                        [[maybe_unused]] const GemmParams& params) {
#ifdef SLORA_HAS_SM90A
  return params.m > 8 && may_use_warpgroups(device) && can_gemm_wgmma(params);
#else
  return false;
#endif
}

GemmPlan plan_by_rule(void* stream, const GemmParams& params) {
  const device::cuda::CudaDevice& device = device_of(stream);
  GemmPlan plan;
  if (prefers_warpgroups(device, params)) {
    plan.way = GemmWay::kWarpgroups;
  } else if (can_gemm_decode(device, params)) {
    plan.way = GemmWay::kDecode;
  } else {
    const std::vector<GemmPlan> found = library_plans(stream, params, 1);
    if (!found.empty()) plan = found.front();
  }
  return plan;
}

int32_t run_library(void* stream, const GemmParams& params, const GemmPlan& plan) {
  const float one = 1, zero = 0;
  if (cublasLtMatmul(device_of(stream).blas, plan.matmul, &one, params.w, plan.w, params.x, plan.x,
                     &zero, params.y, plan.y, params.y, plan.y, &plan.algorithm, params.workspace,
                     kWorkspaceBytes, raw(stream)) != CUBLAS_STATUS_SUCCESS) {
    const int32_t status = launch_status();
    return status ? status : static_cast<int32_t>(core::Status::kBackend);
  }
  if (!params.bias) return kOk;
  const dim3 grid(static_cast<unsigned>(ceil_div(params.n, 256)),
                  static_cast<unsigned>(std::min<int64_t>(params.m, 64)));
  return with_dtype(params.y_dtype, [&](auto element) {
    return launch(stream, add_bias_kernel<decltype(element)>, grid, dim3(256), 0, params);
  });
}

bool takes_update(void* stream, const GemmParams& params, const GemmPlan& plan) {
  if (plan.way == GemmWay::kDecode) return takes_update_decode(device_of(stream), params);
#ifdef SLORA_HAS_SM90A
  if (plan.way == GemmWay::kWarpgroups) return takes_update_wgmma(stream, params);
#endif
  return false;
}

}  // namespace

uint64_t gemm_workspace_bytes(DType, int64_t, int64_t) { return kWorkspaceBytes; }

std::vector<GemmPlan> library_plans(void* stream, const GemmParams& params, int most) {
  GemmPlan plan;
  cublasLtMatmulPreference_t preference = nullptr;
  const uint64_t workspace = kWorkspaceBytes;
  // Parts of a split sum meet in fp32: each rounded to y's type first would err by so much more.
  const uint32_t reductions = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
  std::vector<GemmPlan> found;
  if (make_layouts(params, plan) &&
      cublasLtMatmulPreferenceCreate(&preference) == CUBLAS_STATUS_SUCCESS &&
      cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                           &workspace, sizeof workspace) == CUBLAS_STATUS_SUCCESS &&
      cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                                           &reductions,
                                           sizeof reductions) == CUBLAS_STATUS_SUCCESS) {
    plan.way = GemmWay::kLibrary;
    plan.exists = true;
    for (const cublasLtMatmulAlgo_t& algorithm :
         ask_for_algorithms(device_of(stream).blas, preference, plan, most)) {
      plan.algorithm = algorithm;
      found.push_back(plan);
    }
  }
  if (preference) cublasLtMatmulPreferenceDestroy(preference);
  // Plans are kept with their descriptions, for as long as the process runs.
  if (found.empty()) {
    if (plan.matmul) cublasLtMatmulDescDestroy(plan.matmul);
    for (const cublasLtMatrixLayout_t layout : {plan.w, plan.x, plan.y}) {
      if (layout) cublasLtMatrixLayoutDestroy(layout);
    }
  }
  return found;
}

const GemmPlan& gemm_plan(void* stream, const GemmParams& params) {
  return plans().get(stream, key_of(device_of(stream).blas, params),
                     [&] { return plan_by_rule(stream, params); });
}

void keep_gemm_plan(void* stream, const GemmParams& params, const GemmPlan& plan) {
  plans().put(key_of(device_of(stream).blas, params), plan);
}

int32_t run_gemm_plan(void* stream, const GemmParams& params, const GemmPlan& plan) {
  switch (plan.way) {
    case GemmWay::kDecode:
      return gemm_decode(stream, params);
    case GemmWay::kWarpgroups:
#ifdef SLORA_HAS_SM90A
      return gemm_wgmma(stream, params);
#else
      return kUnsupported;
#endif
    case GemmWay::kLibrary:
      return run_library(stream, params, plan);
    case GemmWay::kAny:
      return gemm_any(stream, params);
  }
  return kUnsupported;
}

int32_t gemm(void* stream, const GemmParams* params) {
  if (!is_gemm_runnable(*params)) return kUnsupported;
  if (params->m == 0) return kOk;
  const GemmPlan& plan = gemm_plan(stream, *params);
  if (!params->update || takes_update(stream, *params, plan))
    return run_gemm_plan(stream, *params, plan);
  GemmParams base = *params;
  base.update = nullptr;
  if (const int32_t status = run_gemm_plan(stream, base, plan); status != kOk) return status;
  return lora_expand(stream, params->update);
}

}  // namespace slora::kernels::cuda
