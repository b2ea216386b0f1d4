// Measures the ways of computing a matmul of one shape and keeps the fastest for gemm.
//
// What bounds a decode step's matmul is reading W, and how near to that one comes is a matter of
// tiles, clusters and splits that the library's heuristics guess from the shape alone: its first
// choice takes up to two fifths longer than the best (docs/benchmarks.md). Tried are all that it
// offers and the same with other clusters and without splits.
#include <algorithm>
#include <cstring>
#include <limits>

#include "src/cuda/cuda_kernels.hpp"
#include "src/cuda/gemm_plans.cuh"

namespace slora::kernels::cuda {
namespace {

constexpr int kAsked = 8;      // of the library's own choices
constexpr size_t kFinals = 6;  // candidates that are measured again
// Faster by less than this is noise; then the candidate that comes first is kept, so that two runs
// mostly agree.
constexpr float kNoise = 1.01f;

// The same algorithm with another cluster, and without a split of the sum; false where the library
// does not take it so.
bool vary(cublasLtHandle_t blas, GemmPlan& plan, uint16_t cluster, bool is_whole) {
  cublasLtMatmulAlgo_t* const algorithm = &plan.algorithm;
  const int32_t one = 1;
  const uint32_t no_reduction = CUBLASLT_REDUCTION_SCHEME_NONE;
  cublasLtMatmulHeuristicResult_t result{};
  return cublasLtMatmulAlgoConfigSetAttribute(algorithm, CUBLASLT_ALGO_CONFIG_CLUSTER_SHAPE_ID,
                                              &cluster, sizeof cluster) == CUBLAS_STATUS_SUCCESS &&
         (!is_whole ||
          (cublasLtMatmulAlgoConfigSetAttribute(algorithm, CUBLASLT_ALGO_CONFIG_SPLITK_NUM, &one,
                                                sizeof one) == CUBLAS_STATUS_SUCCESS &&
           cublasLtMatmulAlgoConfigSetAttribute(algorithm, CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME,
                                                &no_reduction,
                                                sizeof no_reduction) == CUBLAS_STATUS_SUCCESS)) &&
         cublasLtMatmulAlgoCheck(blas, plan.matmul, plan.w, plan.x, plan.y, plan.y, algorithm,
                                 &result) == CUBLAS_STATUS_SUCCESS &&
         result.workspaceSize <= gemm_workspace_bytes(DType::kBF16, 0, 0);
}

bool is_split(const GemmPlan& plan) {
  int32_t splits = 1;
  cublasLtMatmulAlgoConfigGetAttribute(&plan.algorithm, CUBLASLT_ALGO_CONFIG_SPLITK_NUM, &splits,
                                       sizeof splits, nullptr);
  return splits > 1;
}

// The first is what gemm does now.
std::vector<GemmPlan> candidates_of(void* stream, const GemmParams& params) {
  const device::cuda::CudaDevice& device = device_of(stream);
  std::vector<GemmPlan> all = {gemm_plan(stream, params)};
  const auto add = [&](const GemmPlan& plan) {
    const bool is_there = std::any_of(all.begin(), all.end(), [&](const GemmPlan& other) {
      return other.way == plan.way &&
             std::memcmp(&other.algorithm, &plan.algorithm, sizeof plan.algorithm) == 0;
    });
    if (!is_there) all.push_back(plan);
  };
  const std::vector<GemmPlan> offered = library_plans(stream, params, kAsked);
  for (const GemmPlan& plan : offered) add(plan);
  if (device.sm_version < 90) return all;  // no clusters
  for (const GemmPlan& plan : offered) {
    for (const uint16_t cluster : {CUBLASLT_CLUSTER_SHAPE_1x1x1, CUBLASLT_CLUSTER_SHAPE_2x1x1,
                                   CUBLASLT_CLUSTER_SHAPE_4x1x1, CUBLASLT_CLUSTER_SHAPE_1x2x1,
                                   CUBLASLT_CLUSTER_SHAPE_2x2x1, CUBLASLT_CLUSTER_SHAPE_4x2x1}) {
      GemmPlan varied = plan;
      if (vary(device.blas, varied, cluster, false)) add(varied);
      varied = plan;
      if (is_split(plan) && vary(device.blas, varied, cluster, true)) add(varied);
    }
  }
  return all;
}

class Timer {
 public:
  Timer(void* stream, const GemmTuneParams& tune) : stream_(stream), tune_(tune) {
    is_fine_ = cudaEventCreate(&begin_) == cudaSuccess && cudaEventCreate(&end_) == cudaSuccess;
  }
  ~Timer() {
    if (begin_) cudaEventDestroy(begin_);
    if (end_) cudaEventDestroy(end_);
  }
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

