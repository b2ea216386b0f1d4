// The plugin is looked for beside this library first, then where the loader looks; each attempt
// keeps the loader's own words, since "cannot load" without a reason is what users of every engine
// complain about most.
#include "slora/engine/backend_loader.hpp"

#include <dlfcn.h>

#include <cstdlib>
#include <cstring>
#include <vector>

#include "slora/comm/comm_api.hpp"
#include "slora/core/log.hpp"
#include "slora/core/status.hpp"
#include "slora/device/host_device.hpp"

namespace slora::engine {
namespace {

using core::Status;

constexpr const char* kPluginName = "libslora_cuda.so";

std::string own_directory() {
  Dl_info info{};
  if (dladdr(reinterpret_cast<const void*>(&open_backend), &info) == 0 || !info.dli_fname)
    return {};
  const std::string path = info.dli_fname;
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? std::string() : path.substr(0, slash + 1);
}

// The plugin stays loaded for the life of the process: CUDA's own exit handlers run code in it.
const PluginApi* load_plugin(std::string& out_reason) {
  std::vector<std::string> candidates;
  if (const char* explicit_path = std::getenv("SLORA_CUDA_PLUGIN")) {
    candidates = {explicit_path};
  } else {
    candidates = {own_directory() + kPluginName, kPluginName};
  }
  void* library = nullptr;
  std::string attempts;
  for (const std::string& path : candidates) {
    library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library) break;
    const char* words = dlerror();
    attempts +=
        core::str_cat(attempts.empty() ? "" : "; ", path, ": ", words ? words : "no reason given");
  }
  if (!library) {
    out_reason = "the CUDA plugin could not be loaded (" + attempts + ")";
    return nullptr;
  }
  const auto get = reinterpret_cast<PluginGet>(dlsym(library, "slora_plugin_get"));
  if (!get) {
    out_reason = "the CUDA plugin exports no slora_plugin_get";
    return nullptr;
  }
  char message[512] = {};
  const PluginApi* plugin = get(message, sizeof message);
  if (!plugin) {
    out_reason = core::str_cat("CUDA backend unavailable: ", message);
    return nullptr;
  }
  if (plugin->device_api_version != device::kDeviceApiVersion ||
      plugin->kernel_api_version != kernels::kKernelApiVersion) {
    out_reason = core::str_cat("the CUDA plugin has seam versions ", plugin->device_api_version,
                               "/", plugin->kernel_api_version, ", this library ",
                               device::kDeviceApiVersion, "/", kernels::kKernelApiVersion);
    return nullptr;
  }
  return plugin;
}

// Null in an older plugin: only a group of several GPUs misses it, and says so.
const comm::CommApi* collectives_of(const PluginApi& plugin) {
  const bool has_table = plugin.struct_size >= sizeof(PluginApi) && plugin.comm_api &&
                         plugin.comm_api_version == comm::kCommApiVersion;
  return has_table ? plugin.comm_api : nullptr;
}

forward::Backend open_host(int32_t device_idx, int32_t num_threads) {
  return {std::make_shared<device::Device>(device::host_device_api(), device_idx, num_threads),
          kernels::host_kernel_api(), false, nullptr};
}

BackendKind kind_from_environment() {
  const char* value = std::getenv("SLORA_BACKEND");
  if (!value || !*value || std::strcmp(value, "auto") == 0) return BackendKind::kAuto;
  if (std::strcmp(value, "host") == 0) return BackendKind::kHost;
  if (std::strcmp(value, "cuda") == 0) return BackendKind::kCuda;
  core::fail(Status::kInvalidArgument, "SLORA_BACKEND is '", value, "', not auto, host or cuda");
}

}  // namespace

forward::Backend open_backend(BackendKind kind, int32_t device_idx, int32_t num_threads) {
  const bool is_auto = kind == BackendKind::kAuto;
  if (is_auto) kind = kind_from_environment();
  if (kind == BackendKind::kHost) {
    core::log(core::LogLevel::kInfo, "backend: host ", kernels::host_kernel_isa(),
              is_auto ? " (SLORA_BACKEND)" : "");
    return open_host(device_idx, num_threads);
  }
  std::string reason;
  const PluginApi* plugin = load_plugin(reason);
  if (plugin) {
    core::log(core::LogLevel::kInfo, "backend: CUDA, device ", device_idx);
    return {std::make_shared<device::Device>(plugin->device_api, device_idx, num_threads),
            plugin->kernel_api, true, collectives_of(*plugin)};
  }
  if (kind == BackendKind::kCuda) core::fail(Status::kBackend, reason);
  core::log(core::LogLevel::kInfo, "backend: host ", kernels::host_kernel_isa(), "; ", reason);
  return open_host(device_idx, num_threads);
}

std::string backend_features(const forward::Backend& backend, const device::DeviceInfo& info) {
  return backend.is_cuda ? std::string(info.features) : std::string(kernels::host_kernel_isa());
}

}  // namespace slora::engine
