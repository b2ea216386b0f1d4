// The queue is a ring under a mutex: a command is tens of microseconds of work, so a lock each is
// nothing, and the thread takes all that is queued at once.
#include "host_stream.hpp"

#include <cstring>

#include "slora/core/check.hpp"

namespace slora::device {

HostStream::HostStream(std::shared_ptr<SharedTeam> team)
    : team_(std::move(team)), slots_(new Slot[kSlots]), thread_([this] { run(); }) {}

HostStream::~HostStream() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void HostStream::enqueue(HostCommand command, const void* params, uint32_t bytes) {
  SLORA_CHECK(bytes <= kHostCommandParamsBytes);
  std::unique_lock<std::mutex> lock(mutex_);
  drained_.wait(lock, [&] { return tail_ - head_ < kSlots; });
  Slot& slot = slots_[tail_ % kSlots];
  slot.command = command;
  std::memcpy(slot.params, params, bytes);
  const bool was_empty = head_ == tail_;
  ++tail_;
  lock.unlock();
  if (was_empty) changed_.notify_one();
}

void HostStream::synchronize() {
  std::unique_lock<std::mutex> lock(mutex_);
  const uint64_t target = tail_;
  drained_.wait(lock, [&] { return head_ >= target; });
  if (failure_) throw core::Error(*failure_);
}

void HostStream::run() {
  std::unique_lock<std::mutex> lock(mutex_);
  for (;;) {
    changed_.wait(lock, [&] { return head_ != tail_ || stop_; });
    if (head_ == tail_) return;  // stopped and drained
    Slot& slot = slots_[head_ % kSlots];
    lock.unlock();
    std::shared_ptr<const core::Error> failure;
    try {
      const std::lock_guard<std::mutex> turn(team_->mutex);
      slot.command(slot.params, team_->team);
    } catch (const core::Error& thrown) {
      failure = std::make_shared<const core::Error>(thrown);
    }
    lock.lock();
    if (failure && !failure_) failure_ = std::move(failure);
    // The slot is given back only now: until then its params are the command's.
    ++head_;
    drained_.notify_all();
  }
}

void enqueue_host_command(void* stream, HostCommand command, const void* params, uint32_t bytes) {
  static_cast<HostStream*>(stream)->enqueue(command, params, bytes);
}

}  // namespace slora::device
