// A tensor-parallel group as one of its ranks sees it: collectives on device memory, enqueued on a
// stream, and messages between the ranks' hosts.
//
// Every rank calls the same operations in the same order; what differs between ranks is data alone.
// A rank that dies, stalls or aborts breaks the group: every operation that waits then ends within
// the group's time limit with kRankLost naming that rank, and so does every later one. Nothing
// hangs.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "slora/core/dtype.hpp"
#include "slora/device/device.hpp"

namespace slora::comm {

inline constexpr int32_t kMaxGroupSize = 64;

struct GroupOptions {
  // How long an operation waits for a rank before it counts as lost; 1..86'400'000.
  int32_t time_limit_ms = 30'000;
  // Shared memory: what a rank hands to the others at once, rounded up to 64; a larger operand goes
  // in pieces.
  uint64_t piece_bytes = 1u << 20;
};

// Leaving is destruction: a rank that still needs this one then gets kRankLost.
class Group {
 public:
  virtual ~Group() = default;

  virtual int32_t tp_rank() const = 0;
  virtual int32_t size() const = 0;

  // ---- on the device: enqueued on the rank's own `stream` (device::Stream::handle()), recordable
  // into a graph where the backend has graphs. A failure surfaces where the stream is waited for
  // and in check(). Collectives on several streams are the caller's to order, by events: no two of
  // a group may run at once on a rank.

  // data[i] = sum over the ranks of data[i], in place; in the order of ranks on the host, so that
  // the same inputs give the same bits. fp32, bf16 or fp16 (summed in fp32, rounded once).
  virtual void all_reduce(void* stream, void* data, int64_t count, core::DType dtype) = 0;
  // recv[i * bytes ..] = send of rank i, for all ranks; `send` may be this rank's place in `recv`.
  virtual void all_gather(void* stream, const void* send, void* recv, uint64_t bytes) = 0;
  // data = data of rank `root`.
  virtual void broadcast(void* stream, void* data, uint64_t bytes, int32_t root) = 0;

  // What event.synchronize() is, for an event behind collectives: ends with kRankLost within the
  // time limit also where the device itself would wait for a lost rank for ever.
  virtual void synchronize(device::Event& event);

  // Around what a step enqueues (Work). In between the host may stop inside one of the device's own
  // calls, where no operation of the group ends it: loading code waits until the device is idle,
  // for one. If the end does not come within the time limit the group breaks, which ends the
  // collectives that such a call waits for.
  virtual void begin_work() noexcept {}
  virtual void end_work() noexcept {}

  // ---- between the hosts: blocking, at most for the time limit

  virtual void barrier() = 0;
  // The root's message, on every rank.
  virtual void broadcast_message(std::vector<uint8_t>& message, int32_t root) = 0;
  // The same for a root that may have nothing to say for hours: the others wait as long as the
  // group lives. The root calls broadcast_message.
  virtual void await_message(std::vector<uint8_t>& message, int32_t root) = 0;
  // Every rank's message in the order of ranks, on every rank.
  virtual std::vector<std::vector<uint8_t>> all_gather_messages(
      std::span<const uint8_t> message) = 0;

  // ---- failure

  // Tells every rank that this one cannot go on. Never throws; any thread.
  virtual void abort(const std::string& reason) noexcept = 0;
  // Throws kRankLost naming the rank if the group is broken; costs no round trip. Any thread.
  virtual void check() = 0;
};

// One step's enqueueing; `group` may be null.
class Work {
 public:
  explicit Work(Group* group) : group_(group) {
    if (group_) group_->begin_work();
  }
  ~Work() {
    if (group_) group_->end_work();
  }
  Work(const Work&) = delete;
  Work& operator=(const Work&) = delete;

 private:
  Group* const group_;
};

}  // namespace slora::comm
