// A group of the host backend: a link for messages, a shared board for device memory.
#pragma once

#include <memory>
#include <utility>

#include "shared_collectives.hpp"
#include "slora/comm/group.hpp"
#include "slora/comm/host_link.hpp"

namespace slora::comm {

class SharedMemoryGroup final : public Group {
 public:
  // `memory` owns what `board` points to.
  SharedMemoryGroup(std::unique_ptr<HostLink> link, RankBoard board, std::shared_ptr<void> memory);

  int32_t tp_rank() const override { return link_->tp_rank(); }
  int32_t size() const override { return link_->size(); }
  void all_reduce(void* stream, void* data, int64_t count, core::DType dtype) override {
    collectives_.all_reduce(stream, data, count, dtype);
  }
  void all_gather(void* stream, const void* send, void* recv, uint64_t bytes) override {
    collectives_.all_gather(stream, send, recv, bytes);
  }
  void broadcast(void* stream, void* data, uint64_t bytes, int32_t root) override {
    collectives_.broadcast(stream, data, bytes, root);
  }
  void barrier() override { link_->barrier(); }
  void broadcast_message(std::vector<uint8_t>& message, int32_t root) override {
    link_->broadcast_message(message, root);
  }
  void await_message(std::vector<uint8_t>& message, int32_t root) override {
    link_->await_message(message, root);
  }
  std::vector<std::vector<uint8_t>> all_gather_messages(std::span<const uint8_t> message) override {
    return link_->all_gather_messages(message);
  }
  void abort(const std::string& reason) noexcept override { link_->abort(reason); }
  void check() override { link_->breakage()->check(); }

 private:
  std::unique_ptr<HostLink> link_;
  SharedCollectives collectives_;
};

}  // namespace slora::comm
