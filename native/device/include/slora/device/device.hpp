// RAII over a DeviceApi table: what the library itself uses of a backend. Failures become
// core::Error.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "slora/device/device_api.hpp"

namespace slora::device {

class Device {
 public:
  Device(const DeviceApi* api, int32_t device_idx, int32_t num_threads);
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  const DeviceApi& api() const { return *api_; }
  void* handle() const { return handle_; }
  DeviceInfo describe() const;

 private:
  const DeviceApi* api_;
  void* handle_ = nullptr;
};

// A block of device or pinned memory. Keeps its device alive.
class Buffer {
 public:
  Buffer() = default;
  Buffer(std::shared_ptr<Device> device, MemoryKind kind, uint64_t bytes);
  ~Buffer();
  Buffer(Buffer&& other) noexcept;
  Buffer& operator=(Buffer&& other) noexcept;

  uint8_t* data() const { return static_cast<uint8_t*>(memory_); }
  template <typename T>
  T* as() const {
    return static_cast<T*>(memory_);
  }
  uint64_t bytes() const { return bytes_; }

 private:
  std::shared_ptr<Device> device_;
  MemoryKind kind_ = MemoryKind::kDevice;
  void* memory_ = nullptr;
  uint64_t bytes_ = 0;
};

class Event;

// Work recorded from a stream, to be run again as often as wanted. Only where the backend has
// graphs (has_graphs).
class Graph {
 public:
  Graph(std::shared_ptr<Device> device, void* handle)
      : device_(std::move(device)), handle_(handle) {}
  ~Graph();
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  void* handle() const { return handle_; }
  uint64_t bytes() const { return device_->api().graph_bytes(handle_); }

 private:
  std::shared_ptr<Device> device_;
  void* handle_;
};

inline bool has_graphs(const Device& device) { return device.api().graph_begin != nullptr; }

class Stream {
 public:
  Stream(std::shared_ptr<Device> device, StreamKind kind);
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  void* handle() const { return handle_; }
  void synchronize();
  void wait(const Event& event);
  // Both ends must stay valid until the stream has passed the copy.
  void copy(void* destination, const void* source, uint64_t bytes);
  void copy(const PageCopy& pages);
  // What is enqueued between the two is recorded and not run.
  void begin_recording();
  std::unique_ptr<Graph> end_recording();
  // Both, around `enqueue`; if that throws, the stream goes on as if nothing had been recorded.
  std::unique_ptr<Graph> record(const std::function<void()>& enqueue);
  void launch(const Graph& graph);

 private:
  std::shared_ptr<Device> device_;
  void* handle_ = nullptr;
};

class Event {
 public:
  explicit Event(std::shared_ptr<Device> device);
  ~Event();
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  void* handle() const { return handle_; }
  void record(Stream& stream);
  bool is_complete() const;
  void synchronize();
  // From `begin` to this; both must be complete.
  uint64_t elapsed_ns_since(const Event& begin) const;

 private:
  std::shared_ptr<Device> device_;
  void* handle_ = nullptr;
};

}  // namespace slora::device
