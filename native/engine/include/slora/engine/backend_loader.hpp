// Chooses a backend and opens it: the host's tables, or those of the CUDA plugin beside this
// library.
#pragma once

#include <string>

#include "slora/forward/backend.hpp"

namespace slora::engine {

// The values are those of enum slora_backend.
enum class BackendKind : int32_t { kAuto = 0, kHost = 1, kCuda = 2 };

// kBackend, with every path tried and the loader's own words, if the asked one is not available.
// kAuto obeys the environment variable SLORA_BACKEND (auto, host, cuda), then takes CUDA if a
// device answers, else the host, and logs which and why. kHost and kCuda never fall back.
forward::Backend open_backend(BackendKind kind, int32_t device_idx, int32_t num_threads);

// "host avx512_bf16" or "sm_90": what describe() cannot know of the kernels.
std::string backend_features(const forward::Backend& backend, const device::DeviceInfo& info);

// What libslora_cuda.so exports as `slora_plugin_get`: its tables, or null with a line of text
// where no device answers. The versions must be this library's.
struct PluginApi {
  uint32_t struct_size;
  uint32_t device_api_version;
  uint32_t kernel_api_version;
  uint32_t comm_api_version;
  const device::DeviceApi* device_api;
  const kernels::KernelApi* kernel_api;
  // Null or absent (struct_size) in a plugin without collectives between GPUs.
  const comm::CommApi* comm_api;
};
using PluginGet = const PluginApi* (*)(char* out_message, uint64_t message_capacity);

}  // namespace slora::engine
