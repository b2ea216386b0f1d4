// How a matmul of one shape is computed: by rule (gemm.cu), or as gemm_tune.cu has measured.
#pragma once

#include "src/cuda/blas_plans.cuh"

namespace slora::kernels::cuda {

enum class GemmWay { kDecode, kWarpgroups, kLibrary, kAny };

struct GemmPlan : BlasPlan {
  GemmWay way = GemmWay::kAny;
};

inline bool is_gemm_runnable(const GemmParams& params) {
  return params.weight_dtype == params.activation_dtype &&
         (params.y_dtype == DType::kF32 || params.y_dtype == params.activation_dtype);
}

// What serves calls of this shape from now on.
const GemmPlan& gemm_plan(void* stream, const GemmParams& params);
void keep_gemm_plan(void* stream, const GemmParams& params, const GemmPlan& plan);

// A plan for each of the library's choices, at most `most`, the likeliest first.
std::vector<GemmPlan> library_plans(void* stream, const GemmParams& params, int most);

// `plan` is one of this shape.
int32_t run_gemm_plan(void* stream, const GemmParams& params, const GemmPlan& plan);

}  // namespace slora::kernels::cuda
