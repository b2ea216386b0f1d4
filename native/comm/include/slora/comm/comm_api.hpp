// The seam of collectives between GPUs: a C table as that of kernels, filled by the CUDA plugin
// over NCCL. C++17.
#pragma once

#include <cstdint>

#include "slora/core/dtype.hpp"
#include "slora/device/device_api.hpp"

namespace slora::comm {

inline constexpr uint32_t kCommApiVersion = 1;
inline constexpr uint32_t kCommIdBytes = 128;

// Every function answers a core::Status value and on failure fills the error with one line.
// Functions on a communicator may be called from any thread, but for destroy.
struct CommApi {
  uint32_t struct_size;
  uint32_t api_version;

  // Loads the library of collectives, once; kBackend with all that was tried where there is none or
  // it is too old. `out_version` in its own counting (22703 is 2.27.3).
  int32_t (*load)(int32_t* out_version, device::ApiError* error);
  // kCommIdBytes that name a new group of ranks, made by one of them.
  int32_t (*make_id)(uint8_t* out_id, device::ApiError* error);

  // Begins to create rank `tp_rank` of `size` on `device` and returns; every rank must begin. Then
  // await_ready returns 0 once all have, kRankLost after `limit_ms`.
  int32_t (*create)(void* device, const uint8_t* id, int32_t size, int32_t tp_rank,
                    int32_t limit_ms, void** out_comm, device::ApiError* error);
  int32_t (*await_ready)(void* comm, device::ApiError* error);
  // Waits for the other ranks to destroy theirs, up to the time limit; then as abort. Frees.
  void (*destroy)(void* comm);

  // Enqueued on the device's stream, recordable into a graph. As in Group.
  int32_t (*all_reduce)(void* comm, void* stream, void* data, int64_t count, core::DType dtype,
                        device::ApiError* error);
  int32_t (*all_gather)(void* comm, void* stream, const void* send, void* recv, uint64_t bytes,
                        device::ApiError* error);
  int32_t (*broadcast)(void* comm, void* stream, void* data, uint64_t bytes, int32_t root,
                       device::ApiError* error);

  // What went wrong since, if anything.
  int32_t (*check)(void* comm, device::ApiError* error);
  // Ends what the device waits for in this communicator; it can only be destroyed afterwards.
  void (*abort)(void* comm);
};

}  // namespace slora::comm
