// A backend in use: one open device and the tables that drive it.
#pragma once

#include <memory>

#include "slora/device/device.hpp"
#include "slora/kernels/kernel_api.hpp"

namespace slora::comm {
struct CommApi;
}

namespace slora::forward {

struct Backend {
  std::shared_ptr<device::Device> device;
  const kernels::KernelApi* kernels = nullptr;
  bool is_cuda = false;
  const comm::CommApi* comm = nullptr;  // collectives between devices, where the plugin has them
};

// Turns a kernel's status into core::Error; `name` says which.
void expect_launched(int32_t status, const char* name);

}  // namespace slora::forward