  // Milliseconds of `launches` in a row, the least of `rounds`; infinite if they fail.
  float milliseconds(const GemmPlan& plan, int launches, int rounds) {
    constexpr float kNever = std::numeric_limits<float>::infinity();
    float least = kNever;
    // The first run of a kernel loads it.
    if (!is_fine_ || run(plan, 1) != kOk) return kNever;
    for (int round = 0; round < rounds; ++round) {
      float time = 0;
      if (cudaEventRecord(begin_, raw(stream_)) != cudaSuccess || run(plan, launches) != kOk ||
          cudaEventRecord(end_, raw(stream_)) != cudaSuccess ||
          cudaEventSynchronize(end_) != cudaSuccess ||
          cudaEventElapsedTime(&time, begin_, end_) != cudaSuccess)
        return kNever;
      least = std::min(least, time);
    }
    return least;
  }

 private:
  // Each over the next matrix: one read before would come from the second-level cache.
  int32_t run(const GemmPlan& plan, int launches) {
    for (int i = 0; i < launches; ++i) {
      GemmParams params = tune_.gemm;
      params.w = tune_.weights[next_++ % static_cast<size_t>(tune_.num_weights)];
      if (const int32_t status = run_gemm_plan(stream_, params, plan); status != kOk) return status;
    }
    return kOk;
  }

  void* stream_;
  const GemmTuneParams& tune_;
  cudaEvent_t begin_ = nullptr, end_ = nullptr;
  bool is_fine_ = false;
  size_t next_ = 0;
};

}  // namespace

int32_t gemm_tune(void* stream, const GemmTuneParams* tune) {
  GemmParams params = tune->gemm;
  if (!is_gemm_runnable(params)) return kUnsupported;
  if (params.m == 0 || tune->num_weights < 1 || params.weight_dtype == DType::kF32) return kOk;
  params.w = tune->weights[0];
  // Our own kernels take hardly more than a copy of W would, and in a step they overlap their
  // neighbours, which the library's do not and this measurement does not see.
  const GemmPlan now = gemm_plan(stream, params);
  if (now.way == GemmWay::kDecode || now.way == GemmWay::kWarpgroups) return kOk;
  if (const cudaError_t error = cudaStreamSynchronize(raw(stream)); error != cudaSuccess)
    return device::cuda::status_of(error);

  struct Measured {
    size_t candidate;
    float time;
  };
  const std::vector<GemmPlan> candidates = candidates_of(stream, params);
  if (candidates.size() == 1) return kOk;
  Timer timer(stream, *tune);
  std::vector<Measured> measured;
  for (size_t i = 0; i < candidates.size(); ++i)
    measured.push_back({i, timer.milliseconds(candidates[i], 3, 1)});
  // The rule's choice stays among them.
  std::stable_sort(measured.begin() + 1, measured.end(),
                   [](const Measured& a, const Measured& b) { return a.time < b.time; });
  measured.resize(std::min(measured.size(), kFinals + 1));
  float least = std::numeric_limits<float>::infinity();
  for (Measured& each : measured) {
    each.time = timer.milliseconds(candidates[each.candidate], 8, 3);
    least = std::min(least, each.time);
  }
  const Measured* kept = nullptr;
  for (const Measured& each : measured) {
    if (each.time <= least * kNoise && (!kept || each.candidate < kept->candidate)) kept = &each;
  }
  // A candidate that failed has left its error; a device that is lost says so again.
  cudaGetLastError();
  if (const cudaError_t error = cudaStreamSynchronize(raw(stream)); error != cudaSuccess)
    return device::cuda::status_of(error);
  if (kept && kept->candidate != 0) keep_gemm_plan(stream, params, candidates[kept->candidate]);
  return kOk;
}

}  // namespace slora::kernels::cuda
