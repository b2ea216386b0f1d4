// Finds NCCL by name or by SLORA_NCCL_LIBRARY, once a process, and says what was tried.
#include "src/cuda/nccl_library.hpp"

#include <dlfcn.h>

#include <cstdlib>
#include <mutex>
#include <vector>

namespace slora::comm::cuda {
namespace {

struct Loading {
  NcclLibrary library;
  std::string reason;
  bool is_loaded = false;
};

template <typename Function>
bool find(void* handle, const char* name, Function& out_function, std::string& out_missing) {
  out_function = reinterpret_cast<Function>(dlsym(handle, name));
  if (out_function) return true;
  out_missing += (out_missing.empty() ? "" : ", ") + std::string(name);
  return false;
}

std::string version_text(int version) {
  return std::to_string(version / 10000) + "." + std::to_string(version / 100 % 100) + "." +
         std::to_string(version % 100);
}

// "" or what the library at `path` lacks.
std::string resolve(void* handle, const std::string& path, NcclLibrary& library) {
  std::string missing;
  if (!find(handle, "ncclGetVersion", library.get_version, missing))
    return path + " has no ncclGetVersion";
  if (library.get_version(&library.version) != kNcclSuccess)
    return path + " does not tell its version";
  if (library.version < kNcclLeastVersion) {
    return path + " is NCCL " + version_text(library.version) + ", the least is " +
           version_text(kNcclLeastVersion);
  }
  find(handle, "ncclGetUniqueId", library.get_unique_id, missing);
  find(handle, "ncclCommInitRankConfig", library.comm_init_rank_config, missing);
  find(handle, "ncclCommFinalize", library.comm_finalize, missing);
  find(handle, "ncclCommDestroy", library.comm_destroy, missing);
  find(handle, "ncclCommAbort", library.comm_abort, missing);
  find(handle, "ncclCommGetAsyncError", library.comm_get_async_error, missing);
  find(handle, "ncclGetErrorString", library.get_error_string, missing);
  find(handle, "ncclGetLastError", library.get_last_error, missing);
  find(handle, "ncclAllReduce", library.all_reduce, missing);
  find(handle, "ncclAllGather", library.all_gather, missing);
  find(handle, "ncclBroadcast", library.broadcast, missing);
  return missing.empty() ? "" : path + " has no " + missing;
}

Loading load() {
  Loading loading;
  // NCCL reads its environment when it is loaded or first used, both later than here.
  setenv("NCCL_NVLS_ENABLE", "0", 0);
  std::vector<std::string> candidates;
  const char* const named = std::getenv("SLORA_NCCL_LIBRARY");
  if (named && *named) {
    candidates = {named};
  } else {
    candidates = {"libnccl.so.2", "libnccl.so"};
  }
  for (const std::string& path : candidates) {
    void* const handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    const char* const words = handle ? nullptr : dlerror();
    const std::string reason = handle  ? resolve(handle, path, loading.library)
                               : words ? std::string(words)
                                       : path + ": no reason given";
    if (reason.empty()) {
      loading.is_loaded = true;
      return loading;
    }
    if (handle) dlclose(handle);
    loading.reason += (loading.reason.empty() ? "" : "; ") + reason;
  }
  loading.reason = "NCCL could not be loaded (" + loading.reason +
                   "); SLORA_NCCL_LIBRARY may name its libnccl.so.2";
  return loading;
}

}  // namespace

const NcclLibrary* load_nccl(std::string& out_reason) {
  static std::mutex mutex;
  static Loading loading;
  const std::lock_guard<std::mutex> lock(mutex);
  // A failure is tried again: the caller may have mended the environment.
  if (!loading.is_loaded) loading = load();
  out_reason = loading.reason;
  return loading.is_loaded ? &loading.library : nullptr;
}

}  // namespace slora::comm::cuda
