// The device half of the backend seam: one C table of functions for memory, streams, events and
// copies. C++17.
//
// Two compilers build the two sides (the CUDA plugin and the library), so only plain data crosses:
// no C++ type with behaviour, no exception, no allocation that the other side frees. Every function
// answers a core::Status value; on failure it fills ApiError with one line.
#pragma once

#include <cstdint>

namespace slora::device {

inline constexpr uint32_t kDeviceApiVersion = 5;

struct ApiError {
  char message[512];
};

enum class MemoryKind : int32_t {
  kDevice = 0,  // what kernels read and write; 64-byte aligned at least
  kPinned = 1,  // host memory that async copies may use; plain aligned memory on the host backend
};

// Where several want the device, collectives beside a step go first (the step waits for them), then
// steps, then copies.
enum class StreamKind : int32_t { kCompute = 0, kCopy = 1, kCollective = 2 };

struct DeviceInfo {
  uint64_t memory_bytes;
  uint64_t free_memory_bytes;
  int32_t device_count;
  int32_t num_threads;  // host backend: compute threads; CUDA: 0
  char name[128];
  char features[128];
};

inline constexpr int32_t kMaxCopyPages = 32;

// Semantics  page targets[i] of layer l = page sources[i] of layer l of the source, for i in
// [0, num_pages) and l in [0, num_layers)
struct PageCopy {
  uint8_t* slice;  // of the first layer: page p of layer l at l * slice_bytes + p * page_bytes
  const uint8_t* source;  // pinned or device memory: page p of layer l at
                          // l * layer_bytes + p * page_bytes
  int64_t slice_bytes;
  int64_t layer_bytes;
  int64_t page_bytes;
  int32_t num_layers;
  int32_t num_pages;  // <= kMaxCopyPages
  int32_t sources[kMaxCopyPages];
  int32_t targets[kMaxCopyPages];
};

struct DeviceApi {
  uint32_t struct_size;
  uint32_t api_version;

  // num_threads: compute threads of the host backend, 0 = one a core; ignored by CUDA.
  int32_t (*open)(int32_t device_idx, int32_t num_threads, void** out_device, ApiError* error);
  void (*close)(void* device);
  int32_t (*describe)(void* device, DeviceInfo* out_info, ApiError* error);

  int32_t (*memory_alloc)(void* device, MemoryKind kind, uint64_t bytes, void** out_memory,
                          ApiError* error);
  void (*memory_free)(void* device, MemoryKind kind, void* memory);

  // Work on one stream runs in order. Streams run beside each other.
  int32_t (*stream_create)(void* device, StreamKind kind, void** out_stream, ApiError* error);
  void (*stream_destroy)(void* stream);  // waits for its work
  int32_t (*stream_synchronize)(void* stream, ApiError* error);

  // An event is complete once all work enqueued before its last record has run; an unrecorded event
  // is complete.
  int32_t (*event_create)(void* device, void** out_event, ApiError* error);
  void (*event_destroy)(void* event);
  int32_t (*event_record)(void* event, void* stream, ApiError* error);
  int32_t (*stream_wait_event)(void* stream, void* event, ApiError* error);
  int32_t (*event_query)(void* event, int32_t* out_is_complete, ApiError* error);
  int32_t (*event_synchronize)(void* event, ApiError* error);
  // Time between two complete recorded events.
  int32_t (*event_elapsed_ns)(void* begin, void* end, uint64_t* out_ns, ApiError* error);

  // Copies between any two of device and pinned memory. Both must stay valid until the stream has
  // passed the copy.
  int32_t (*copy_async)(void* stream, void* destination, const void* source, uint64_t bytes,
                        ApiError* error);

  // Graphs: null on a backend without them. Between begin and end, work enqueued on `stream` is
  // recorded and not run. A launch runs it on a stream as if enqueued there again, with the same
  // parameters and addresses. Events have no place in a recording.
  int32_t (*graph_begin)(void* stream, ApiError* error) = nullptr;
  int32_t (*graph_end)(void* stream, void** out_graph, ApiError* error) = nullptr;
  int32_t (*graph_launch)(void* graph, void* stream, ApiError* error) = nullptr;
  void (*graph_destroy)(void* graph) = nullptr;

  // Many scattered pages at once: on CUDA by a kernel that reads pinned memory itself, where each
  // copy of its own would cost more than its bytes.
  int32_t (*copy_pages)(void* stream, const PageCopy* copy, ApiError* error) = nullptr;

  // Memory that a graph holds beside what its kernels work on: on CUDA by what was free on the
  // device before it was made and after. Null where graph_begin is.
  uint64_t (*graph_bytes)(void* graph) = nullptr;
};

}  // namespace slora::device
