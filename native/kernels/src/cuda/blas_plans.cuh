// Plans of cuBLASLt products by shape: asking its heuristics costs tens of microseconds.
//
// The library loads code when it is asked about a shape for the first time, and that waits until
// the device is idle. Ranks of one process share the library: one that waited inside it for a
// collective could wait for another rank at the library's door. So a rank lets its own device come
// to rest first, and no lock of ours is held meanwhile.
#pragma once

#include <map>
#include <mutex>

#include "src/cuda/common.cuh"

namespace slora::kernels::cuda {

struct BlasPlan {
  cublasLtMatmulDesc_t matmul = nullptr;
  cublasLtMatrixLayout_t w = nullptr, x = nullptr, y = nullptr;
  cublasLtMatmulAlgo_t algorithm{};
  bool exists = false;
};

// Fills in the algorithm of a plan that has its shapes; none if the library knows none.
inline void ask_for_algorithm(cublasLtHandle_t blas, cublasLtMatmulPreference_t preference,
                              BlasPlan& plan) {
  cublasLtMatmulHeuristicResult_t found{};
  int count = 0;
  plan.exists =
      cublasLtMatmulAlgoGetHeuristic(blas, plan.matmul, plan.w, plan.x, plan.y, plan.y, preference,
                                     1, &found, &count) == CUBLAS_STATUS_SUCCESS &&
      count > 0;
  plan.algorithm = found.algo;
}

// Its plans live as long as the process, as the plugin does. Of a key, which has its device's
// handle in it, one thread at a time makes use.
template <typename Key>
class BlasPlans {
 public:
  template <typename Make>
  const BlasPlan& get(void* stream, const Key& key, const Make& make) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (const auto found = plans_.find(key); found != plans_.end()) return found->second;
    }
    if (device::cuda::has_several_devices()) come_to_rest(device_of(stream), raw(stream));
    const BlasPlan plan = make();
    const std::lock_guard<std::mutex> lock(mutex_);
    return plans_.try_emplace(key, plan).first->second;
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
  std::map<Key, BlasPlan> plans_;
};

}  // namespace slora::kernels::cuda
