// Hands on, and counts by the ring algorithms' formulas.
#include "slora/comm/recording_group.hpp"

namespace slora::comm {

void RecordingGroup::Counter::add(uint64_t num_elements, uint64_t num_bytes, uint64_t num_sent) {
  calls.fetch_add(1, std::memory_order_relaxed);
  elements.fetch_add(num_elements, std::memory_order_relaxed);
  bytes.fetch_add(num_bytes, std::memory_order_relaxed);
  sent_bytes.fetch_add(num_sent, std::memory_order_relaxed);
}

Traffic RecordingGroup::Counter::read() const {
  return {calls.load(std::memory_order_relaxed), elements.load(std::memory_order_relaxed),
          bytes.load(std::memory_order_relaxed), sent_bytes.load(std::memory_order_relaxed)};
}

void RecordingGroup::Counter::reset() {
  for (auto* value : {&calls, &elements, &bytes, &sent_bytes})
    value->store(0, std::memory_order_relaxed);
}

GroupTraffic RecordingGroup::traffic() const {
  return {all_reduce_.read(), all_gather_.read(), broadcast_.read(), messages_.read()};
}

void RecordingGroup::reset() {
  for (Counter* counter : {&all_reduce_, &all_gather_, &broadcast_, &messages_}) counter->reset();
}

void RecordingGroup::all_reduce(void* stream, void* data, int64_t count, core::DType dtype) {
  inner_->all_reduce(stream, data, count, dtype);
  const auto ranks = static_cast<uint64_t>(size());
  const auto bytes = static_cast<uint64_t>(count * core::dtype_bytes(dtype));
  all_reduce_.add(static_cast<uint64_t>(count), bytes, 2 * (ranks - 1) * bytes / ranks);
}

void RecordingGroup::all_gather(void* stream, const void* send, void* recv, uint64_t bytes) {
  inner_->all_gather(stream, send, recv, bytes);
  all_gather_.add(bytes, bytes, (static_cast<uint64_t>(size()) - 1) * bytes);
}

void RecordingGroup::broadcast(void* stream, void* data, uint64_t bytes, int32_t root) {
  inner_->broadcast(stream, data, bytes, root);
  const auto ranks = static_cast<uint64_t>(size());
  broadcast_.add(bytes, bytes, (ranks - 1) * bytes / ranks);
}

void RecordingGroup::barrier() {
  inner_->barrier();
  messages_.add(0, 0, 0);
}

void RecordingGroup::broadcast_message(std::vector<uint8_t>& message, int32_t root) {
  inner_->broadcast_message(message, root);
  const uint64_t own = root == tp_rank() ? message.size() : 0;
  messages_.add(own, own, own * (static_cast<uint64_t>(size()) - 1));
}

void RecordingGroup::await_message(std::vector<uint8_t>& message, int32_t root) {
  inner_->await_message(message, root);
  messages_.add(0, 0, 0);
}

std::vector<std::vector<uint8_t>> RecordingGroup::all_gather_messages(
    std::span<const uint8_t> message) {
  auto all = inner_->all_gather_messages(message);
  messages_.add(message.size(), message.size(),
                message.size() * (static_cast<uint64_t>(size()) - 1));
  return all;
}

}  // namespace slora::comm
