// Turns the table's statuses into core::Error and its handles into owners.
#include "slora/device/device.hpp"

#include <utility>

#include "slora/core/status.hpp"

namespace slora::device {
namespace {

void expect(int32_t status, const ApiError& error) {
  if (status != 0) throw core::Error(static_cast<core::Status>(status), error.message);
}

}  // namespace

Device::Device(const DeviceApi* api, int32_t device_idx, int32_t num_threads) : api_(api) {
  ApiError error{};
  expect(api_->open(device_idx, num_threads, &handle_, &error), error);
}

Device::~Device() { api_->close(handle_); }

DeviceInfo Device::describe() const {
  ApiError error{};
  DeviceInfo info{};
  expect(api_->describe(handle_, &info, &error), error);
  return info;
}

Buffer::Buffer(std::shared_ptr<Device> device, MemoryKind kind, uint64_t bytes)
    : device_(std::move(device)), kind_(kind), bytes_(bytes) {
  ApiError error{};
  expect(device_->api().memory_alloc(device_->handle(), kind, bytes, &memory_, &error), error);
}

Buffer::~Buffer() {
  if (memory_) device_->api().memory_free(device_->handle(), kind_, memory_);
}

Buffer::Buffer(Buffer&& other) noexcept { *this = std::move(other); }

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  std::swap(device_, other.device_);
  std::swap(kind_, other.kind_);
  std::swap(memory_, other.memory_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

Stream::Stream(std::shared_ptr<Device> device, StreamKind kind) : device_(std::move(device)) {
  ApiError error{};
  expect(device_->api().stream_create(device_->handle(), kind, &handle_, &error), error);
}

Stream::~Stream() { device_->api().stream_destroy(handle_); }

void Stream::synchronize() {
  ApiError error{};
  expect(device_->api().stream_synchronize(handle_, &error), error);
}

void Stream::wait(const Event& event) {
  ApiError error{};
  expect(device_->api().stream_wait_event(handle_, event.handle(), &error), error);
}

void Stream::copy(void* destination, const void* source, uint64_t bytes) {
  if (bytes == 0) return;
  ApiError error{};
  expect(device_->api().copy_async(handle_, destination, source, bytes, &error), error);
}

void Stream::copy(const PageCopy& pages) {
  ApiError error{};
  expect(device_->api().copy_pages(handle_, &pages, &error), error);
}

void Stream::begin_recording() {
  ApiError error{};
  expect(device_->api().graph_begin(handle_, &error), error);
}

std::unique_ptr<Graph> Stream::end_recording() {
  ApiError error{};
  void* graph = nullptr;
  expect(device_->api().graph_end(handle_, &graph, &error), error);
  return std::make_unique<Graph>(device_, graph);
}

std::unique_ptr<Graph> Stream::record(const std::function<void()>& enqueue) {
  begin_recording();
  try {
    enqueue();
  } catch (...) {
    void* graph = nullptr;
    ApiError ignored{};
    if (device_->api().graph_end(handle_, &graph, &ignored) == 0)
      device_->api().graph_destroy(graph);
    throw;
  }
  return end_recording();
}

void Stream::launch(const Graph& graph) {
  ApiError error{};
  expect(device_->api().graph_launch(graph.handle(), handle_, &error), error);
}

Graph::~Graph() { device_->api().graph_destroy(handle_); }

Event::Event(std::shared_ptr<Device> device) : device_(std::move(device)) {
  ApiError error{};
  expect(device_->api().event_create(device_->handle(), &handle_, &error), error);
}

Event::~Event() { device_->api().event_destroy(handle_); }

void Event::record(Stream& stream) {
  ApiError error{};
  expect(device_->api().event_record(handle_, stream.handle(), &error), error);
}

bool Event::is_complete() const {
  ApiError error{};
  int32_t is_complete = 0;
  expect(device_->api().event_query(handle_, &is_complete, &error), error);
  return is_complete != 0;
}

void Event::synchronize() {
  ApiError error{};
  expect(device_->api().event_synchronize(handle_, &error), error);
}

uint64_t Event::elapsed_ns_since(const Event& begin) const {
  ApiError error{};
  uint64_t ns = 0;
  expect(device_->api().event_elapsed_ns(begin.handle(), handle_, &ns, &error), error);
  return ns;
}

}  // namespace slora::device
