// The device table over the CUDA runtime. Every call is checked; nothing here ends the process.
#include <atomic>
#include <cstdio>
#include <cstring>
#include <new>

#include "slora/core/status.hpp"
#include "src/cuda/cuda_context.hpp"

namespace slora::device::cuda {
namespace {

using core::Status;

// Bit i: device i has been opened; those past the 64th share a bit.
std::atomic<uint64_t> opened_devices{0};

int32_t answer(ApiError* error, Status status, const char* what, const char* why) {
  if (error) std::snprintf(error->message, sizeof error->message, "%s: %s", what, why);
  return static_cast<int32_t>(status);
}

int32_t check(cudaError_t result, const char* what, ApiError* error) {
  if (result == cudaSuccess) return 0;
  const auto status = static_cast<Status>(status_of(result));
  return answer(error, status, what, cudaGetErrorString(result));
}

// The device that the calling thread's CUDA calls mean.
int32_t select(const CudaDevice& device, ApiError* error) {
  return check(cudaSetDevice(device.device_idx), "cudaSetDevice", error);
}

void close(void* handle) {
  auto* device = static_cast<CudaDevice*>(handle);
  if (!device) return;
  cudaSetDevice(device->device_idx);
  for (int i = 0; i < 2; ++i) {
    if (device->staging_free[i]) cudaEventDestroy(device->staging_free[i]);
    if (device->pinned_staging[i]) cudaFreeHost(device->pinned_staging[i]);
    if (device->device_staging[i]) cudaFree(device->device_staging[i]);
  }
  if (device->padded_scratch) cudaFree(device->padded_scratch);
  if (device->blas) cublasLtDestroy(device->blas);
  delete device;
}

int32_t open(int32_t device_idx, int32_t, void** out_device, ApiError* error) {
  int count = 0;
  if (const int32_t status = check(cudaGetDeviceCount(&count), "cudaGetDeviceCount", error))
    return status;
  if (device_idx < 0 || device_idx >= count) {
    char why[96];
    std::snprintf(why, sizeof why, "it is %d, the limit is 0..%d", device_idx, count - 1);
    return answer(error, Status::kInvalidArgument, "device_idx", why);
  }
  auto* device = new (std::nothrow) CudaDevice;
  if (!device) return answer(error, Status::kOutOfMemory, "open", "out of host memory");
  device->device_idx = device_idx;
  opened_devices |= uint64_t{1} << (device_idx % 64);
  cudaDeviceProp properties{};
  int32_t status = select(*device, error);
  if (!status)
    status =
        check(cudaGetDeviceProperties(&properties, device_idx), "cudaGetDeviceProperties", error);
  if (!status) {
    device->sm_count = properties.multiProcessorCount;
    device->sm_version = properties.major * 10 + properties.minor;
    device->max_shared_bytes = static_cast<int32_t>(properties.sharedMemPerBlockOptin);
    device->l2_bytes = static_cast<uint64_t>(properties.l2CacheSize);
    if (device->sm_version < 80) {
      char why[96];
      std::snprintf(why, sizeof why, "compute capability is %d.%d, the least is 8.0",
                    properties.major, properties.minor);
      status = answer(error, Status::kUnsupported, properties.name, why);
    }
  }
  if (!status && cublasLtCreate(&device->blas) != CUBLAS_STATUS_SUCCESS)
    status = answer(error, Status::kBackend, "cublasLtCreate", "failed");
  for (int i = 0; i < 2 && !status; ++i) {
    status =
        check(cudaMallocHost(&device->pinned_staging[i], kStagingBytes), "cudaMallocHost", error);
    if (!status)
      status = check(cudaMalloc(&device->device_staging[i], kStagingBytes), "cudaMalloc", error);
    if (!status)
      status = check(cudaEventCreateWithFlags(&device->staging_free[i], cudaEventDisableTiming),
                     "cudaEventCreate", error);
  }
  if (status) {
    close(device);
    return status;
  }
  *out_device = device;
  return 0;
}

int32_t describe(void* handle, DeviceInfo* out_info, ApiError* error) {
  const auto& device = *static_cast<CudaDevice*>(handle);
  if (const int32_t status = select(device, error)) return status;
  *out_info = {};
  size_t free_bytes = 0, total_bytes = 0;
  if (const int32_t status =
          check(cudaMemGetInfo(&free_bytes, &total_bytes), "cudaMemGetInfo", error))
    return status;
  cudaDeviceProp properties{};
  if (const int32_t status = check(cudaGetDeviceProperties(&properties, device.device_idx),
                                   "cudaGetDeviceProperties", error))
    return status;
  out_info->memory_bytes = total_bytes;
  out_info->free_memory_bytes = free_bytes;
  int count = 0;
  if (const int32_t status = check(cudaGetDeviceCount(&count), "cudaGetDeviceCount", error))
    return status;
  out_info->device_count = count;
  std::snprintf(out_info->name, sizeof out_info->name, "%.127s", properties.name);
  std::snprintf(out_info->features, sizeof out_info->features, "sm_%d", device.sm_version);
  return 0;
}

int32_t memory_alloc(void* handle, MemoryKind kind, uint64_t bytes, void** out_memory,
                     ApiError* error) {
  const auto& device = *static_cast<CudaDevice*>(handle);
  if (const int32_t status = select(device, error)) return status;
  // The tables promise an address also for nothing.
  const uint64_t wanted = bytes ? bytes : 1;
  const cudaError_t result = kind == MemoryKind::kPinned ? cudaMallocHost(out_memory, wanted)
                                                         : cudaMalloc(out_memory, wanted);
  if (result == cudaSuccess) return 0;
  char what[96];
  std::snprintf(what, sizeof what, "cannot allocate %llu bytes of %s memory",
                static_cast<unsigned long long>(bytes),
                kind == MemoryKind::kPinned ? "pinned host" : "device");
  return check(result, what, error);
}

void memory_free(void* handle, MemoryKind kind, void* memory) {
  cudaSetDevice(static_cast<CudaDevice*>(handle)->device_idx);
  if (kind == MemoryKind::kPinned) {
    cudaFreeHost(memory);
  } else {
    cudaFree(memory);
  }
}

// Smaller goes first. Collectives ahead of the step that they run beside: their few blocks would
// else wait for all of a matmul's.
int priority_of(StreamKind kind) {
  int least = 0, greatest = 0;
  // Without an answer all have the same.
  if (const cudaError_t result = cudaDeviceGetStreamPriorityRange(&least, &greatest);
      result != cudaSuccess) {
    status_of(result);
    return 0;
  }
  if (kind == StreamKind::kCollective) return greatest;
  if (kind == StreamKind::kCopy) return least;
  return least - greatest >= 2 ? greatest + 1 : greatest;
}

int32_t stream_create(void* handle, StreamKind kind, void** out_stream, ApiError* error) {
  auto& device = *static_cast<CudaDevice*>(handle);
  if (const int32_t status = select(device, error)) return status;
  auto* stream = new (std::nothrow) CudaStream;
  if (!stream) return answer(error, Status::kOutOfMemory, "stream_create", "out of host memory");
  stream->device = &device;
  const int32_t status =
      check(cudaStreamCreateWithPriority(&stream->stream, cudaStreamNonBlocking, priority_of(kind)),
            "cudaStreamCreate", error);
  if (status) {
    delete stream;
    return status;
  }
  *out_stream = stream;
  return 0;
}

void stream_destroy(void* handle) {
  auto* stream = static_cast<CudaStream*>(handle);
  cudaSetDevice(stream->device->device_idx);
  cudaStreamSynchronize(stream->stream);
  cudaStreamDestroy(stream->stream);
  delete stream;
}

int32_t stream_synchronize(void* handle, ApiError* error) {
  return check(cudaStreamSynchronize(raw(handle)), "cudaStreamSynchronize", error);
}

int32_t event_create(void* handle, void** out_event, ApiError* error) {
  auto& device = *static_cast<CudaDevice*>(handle);
  if (const int32_t status = select(device, error)) return status;
  auto* event = new (std::nothrow) CudaEvent;
  if (!event) return answer(error, Status::kOutOfMemory, "event_create", "out of host memory");
  event->device = &device;
  if (const int32_t status = check(cudaEventCreate(&event->event), "cudaEventCreate", error)) {
    delete event;
    return status;
  }
  *out_event = event;
  return 0;
}

void event_destroy(void* handle) {
  auto* event = static_cast<CudaEvent*>(handle);
  cudaSetDevice(event->device->device_idx);
  cudaEventDestroy(event->event);
  delete event;
}

cudaEvent_t raw_event(void* event) { return static_cast<CudaEvent*>(event)->event; }

int32_t event_record(void* event, void* stream, ApiError* error) {
  if (const int32_t status = select(device_of(stream), error)) return status;
  return check(cudaEventRecord(raw_event(event), raw(stream)), "cudaEventRecord", error);
}

int32_t stream_wait_event(void* stream, void* event, ApiError* error) {
  return check(cudaStreamWaitEvent(raw(stream), raw_event(event), 0), "cudaStreamWaitEvent", error);
}

int32_t event_query(void* event, int32_t* out_is_complete, ApiError* error) {
  const cudaError_t result = cudaEventQuery(raw_event(event));
  *out_is_complete = result == cudaSuccess;
  if (result == cudaErrorNotReady) {
    cudaGetLastError();
    return 0;
  }
  return check(result, "cudaEventQuery", error);
}

int32_t event_synchronize(void* event, ApiError* error) {
  return check(cudaEventSynchronize(raw_event(event)), "cudaEventSynchronize", error);
}

int32_t event_elapsed_ns(void* begin, void* end, uint64_t* out_ns, ApiError* error) {
  float milliseconds = 0;
  const cudaError_t result = cudaEventElapsedTime(&milliseconds, raw_event(begin), raw_event(end));
  if (result != cudaSuccess) return check(result, "cudaEventElapsedTime", error);
  *out_ns = static_cast<uint64_t>(double{milliseconds} * 1e6);
  return 0;
}

int32_t copy_async(void* stream, void* destination, const void* source, uint64_t bytes,
                   ApiError* error) {
  if (bytes == 0) return 0;
  return check(cudaMemcpyAsync(destination, source, bytes, cudaMemcpyDefault, raw(stream)),
               "cudaMemcpyAsync", error);
}

// ---- graphs

int32_t graph_begin(void* stream, ApiError* error) {
  if (const int32_t status = select(device_of(stream), error)) return status;
  // Thread-local: other threads go on allocating and copying meanwhile.
  return check(cudaStreamBeginCapture(raw(stream), cudaStreamCaptureModeThreadLocal),
               "cudaStreamBeginCapture", error);
}

// 0: not known.
uint64_t free_bytes() {
  size_t free = 0, total = 0;
  return status_of(cudaMemGetInfo(&free, &total)) == 0 ? free : 0;
}

int32_t graph_end(void* stream, void** out_graph, ApiError* error) {
  cudaGraph_t graph = nullptr;
  if (const cudaError_t result = cudaStreamEndCapture(raw(stream), &graph); result != cudaSuccess)
    return check(result, "cudaStreamEndCapture", error);
  const uint64_t before = free_bytes();
  cudaGraphExec_t executable = nullptr;
  cudaError_t result = cudaGraphInstantiateWithFlags(&executable, graph, 0);
  cudaGraphDestroy(graph);
  if (result != cudaSuccess) return check(result, "cudaGraphInstantiate", error);
  result = cudaGraphUpload(executable, raw(stream));
  auto* made = result == cudaSuccess ? new (std::nothrow) CudaGraph : nullptr;
  if (!made) {
    cudaGraphExecDestroy(executable);
    if (result != cudaSuccess) return check(result, "cudaGraphUpload", error);
    return answer(error, Status::kOutOfMemory, "graph_end", "out of host memory");
  }
  made->executable = executable;
  // The driver takes memory in chunks that several graphs share, so only sums mean something.
  const uint64_t after = free_bytes();
  made->bytes = after > 0 && before > after ? before - after : 0;
  *out_graph = made;
  return 0;
}

int32_t graph_launch(void* graph, void* stream, ApiError* error) {
  return check(cudaGraphLaunch(static_cast<CudaGraph*>(graph)->executable, raw(stream)),
               "cudaGraphLaunch", error);
}

void graph_destroy(void* graph) {
  cudaGraphExecDestroy(static_cast<CudaGraph*>(graph)->executable);
  delete static_cast<CudaGraph*>(graph);
}

uint64_t graph_bytes(void* graph) { return static_cast<CudaGraph*>(graph)->bytes; }

constexpr DeviceApi make_table() {
  DeviceApi api{};
  api.struct_size = sizeof(DeviceApi);
  api.api_version = kDeviceApiVersion;
  api.open = open;
  api.close = close;
  api.describe = describe;
  api.memory_alloc = memory_alloc;
  api.memory_free = memory_free;
  api.stream_create = stream_create;
  api.stream_destroy = stream_destroy;
  api.stream_synchronize = stream_synchronize;
  api.event_create = event_create;
  api.event_destroy = event_destroy;
  api.event_record = event_record;
  api.stream_wait_event = stream_wait_event;
  api.event_query = event_query;
  api.event_synchronize = event_synchronize;
  api.event_elapsed_ns = event_elapsed_ns;
  api.copy_async = copy_async;
  api.graph_begin = graph_begin;
  api.graph_end = graph_end;
  api.graph_launch = graph_launch;
  api.graph_destroy = graph_destroy;
  api.copy_pages = copy_pages;
  api.graph_bytes = graph_bytes;
  return api;
}

}  // namespace

bool has_several_devices() {
  const uint64_t devices = opened_devices.load();
  return (devices & (devices - 1)) != 0;
}

// Those after which CUDA answers nothing any more in this process, or may have written anything
// anywhere; all others are of one call.
int32_t status_of(cudaError_t error) {
  if (error == cudaSuccess) return 0;
  cudaGetLastError();  // what is not sticky is of this call alone
  switch (error) {
    case cudaErrorMemoryAllocation:
      return static_cast<int32_t>(Status::kOutOfMemory);
    case cudaErrorAssert:
    case cudaErrorContextIsDestroyed:
    case cudaErrorCudartUnloading:
    case cudaErrorECCUncorrectable:
    case cudaErrorExternalDevice:
    case cudaErrorHardwareStackError:
    case cudaErrorIllegalAddress:
    case cudaErrorIllegalInstruction:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorLaunchFailure:
    case cudaErrorLaunchTimeout:
    case cudaErrorMisalignedAddress:
    case cudaErrorMpsClientTerminated:
    case cudaErrorNvlinkUncorrectable:
    case cudaErrorUnknown:
      return static_cast<int32_t>(Status::kDeviceLost);
    default:
      return static_cast<int32_t>(Status::kBackend);
  }
}

int32_t launch_status() { return status_of(cudaGetLastError()); }

const DeviceApi* cuda_device_api() {
  static constexpr DeviceApi kTable = make_table();
  return &kTable;
}

}  // namespace slora::device::cuda
