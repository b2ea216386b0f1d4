// CommApi over NCCL. Communicators do not block, so every call may answer "in progress"; then we
// look until it is done, the time limit is over or someone aborts. NCCL lets one thread at a time
// use a communicator, and abort frees it: one lock a communicator, never held while waiting. An
// abort waits until every graph with the communicator's kernels is gone, so it holds no lock
// either: who would use the communicator meets none, gives up and destroys its graphs.
#include "src/cuda/nccl_comm.hpp"

#include <cuda_runtime.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <new>
#include <thread>
#include <utility>

#include "slora/core/status.hpp"
#include "src/cuda/cuda_context.hpp"
#include "src/cuda/nccl_library.hpp"

namespace slora::comm::cuda {
namespace {

using core::DType;
using core::Status;
using device::ApiError;
using device::cuda::CudaDevice;
using Clock = std::chrono::steady_clock;

struct Comm {
  const NcclLibrary* nccl = nullptr;
  int32_t device_idx = 0;
  int32_t size = 1;
  int32_t tp_rank = 0;
  int32_t limit_ms = 0;
  std::mutex mutex;
  NcclComm comm = nullptr;  // null once aborted or destroyed
};

int32_t answer(ApiError* error, Status status, const char* what, const char* why) {
  if (error) std::snprintf(error->message, sizeof error->message, "%s: %s", what, why);
  return static_cast<int32_t>(status);
}

int32_t answer(ApiError* error, const Comm& comm, NcclResult result, const char* what) {
  const char* const last = comm.nccl->get_last_error(comm.comm);
  char why[400];
  std::snprintf(why, sizeof why, "%s%s%s", comm.nccl->get_error_string(result),
                last && *last ? ", " : "", last ? last : "");
  for (char& c : why) {
    if (c == '\n' || c == '\r') c = ' ';
  }
  return answer(error, Status::kRankLost, what, why);
}

// The calling thread's CUDA calls, and NCCL's, mean this device.
int32_t select(int32_t device_idx, ApiError* error) {
  const cudaError_t result = cudaSetDevice(device_idx);
  if (result == cudaSuccess) return 0;
  return answer(error, static_cast<Status>(device::cuda::status_of(result)), "cudaSetDevice",
                cudaGetErrorString(result));
}

// Waits, with the lock let go in between, while NCCL works on what `result` left in progress.
int32_t finish(Comm& comm, std::unique_lock<std::mutex>& lock, NcclResult result, const char* what,
               ApiError* error) {
  const auto deadline = Clock::now() + std::chrono::milliseconds(comm.limit_ms);
  for (;;) {
    if (!comm.comm) return answer(error, Status::kRankLost, what, "the communicator was aborted");
    if (result != kNcclSuccess && result != kNcclInProgress)
      return answer(error, comm, result, what);
    NcclResult state = kNcclSuccess;
    const NcclResult asked = comm.nccl->comm_get_async_error(comm.comm, &state);
    if (asked != kNcclSuccess) return answer(error, comm, asked, what);
    if (state == kNcclSuccess) return 0;
    if (state != kNcclInProgress) return answer(error, comm, state, what);
    if (Clock::now() >= deadline) {
      char why[96];
      std::snprintf(why, sizeof why, "not every rank came within the time limit of %d ms",
                    comm.limit_ms);
      return answer(error, Status::kRankLost, what, why);
    }
    lock.unlock();
    std::this_thread::sleep_for(std::chrono::microseconds(50));
    lock.lock();
    result = kNcclSuccess;
  }
}

template <typename Call>
int32_t enqueue(void* handle, void* stream, const char* what, ApiError* error, const Call& call) {
  Comm& comm = *static_cast<Comm*>(handle);
  if (const int32_t status = select(comm.device_idx, error)) return status;
  std::unique_lock<std::mutex> lock(comm.mutex);
  if (!comm.comm) return answer(error, Status::kRankLost, what, "the communicator was aborted");
  const NcclResult result = call(*comm.nccl, comm.comm, device::cuda::raw(stream));
  return finish(comm, lock, result, what, error);
}

int32_t load(int32_t* out_version, ApiError* error) {
  std::string reason;
  const NcclLibrary* const nccl = load_nccl(reason);
  if (!nccl) {
    if (error) std::snprintf(error->message, sizeof error->message, "%s", reason.c_str());
    return static_cast<int32_t>(Status::kBackend);
  }
  *out_version = nccl->version;
  return 0;
}

int32_t make_id(uint8_t* out_id, ApiError* error) {
  int32_t version = 0;
  if (const int32_t status = load(&version, error)) return status;
  std::string reason;
  const NcclLibrary& nccl = *load_nccl(reason);
  NcclUniqueId id{};
  const NcclResult result = nccl.get_unique_id(&id);
  if (result != kNcclSuccess)
    return answer(error, Status::kBackend, "ncclGetUniqueId", nccl.get_error_string(result));
  static_assert(sizeof id == kCommIdBytes, "NCCL's id is what the table carries");
  std::memcpy(out_id, &id, sizeof id);
  return 0;
}

int32_t create(void* device, const uint8_t* id, int32_t size, int32_t tp_rank, int32_t limit_ms,
               void** out_comm, ApiError* error) {
  int32_t version = 0;
  if (const int32_t status = load(&version, error)) return status;
  std::string reason;
  auto* const comm = new (std::nothrow) Comm;
  if (!comm) return answer(error, Status::kOutOfMemory, "create", "out of host memory");
  comm->nccl = load_nccl(reason);
  comm->device_idx = static_cast<const CudaDevice*>(device)->device_idx;
  comm->size = size;
  comm->tp_rank = tp_rank;
  comm->limit_ms = limit_ms;
  NcclUniqueId unique{};
  std::memcpy(&unique, id, sizeof unique);
  NcclConfig config;
  int32_t status = select(comm->device_idx, error);
  if (!status) {
    const NcclResult result =
        comm->nccl->comm_init_rank_config(&comm->comm, size, unique, tp_rank, &config);
    if (result != kNcclSuccess && result != kNcclInProgress) {
      status = answer(error, Status::kBackend, "ncclCommInitRankConfig",
                      comm->nccl->get_error_string(result));
    }
  }
  if (status) {
    delete comm;
    return status;
  }
  *out_comm = comm;
  return 0;
}

int32_t await_ready(void* handle, ApiError* error) {
  Comm& comm = *static_cast<Comm*>(handle);
  if (const int32_t status = select(comm.device_idx, error)) return status;
  std::unique_lock<std::mutex> lock(comm.mutex);
  return finish(comm, lock, kNcclInProgress, "ncclCommInitRankConfig", error);
}

void abort(void* handle) {
  Comm& comm = *static_cast<Comm*>(handle);
  NcclComm aborted = nullptr;
  {
    const std::lock_guard<std::mutex> lock(comm.mutex);
    std::swap(aborted, comm.comm);
  }
  if (!aborted) return;
  cudaSetDevice(comm.device_idx);
  comm.nccl->comm_abort(aborted);
}

void destroy(void* handle) {
  auto* const comm = static_cast<Comm*>(handle);
  ApiError error{};
  cudaSetDevice(comm->device_idx);
  {
    std::unique_lock<std::mutex> lock(comm->mutex);
    const bool is_done = comm->comm && finish(*comm, lock, comm->nccl->comm_finalize(comm->comm),
                                              "ncclCommFinalize", &error) == 0;
    if (is_done) {
      comm->nccl->comm_destroy(comm->comm);
      comm->comm = nullptr;
    }
  }
  abort(comm);
  delete comm;
}

int32_t check(void* handle, ApiError* error) {
  Comm& comm = *static_cast<Comm*>(handle);
  const std::lock_guard<std::mutex> lock(comm.mutex);
  if (!comm.comm) return answer(error, Status::kRankLost, "NCCL", "the communicator was aborted");
  NcclResult state = kNcclSuccess;
  const NcclResult asked = comm.nccl->comm_get_async_error(comm.comm, &state);
  if (asked != kNcclSuccess) state = asked;
  if (state == kNcclSuccess || state == kNcclInProgress) return 0;
  return answer(error, comm, state, "NCCL");
}

int32_t all_reduce(void* comm, void* stream, void* data, int64_t count, DType dtype,
                   ApiError* error) {
  const NcclDataType type = dtype == DType::kF32    ? kNcclFloat32
                            : dtype == DType::kBF16 ? kNcclBfloat16
                                                    : kNcclFloat16;
  return enqueue(comm, stream, "ncclAllReduce", error,
                 [&](const NcclLibrary& nccl, NcclComm raw, cudaStream_t raw_stream) {
                   return nccl.all_reduce(data, data, static_cast<size_t>(count), type, kNcclSum,
                                          raw, raw_stream);
                 });
}

int32_t all_gather(void* comm, void* stream, const void* send, void* recv, uint64_t bytes,
                   ApiError* error) {
  return enqueue(comm, stream, "ncclAllGather", error,
                 [&](const NcclLibrary& nccl, NcclComm raw, cudaStream_t raw_stream) {
                   return nccl.all_gather(send, recv, bytes, kNcclUint8, raw, raw_stream);
                 });
}

int32_t broadcast(void* comm, void* stream, void* data, uint64_t bytes, int32_t root,
                  ApiError* error) {
  return enqueue(comm, stream, "ncclBroadcast", error,
                 [&](const NcclLibrary& nccl, NcclComm raw, cudaStream_t raw_stream) {
                   return nccl.broadcast(data, data, bytes, kNcclUint8, root, raw, raw_stream);
                 });
}

}  // namespace

const CommApi* nccl_comm_api() {
  static constexpr CommApi kTable = {sizeof(CommApi), kCommApiVersion, load,    make_id,
                                     create,          await_ready,     destroy, all_reduce,
                                     all_gather,      broadcast,       check,   abort};
  return &kTable;
}

}  // namespace slora::comm::cuda
