// Messages between ranks that are threads of one process.
#pragma once

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>

#include "message_kind.hpp"
#include "slora/comm/host_link.hpp"

namespace slora::comm {

// One exchange of messages, in which every rank takes part: the n-th of each.
struct Exchange {
  MessageKind kind;
  int32_t root;
  std::vector<std::vector<uint8_t>> messages;  // by rank
  std::vector<bool> has_come;                  // by rank
  int32_t num_done = 0;
};

// What the ranks' links share.
struct Mailroom {
  Mailroom(int32_t group_size, int32_t limit_ms);

  const int32_t size;
  const int32_t time_limit_ms;
  const std::shared_ptr<Breakage> breakage = std::make_shared<Breakage>();
  std::mutex mutex;
  std::condition_variable changed;
  std::map<uint64_t, Exchange> exchanges;  // by number
  std::vector<bool> has_left;
};

class ThreadLink final : public HostLink {
 public:
  ThreadLink(std::shared_ptr<Mailroom> mailroom, int32_t tp_rank)
      : mailroom_(std::move(mailroom)), tp_rank_(tp_rank) {}
  ~ThreadLink() override;

  int32_t tp_rank() const override { return tp_rank_; }
  int32_t size() const override { return mailroom_->size; }
  int32_t time_limit_ms() const override { return mailroom_->time_limit_ms; }
  std::shared_ptr<Breakage> breakage() const override { return mailroom_->breakage; }

  void barrier() override;
  void broadcast_message(std::vector<uint8_t>& message, int32_t root) override;
  void await_message(std::vector<uint8_t>& message, int32_t root) override;
  std::vector<std::vector<uint8_t>> all_gather_messages(std::span<const uint8_t> message,
                                                        Patience patience) override;

 private:
  // Takes part in the next exchange with `own`; the messages that it needs are in `out`.
  void exchange(MessageKind kind, int32_t root, std::span<const uint8_t> own, Patience patience,
                std::vector<std::vector<uint8_t>>& out);
  void await(std::unique_lock<std::mutex>& lock, const Exchange& exchange, int32_t rank,
             Patience patience);

  std::shared_ptr<Mailroom> mailroom_;
  int32_t tp_rank_;
  uint64_t num_exchanges_ = 0;
};

}  // namespace slora::comm
