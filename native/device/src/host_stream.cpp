// The queue is a ring under a mutex: a command is tens of microseconds of work, so a lock each is
// nothing, and the thread takes all that is queued at once.
#include "host_stream.hpp"

#include <cstring>
#include <utility>

#include "slora/core/check.hpp"

namespace slora::device {
namespace {

void fill(HostSlot& slot, HostCommand command, const void* params, uint32_t bytes,
          HostRelease release) {
  slot.command = command;
  slot.release = release;
  std::memcpy(slot.params, params, bytes);
}

using GraphReference = std::shared_ptr<const HostGraph>;

// All of its commands, whatever becomes of one; then the first failure.
void run_graph(const void* params, ThreadTeam& team) {
  const GraphReference& graph = **static_cast<GraphReference* const*>(params);
  std::shared_ptr<const core::Error> failure;
  for (const HostSlot& slot : graph->slots) {
    try {
      slot.command(slot.params, team);
    } catch (const core::Error& thrown) {
      if (!failure) failure = std::make_shared<const core::Error>(thrown);
    }
  }
  if (failure) throw core::Error(*failure);
}

}  // namespace

HostGraph::~HostGraph() {
  for (HostSlot& slot : slots) {
    if (slot.release) slot.release(slot.params);
  }
}

HostStream::HostStream(std::shared_ptr<SharedTeam> team)
    : team_(std::move(team)), slots_(new HostSlot[kSlots]), thread_([this] { run(); }) {}

HostStream::~HostStream() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void HostStream::enqueue(HostCommand command, const void* params, uint32_t bytes,
                         HostRelease release) {
  SLORA_CHECK(bytes <= kHostCommandParamsBytes);
  std::unique_lock<std::mutex> lock(mutex_);
  if (recording_) {
    fill(recording_->slots.emplace_back(), command, params, bytes, release);
    return;
  }
  drained_.wait(lock, [&] { return tail_ - head_ < kSlots; });
  fill(slots_[tail_ % kSlots], command, params, bytes, release);
  const bool was_empty = head_ == tail_;
  ++tail_;
  lock.unlock();
  if (was_empty) changed_.notify_one();
}

void HostStream::begin_recording() {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (recording_) core::fail(core::Status::kWrongState, "the stream is being recorded already");
  recording_ = std::make_shared<HostGraph>();
}

std::shared_ptr<const HostGraph> HostStream::end_recording() {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!recording_) core::fail(core::Status::kWrongState, "the stream is not being recorded");
  return std::exchange(recording_, nullptr);
}

bool HostStream::is_recording() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return recording_ != nullptr;
}

// One command, which keeps the graph for as long as it is queued.
void HostStream::launch(std::shared_ptr<const HostGraph> graph) {
  auto reference = std::make_unique<GraphReference>(std::move(graph));
  GraphReference* const raw = reference.get();
  enqueue(run_graph, &raw, sizeof raw,
          [](void* params) { delete *static_cast<GraphReference**>(params); });
  (void)reference.release();
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
    HostSlot& slot = slots_[head_ % kSlots];
    lock.unlock();
    std::shared_ptr<const core::Error> failure;
    try {
      const std::lock_guard<std::mutex> turn(team_->mutex);
      slot.command(slot.params, team_->team);
    } catch (const core::Error& thrown) {
      failure = std::make_shared<const core::Error>(thrown);
    }
    if (slot.release) slot.release(slot.params);
    lock.lock();
    if (failure && !failure_) failure_ = std::move(failure);
    // The slot is given back only now: until then its params are the command's.
    ++head_;
    drained_.notify_all();
  }
}

void enqueue_host_command(void* stream, HostCommand command, const void* params, uint32_t bytes,
                          HostRelease release) {
  static_cast<HostStream*>(stream)->enqueue(command, params, bytes, release);
}

}  // namespace slora::device
