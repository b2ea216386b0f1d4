// NCCL's C interface as far as it is used, declared here and found at run time: the plugin builds
// and runs without NCCL. Names and values are those of nccl.h 2.14 and later. C++17.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

struct CUstream_st;  // cudaStream_t is a pointer to it

namespace slora::comm::cuda {

using NcclComm = struct NcclCommOpaque*;
struct NcclUniqueId {
  char internal[128];
};

enum NcclResult : int {
  kNcclSuccess = 0,
  kNcclInProgress = 7,
};

enum NcclDataType : int {
  kNcclUint8 = 1,
  kNcclFloat16 = 6,
  kNcclFloat32 = 7,
  kNcclBfloat16 = 9,
};

inline constexpr int kNcclSum = 0;
// The first version with communicators that do not block, which a time limit needs.
inline constexpr int kNcclLeastVersion = 21400;

// ncclConfig_t as it was in 2.14; later versions take the fields behind it from its `version`.
struct NcclConfig {
  size_t size = sizeof(NcclConfig);
  unsigned int magic = 0xcafebeef;
  unsigned int version = kNcclLeastVersion;
  int blocking = 0;
  // Where later versions have their next field: "undefined" in NCCL's own number.
  int next_field = INT32_MIN;
};

struct NcclLibrary {
  int version = 0;
  NcclResult (*get_version)(int* version);
  NcclResult (*get_unique_id)(NcclUniqueId* id);
  NcclResult (*comm_init_rank_config)(NcclComm* comm, int size, NcclUniqueId id, int rank,
                                      NcclConfig* config);
  NcclResult (*comm_finalize)(NcclComm comm);
  NcclResult (*comm_destroy)(NcclComm comm);
  NcclResult (*comm_abort)(NcclComm comm);
  NcclResult (*comm_get_async_error)(NcclComm comm, NcclResult* error);
  const char* (*get_error_string)(NcclResult result);
  const char* (*get_last_error)(NcclComm comm);
  NcclResult (*all_reduce)(const void* send, void* recv, size_t count, NcclDataType type, int op,
                           NcclComm comm, CUstream_st* stream);
  NcclResult (*all_gather)(const void* send, void* recv, size_t count, NcclDataType type,
                           NcclComm comm, CUstream_st* stream);
  NcclResult (*broadcast)(const void* send, void* recv, size_t count, NcclDataType type, int root,
                          NcclComm comm, CUstream_st* stream);
};

// Loaded at the first call and for the life of the process: from SLORA_NCCL_LIBRARY where it is
// set, else libnccl.so.2 where the loader finds it. Null with one line that lists what was tried,
// in the loader's own words. Sets NCCL_NVLS_ENABLE=0 (no NVLink multicast) where the environment
// does not say otherwise.
const NcclLibrary* load_nccl(std::string& out_reason);

}  // namespace slora::comm::cuda
