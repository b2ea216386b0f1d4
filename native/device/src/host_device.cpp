// The host backend's DeviceApi. Every function catches what it may throw: the table is C.
#include "slora/device/host_device.hpp"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <thread>

#include "host_memory.hpp"
#include "host_stream.hpp"
#include "slora/core/status.hpp"

namespace slora::device {
namespace {

using core::Status;

struct HostDevice {
  explicit HostDevice(int32_t num_threads) : team(std::make_shared<SharedTeam>(num_threads)) {}
  std::shared_ptr<SharedTeam> team;
};

int32_t answer(ApiError* error, Status status, const char* message) {
  if (error) std::snprintf(error->message, sizeof error->message, "%s", message);
  return static_cast<int32_t>(status);
}

template <typename Body>
int32_t guarded(ApiError* error, Body&& body) {
  try {
    body();
    return static_cast<int32_t>(Status::kOk);
  } catch (const core::Error& failure) {
    return answer(error, failure.status(), failure.what());
  } catch (const std::bad_alloc&) {
    return answer(error, Status::kOutOfMemory, "host memory is exhausted");
  } catch (const std::exception& failure) {
    return answer(error, Status::kInternal, failure.what());
  }
}

std::string cpu_name() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    if (line.rfind("model name", 0) == 0) {
      const size_t colon = line.find(": ");
      if (colon != std::string::npos) return line.substr(colon + 2);
    }
  }
  return "CPU";
}

// Available as the kernel estimates it: what can be had without swapping.
uint64_t available_memory_bytes() {
  std::ifstream info("/proc/meminfo");
  for (std::string line; std::getline(info, line);) {
    unsigned long long kib = 0;
    if (std::sscanf(line.c_str(), "MemAvailable: %llu kB", &kib) == 1) return uint64_t{kib} * 1024;
  }
  return static_cast<uint64_t>(sysconf(_SC_AVPHYS_PAGES)) *
         static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

int32_t host_open(int32_t device_idx, int32_t num_threads, void** out_device, ApiError* error) {
  return guarded(error, [&] {
    if (device_idx != 0)
      core::fail(Status::kBackend, "the host backend has device 0 only, not ", device_idx);
    if (num_threads < 0 || num_threads > 256) {
      core::fail(Status::kInvalidArgument, "num_threads is ", num_threads, ", the limit is 0..256");
    }
    const int32_t cores = static_cast<int32_t>(std::max(1u, std::thread::hardware_concurrency()));
    *out_device = new HostDevice(num_threads == 0 ? cores : num_threads);
  });
}

void host_close(void* device) { delete static_cast<HostDevice*>(device); }

int32_t host_describe(void* device, DeviceInfo* out_info, ApiError* error) {
  return guarded(error, [&] {
    *out_info = DeviceInfo{};
    out_info->memory_bytes = static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) *
                             static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
    out_info->free_memory_bytes = available_memory_bytes();
    out_info->device_count = 1;
    out_info->num_threads = static_cast<HostDevice*>(device)->team->team.num_threads();
    std::snprintf(out_info->name, sizeof out_info->name, "%s", cpu_name().c_str());
  });
}

int32_t host_memory_alloc(void*, MemoryKind, uint64_t bytes, void** out_memory, ApiError* error) {
  void* memory = allocate_host_memory(bytes);
  if (!memory) {
    const std::string text = core::str_cat("cannot allocate ", bytes, " bytes of host memory");
    return answer(error, Status::kOutOfMemory, text.c_str());
  }
  *out_memory = memory;
  return static_cast<int32_t>(Status::kOk);
}

void host_memory_free(void*, MemoryKind, void* memory) { free_host_memory(memory); }

int32_t host_stream_create(void* device, StreamKind kind, void** out_stream, ApiError* error) {
  return guarded(error, [&] {
    auto& host = *static_cast<HostDevice*>(device);
    *out_stream =
        new HostStream(kind == StreamKind::kCompute ? host.team : std::make_shared<SharedTeam>(1));
  });
}

void host_stream_destroy(void* stream) { delete static_cast<HostStream*>(stream); }

int32_t host_stream_synchronize(void* stream, ApiError* error) {
  return guarded(error, [&] { static_cast<HostStream*>(stream)->synchronize(); });
}

int32_t host_event_create(void*, void** out_event, ApiError* error) {
  return guarded(error, [&] { *out_event = new HostEvent; });
}

void host_event_destroy(void* event) { delete static_cast<HostEvent*>(event); }

struct EventCommand {
  HostEvent* event;
  uint64_t target;
  const HostStream* stream;
};

void complete_event(const void* params, ThreadTeam&) {
  const auto& command = *static_cast<const EventCommand*>(params);
  // Notified under the lock: a waiter may destroy the event as soon as it sees it complete.
  const std::lock_guard<std::mutex> lock(command.event->mutex);
  command.event->completed = command.target;
  command.event->failure = command.stream->failure();
  command.event->time = std::chrono::steady_clock::now();
  command.event->reached.notify_all();
}

void await_event(const void* params, ThreadTeam&) {
  const auto& command = *static_cast<const EventCommand*>(params);
  std::unique_lock<std::mutex> lock(command.event->mutex);
  command.event->reached.wait(lock, [&] { return command.event->completed >= command.target; });
  if (command.event->failure) throw core::Error(*command.event->failure);
}

// A record or a wait counts what has been enqueued, which a replay would not.
void refuse_in_recording(const HostStream& stream) {
  if (stream.is_recording()) core::fail(Status::kWrongState, "events have no place in a recording");
}

