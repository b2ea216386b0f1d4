// A rank of a group of GPUs: the plugin's communicator, a link for messages, and a watchdog that
// carries failures from one to the other.
#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>

#include "slora/comm/comm_api.hpp"
#include "slora/comm/group.hpp"
#include "slora/comm/host_link.hpp"

namespace slora::comm {

class NcclGroup final : public Group {
 public:
  // `comm` is ready; `owner` destroys it when the last group that holds it goes.
  NcclGroup(std::unique_ptr<HostLink> link, const CommApi& api, void* comm,
            std::shared_ptr<void> owner);
  // Streams that hold collectives must have been waited for.
  ~NcclGroup() override;

  int32_t tp_rank() const override { return link_->tp_rank(); }
  int32_t size() const override { return link_->size(); }
  void all_reduce(void* stream, void* data, int64_t count, core::DType dtype) override;
  void all_gather(void* stream, const void* send, void* recv, uint64_t bytes) override;
  void broadcast(void* stream, void* data, uint64_t bytes, int32_t root) override;
  void synchronize(device::Event& event) override;
  void begin_work() noexcept override;
  void end_work() noexcept override { work_begun_ns_ = kNoWork; }
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
  void check() override { breakage_->check(); }

 private:
  // Breaks the group with the table's words and throws.
  void expect(int32_t status, const device::ApiError& error);
  void watch();
  void break_for_lateness(int32_t silent_rank);
  // How long rank 0 lets others find out who is missing, beyond the limit.
  int64_t extended_limit_ms() const;

  std::unique_ptr<HostLink> link_;
  const std::shared_ptr<Breakage> breakage_;
  const CommApi& api_;
  void* const comm_;
  const std::shared_ptr<void> owner_;
  std::mutex mutex_;  // of stop_
  std::condition_variable stopped_;
  bool stop_ = false;
  static constexpr int64_t kNoWork = -1;
  std::atomic<int64_t> work_begun_ns_{kNoWork};  // of the steady clock
  std::thread watchdog_;
};

}  // namespace slora::comm
