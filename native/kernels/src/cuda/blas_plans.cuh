// Plans of cuBLASLt products by shape: asking its heuristics costs tens of microseconds.
//
// The library loads code when it is asked about a shape for the first time, and that waits until
// the device is idle. Ranks of one process share the library: one that waited inside it for a
// collective could wait for another rank at the library's door. So a rank lets its own device come
// to rest first, and no lock of ours is held meanwhile.
#pragma once

#include <deque>
#include <map>
#include <mutex>
#include <vector>

#include "src/cuda/common.cuh"

namespace slora::kernels::cuda {

struct BlasPlan {
  cublasLtMatmulDesc_t matmul = nullptr;
  cublasLtMatrixLayout_t w = nullptr, x = nullptr, y = nullptr;
  cublasLtMatmulAlgo_t algorithm{};
  bool exists = false;
};

// The library's own choices for a plan that has its shapes, the likeliest first; none if it knows
// none.
inline std::vector<cublasLtMatmulAlgo_t> ask_for_algorithms(cublasLtHandle_t blas,
                                                            cublasLtMatmulPreference_t preference,
                                                            const BlasPlan& plan, int most) {
  std::vector<cublasLtMatmulHeuristicResult_t> found(static_cast<size_t>(most));
  int count = 0;
  if (cublasLtMatmulAlgoGetHeuristic(blas, plan.matmul, plan.w, plan.x, plan.y, plan.y, preference,
                                     most, found.data(), &count) != CUBLAS_STATUS_SUCCESS)
    count = 0;
  std::vector<cublasLtMatmulAlgo_t> algorithms;
  for (int i = 0; i < count; ++i) algorithms.push_back(found[static_cast<size_t>(i)].algo);
  return algorithms;
}

// Fills in the algorithm of a plan that has its shapes; none if the library knows none.
inline void ask_for_algorithm(cublasLtHandle_t blas, cublasLtMatmulPreference_t preference,
                              BlasPlan& plan) {
  const auto algorithms = ask_for_algorithms(blas, preference, plan, 1);
  plan.exists = !algorithms.empty();
  if (plan.exists) plan.algorithm = algorithms.front();
}

// Its plans live as long as the process, as the plugin does.
template <typename Key, typename Plan = BlasPlan>
class BlasPlans {
 public:
  template <typename Make>
  const Plan& get(void* stream, const Key& key, const Make& make) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (const auto found = of_key_.find(key); found != of_key_.end()) return *found->second;
    }
    if (device::cuda::has_several_devices()) come_to_rest(device_of(stream), raw(stream));
    const Plan plan = make();
    const std::lock_guard<std::mutex> lock(mutex_);
    if (const auto found = of_key_.find(key); found != of_key_.end()) return *found->second;
    return *(of_key_[key] = &plans_.emplace_back(plan));
  }

  // Takes the place of what get() answers for the key; what it answered before stays valid.
  void put(const Key& key, const Plan& plan) {
    const std::lock_guard<std::mutex> lock(mutex_);
    of_key_[key] = &plans_.emplace_back(plan);
  }

 private:
  // All of the device: collectives may run on another stream, beside the step that asks.
  static void come_to_rest(const device::cuda::CudaDevice& device, cudaStream_t stream) {
    cudaStreamCaptureStatus capture = cudaStreamCaptureStatusNone;
    // An error of the device's comes up again at the launch.
    if (cudaStreamIsCapturing(stream, &capture) == cudaSuccess &&
        capture == cudaStreamCaptureStatusNone && cudaSetDevice(device.device_idx) == cudaSuccess)
      cudaDeviceSynchronize();
  }

  std::mutex mutex_;
  std::deque<Plan> plans_;
  std::map<Key, const Plan*> of_key_;
};

}  // namespace slora::kernels::cuda