int32_t host_event_record(void* event, void* stream, ApiError* error) {
  return guarded(error, [&] {
    refuse_in_recording(*static_cast<HostStream*>(stream));
    EventCommand command{static_cast<HostEvent*>(event), 0, static_cast<HostStream*>(stream)};
    {
      const std::lock_guard<std::mutex> lock(command.event->mutex);
      command.target = ++command.event->recorded;
    }
    static_cast<HostStream*>(stream)->enqueue(complete_event, &command, sizeof command);
  });
}

int32_t host_stream_wait_event(void* stream, void* event, ApiError* error) {
  return guarded(error, [&] {
    refuse_in_recording(*static_cast<HostStream*>(stream));
    EventCommand command{static_cast<HostEvent*>(event), 0, static_cast<HostStream*>(stream)};
    {
      const std::lock_guard<std::mutex> lock(command.event->mutex);
      command.target = command.event->recorded;
    }
    static_cast<HostStream*>(stream)->enqueue(await_event, &command, sizeof command);
  });
}

int32_t host_event_query(void* event, int32_t* out_is_complete, ApiError* error) {
  return guarded(error, [&] {
    auto& host = *static_cast<HostEvent*>(event);
    const std::lock_guard<std::mutex> lock(host.mutex);
    *out_is_complete = host.completed >= host.recorded ? 1 : 0;
  });
}

int32_t host_event_synchronize(void* event, ApiError* error) {
  return guarded(error, [&] {
    auto& host = *static_cast<HostEvent*>(event);
    std::unique_lock<std::mutex> lock(host.mutex);
    const uint64_t target = host.recorded;
    host.reached.wait(lock, [&] { return host.completed >= target; });
    if (host.failure) throw core::Error(*host.failure);
  });
}

int32_t host_event_elapsed_ns(void* begin, void* end, uint64_t* out_ns, ApiError* error) {
  return guarded(error, [&] {
    auto time_of = [](void* event) {
      auto& host = *static_cast<HostEvent*>(event);
      const std::lock_guard<std::mutex> lock(host.mutex);
      return host.time;
    };
    *out_ns = static_cast<uint64_t>(
        std::chrono::duration_cast<std::chrono::nanoseconds>(time_of(end) - time_of(begin))
            .count());
  });
}

struct CopyCommand {
  void* destination;
  const void* source;
  uint64_t bytes;
};

void run_copy(const void* params, ThreadTeam&) {
  const auto& command = *static_cast<const CopyCommand*>(params);
  std::memcpy(command.destination, command.source, command.bytes);
}

int32_t host_copy_async(void* stream, void* destination, const void* source, uint64_t bytes,
                        ApiError* error) {
  return guarded(error, [&] {
    const CopyCommand command{destination, source, bytes};
    static_cast<HostStream*>(stream)->enqueue(run_copy, &command, sizeof command);
  });
}

void run_copy_pages(const void* params, ThreadTeam&) {
  const auto& copy = *static_cast<const PageCopy*>(params);
  const auto bytes = static_cast<size_t>(copy.page_bytes);
  for (int64_t layer = 0; layer < copy.num_layers; ++layer) {
    for (int32_t i = 0; i < copy.num_pages; ++i) {
      std::memcpy(copy.slice + layer * copy.slice_bytes + copy.targets[i] * copy.page_bytes,
                  copy.source + layer * copy.layer_bytes + copy.sources[i] * copy.page_bytes,
                  bytes);
    }
  }
}

int32_t host_copy_pages(void* stream, const PageCopy* copy, ApiError* error) {
  return guarded(error, [&] {
    static_assert(sizeof(PageCopy) <= kHostCommandParamsBytes);
    static_cast<HostStream*>(stream)->enqueue(run_copy_pages, copy, sizeof *copy);
  });
}

using HostGraphHandle = std::shared_ptr<const HostGraph>;

int32_t host_graph_begin(void* stream, ApiError* error) {
  return guarded(error, [&] { static_cast<HostStream*>(stream)->begin_recording(); });
}

int32_t host_graph_end(void* stream, void** out_graph, ApiError* error) {
  return guarded(error, [&] {
    *out_graph = new HostGraphHandle(static_cast<HostStream*>(stream)->end_recording());
  });
}

int32_t host_graph_launch(void* graph, void* stream, ApiError* error) {
  return guarded(error, [&] {
    static_cast<HostStream*>(stream)->launch(*static_cast<HostGraphHandle*>(graph));
  });
}

void host_graph_destroy(void* graph) { delete static_cast<HostGraphHandle*>(graph); }

uint64_t host_graph_bytes(void* graph) {
  return (*static_cast<HostGraphHandle*>(graph))->slots.size() * sizeof(HostSlot);
}

constexpr DeviceApi kHostDeviceApi = {
    sizeof(DeviceApi),     kDeviceApiVersion,       host_open,         host_close,
    host_describe,         host_memory_alloc,       host_memory_free,  host_stream_create,
    host_stream_destroy,   host_stream_synchronize, host_event_create, host_event_destroy,
    host_event_record,     host_stream_wait_event,  host_event_query,  host_event_synchronize,
    host_event_elapsed_ns, host_copy_async,         host_graph_begin,  host_graph_end,
    host_graph_launch,     host_graph_destroy,      host_copy_pages,   host_graph_bytes,
};

}  // namespace

const DeviceApi* host_device_api() { return &kHostDeviceApi; }

}  // namespace slora::device
