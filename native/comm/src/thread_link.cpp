// One mailbox for all ranks under one lock: messages are few.
#include "thread_link.hpp"

#include <chrono>

#include "slora/core/check.hpp"

namespace slora::comm {
namespace {

using Clock = std::chrono::steady_clock;

// The breakage wakes sleepers without the mailroom's lock, so one may just miss it.
constexpr auto kSlice = std::chrono::milliseconds(10);

}  // namespace

Mailroom::Mailroom(int32_t group_size, int32_t limit_ms)
    : size(group_size), time_limit_ms(limit_ms), has_left(static_cast<size_t>(group_size)) {}

ThreadLink::~ThreadLink() {
  const std::lock_guard<std::mutex> lock(mailroom_->mutex);
  mailroom_->has_left[static_cast<size_t>(tp_rank_)] = true;
  mailroom_->changed.notify_all();
}

void ThreadLink::barrier() {
  std::vector<std::vector<uint8_t>> messages;
  exchange(MessageKind::kBarrier, 0, {}, Patience::kLimited, messages);
}

void ThreadLink::broadcast_message(std::vector<uint8_t>& message, int32_t root) {
  std::vector<std::vector<uint8_t>> messages;
  exchange(MessageKind::kBroadcast, root, message, Patience::kLimited, messages);
  if (root != tp_rank_) message = std::move(messages[0]);
}

void ThreadLink::await_message(std::vector<uint8_t>& message, int32_t root) {
  SLORA_CHECK(root != tp_rank_);
  std::vector<std::vector<uint8_t>> messages;
  exchange(MessageKind::kBroadcast, root, {}, Patience::kForEver, messages);
  message = std::move(messages[0]);
}

std::vector<std::vector<uint8_t>> ThreadLink::all_gather_messages(std::span<const uint8_t> message,
                                                                  Patience patience) {
  std::vector<std::vector<uint8_t>> messages;
  exchange(MessageKind::kAllGather, 0, message, patience, messages);
  return messages;
}

void ThreadLink::exchange(MessageKind kind, int32_t root, std::span<const uint8_t> own,
                          Patience patience, std::vector<std::vector<uint8_t>>& out) {
  SLORA_CHECK(root >= 0 && root < size());
  mailroom_->breakage->check();
  const uint64_t number = ++num_exchanges_;
  const auto ranks = static_cast<size_t>(size());
  std::unique_lock<std::mutex> lock(mailroom_->mutex);
  const auto [entry, is_first] = mailroom_->exchanges.try_emplace(
      number,
      Exchange{kind, root, std::vector<std::vector<uint8_t>>(ranks), std::vector<bool>(ranks), 0});
  Exchange& joined = entry->second;
  if (joined.kind != kind || joined.root != root) {
    mailroom_->breakage->set(
        core::str_cat("rank ", tp_rank_, " of ", size(), " called ", message_kind_name(kind),
                      " of rank ", root, " where others called ", message_kind_name(joined.kind),
                      " of rank ", joined.root),
        core::Status::kInternal);
    mailroom_->breakage->check();
  }
  joined.messages[static_cast<size_t>(tp_rank_)].assign(own.begin(), own.end());
  joined.has_come[static_cast<size_t>(tp_rank_)] = true;
  mailroom_->changed.notify_all();
  if (kind == MessageKind::kBroadcast) {
    await(lock, joined, root, patience);
    out = {joined.messages[static_cast<size_t>(root)]};
  } else {
    for (int32_t rank = 0; rank < size(); ++rank) await(lock, joined, rank, patience);
    out = joined.messages;
  }
  if (++joined.num_done == size()) mailroom_->exchanges.erase(number);
}

void ThreadLink::await(std::unique_lock<std::mutex>& lock, const Exchange& exchange, int32_t rank,
                       Patience patience) {
  const auto deadline = Clock::now() + std::chrono::milliseconds(time_limit_ms());
  const auto idx = static_cast<size_t>(rank);
  while (!exchange.has_come[idx]) {
    mailroom_->breakage->check();
    if (mailroom_->has_left[idx]) {
      mailroom_->breakage->set(core::str_cat("rank ", rank, " of ", size(),
                                             " left the group before ",
                                             message_kind_name(exchange.kind)));
    } else if (patience == Patience::kLimited && Clock::now() >= deadline) {
      mailroom_->breakage->set(core::str_cat("rank ", rank, " of ", size(), " did not come to ",
                                             message_kind_name(exchange.kind),
                                             " within the time limit of ", time_limit_ms(), " ms"));
    } else {
      mailroom_->changed.wait_for(lock, kSlice);
    }
  }
}

}  // namespace slora::comm
