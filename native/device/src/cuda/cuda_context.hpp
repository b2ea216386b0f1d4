// What the plugin's device and kernel halves share of an open device. C++17: .cu files reach it.
#pragma once

#include <cublasLt.h>
#include <cuda_runtime.h>

#include <cstdint>
#include <mutex>

#include "slora/device/device_api.hpp"

namespace slora::device::cuda {

// Pieces in which weights travel from files to the device: large enough for the link's full rate.
inline constexpr uint64_t kStagingBytes = 16u << 20;

struct CudaDevice {
  int32_t device_idx = 0;
  int32_t sm_count = 0;
  int32_t sm_version = 0;        // 90 for compute capability 9.0
  int32_t max_shared_bytes = 0;  // of a block that opts in
  uint64_t l2_bytes = 0;
  cublasLtHandle_t blas = nullptr;
  // Of weight_pack, which may block: pinned halves that the host fills in turn, their twins on the
  // device.
  std::mutex staging_mutex;
  void* pinned_staging[2] = {};
  void* device_staging[2] = {};
  cudaEvent_t staging_free[2] = {};
  // Of the padded LoRA operations, which only experiments call: grown as needed.
  void* padded_scratch = nullptr;
  uint64_t padded_scratch_bytes = 0;
};

struct CudaStream {
  CudaDevice* device = nullptr;
  cudaStream_t stream = nullptr;
};

struct CudaEvent {
  CudaDevice* device = nullptr;
  cudaEvent_t event = nullptr;
};

struct CudaGraph {
  cudaGraphExec_t executable = nullptr;
  uint64_t bytes = 0;
};

inline cudaStream_t raw(void* stream) { return static_cast<CudaStream*>(stream)->stream; }
inline CudaDevice& device_of(void* stream) { return *static_cast<CudaStream*>(stream)->device; }

// This process has opened more than one device, as ranks that are threads do.
bool has_several_devices();

// The core::Status value of a CUDA error: kOutOfMemory, kDeviceLost, kBackend. Logs nothing. Clears
// the thread's last error, or the next launch would answer with it.
int32_t status_of(cudaError_t error);
// The same for the last launch on this thread; clears what is not sticky.
int32_t launch_status();

const DeviceApi* cuda_device_api();

// page_copy.cu
int32_t copy_pages(void* stream, const PageCopy* copy, ApiError* error);

}  // namespace slora::device::cuda
