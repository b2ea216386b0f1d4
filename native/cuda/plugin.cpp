// What libslora.so finds in this library: its tables, or one line that says why there are none.
#include <cuda_runtime.h>

#include <cstdio>

#include "slora/engine/backend_loader.hpp"
#include "src/cuda/cuda_context.hpp"
#include "src/cuda/cuda_kernels.hpp"
#include "src/cuda/nccl_comm.hpp"

using slora::engine::PluginApi;

extern "C" __attribute__((visibility("default"))) const PluginApi* slora_plugin_get(
    char* out_message, uint64_t message_capacity) {
  int count = 0;
  const cudaError_t result = cudaGetDeviceCount(&count);
  if (result != cudaSuccess || count == 0) {
    std::snprintf(out_message, message_capacity, "no CUDA device (%s)",
                  result == cudaSuccess ? "the driver counts none" : cudaGetErrorString(result));
    return nullptr;
  }
  static const PluginApi kPlugin = {sizeof(PluginApi),
                                    slora::device::kDeviceApiVersion,
                                    slora::kernels::kKernelApiVersion,
                                    slora::comm::kCommApiVersion,
                                    slora::device::cuda::cuda_device_api(),
                                    slora::kernels::cuda::cuda_kernel_api(),
                                    slora::comm::cuda::nccl_comm_api()};
  return &kPlugin;
}
