// Whether a device may run what is built for sm_90a alone (SLORA_HAS_SM90A: whether that is here).
#pragma once

#include <cstdlib>
#include <cstring>

#include "src/cuda/common.cuh"

namespace slora::kernels::cuda {

// SLORA_WARPGROUPS=0 keeps to what every device has, for tests and for comparing.
inline bool may_use_warpgroups(const device::cuda::CudaDevice& device) {
  static const bool is_wanted = [] {
    const char* const value = std::getenv("SLORA_WARPGROUPS");
    return !value || std::strcmp(value, "0") != 0;
  }();
  return is_wanted && device.sm_version == 90;
}

}  // namespace slora::kernels::cuda
