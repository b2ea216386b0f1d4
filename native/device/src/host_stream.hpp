// A host stream: one thread that runs commands in the order of their enqueueing.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "slora/core/status.hpp"
#include "slora/device/host_device.hpp"

namespace slora::device {

// Counts records; complete when as many have been reached as were enqueued.
struct HostEvent {
  std::mutex mutex;
  std::condition_variable reached;
  uint64_t recorded = 0;                       // records enqueued
  uint64_t completed = 0;                      // records that their stream has passed
  std::shared_ptr<const core::Error> failure;  // the stream's, as it was at the last completion
  std::chrono::steady_clock::time_point time;  // of the last completion
};

// A team and the lock that lets the streams which share it take turns, a command at a time.
struct SharedTeam {
  explicit SharedTeam(int32_t num_threads) : team(num_threads) {}
  std::mutex mutex;
  ThreadTeam team;
};

struct alignas(64) HostSlot {
  HostCommand command;
  HostRelease release;  // null: the params own nothing
  alignas(16) unsigned char params[kHostCommandParamsBytes];
};

// Commands that were recorded, in their order.
struct HostGraph {
  HostGraph() = default;
  ~HostGraph();
  HostGraph(const HostGraph&) = delete;
  HostGraph& operator=(const HostGraph&) = delete;

  std::vector<HostSlot> slots;
};

class HostStream {
 public:
  // `team` runs this stream's commands. A stream of another kind gets a team of one of its own, so
  // that it runs beside compute, also while a command of compute waits for it.
  explicit HostStream(std::shared_ptr<SharedTeam> team);
  ~HostStream();
  HostStream(const HostStream&) = delete;
  HostStream& operator=(const HostStream&) = delete;

  void enqueue(HostCommand command, const void* params, uint32_t bytes,
               HostRelease release = nullptr);
  // kWrongState if it records already, or does not.
  void begin_recording();
  std::shared_ptr<const HostGraph> end_recording();
  bool is_recording() const;
  void launch(std::shared_ptr<const HostGraph> graph);
  // Throws the first failure of a command, now and ever after.
  void synchronize();
  // That failure or null; for commands of this stream, which run on its thread.
  std::shared_ptr<const core::Error> failure() const { return failure_; }

 private:
  // More than the commands of two steps of a deep model (about 12 a layer), so that enqueueing
  // rarely waits.
  static constexpr uint64_t kSlots = 4096;

  void run();

  std::shared_ptr<SharedTeam> team_;
  std::unique_ptr<HostSlot[]> slots_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::condition_variable drained_;
  uint64_t head_ = 0;  // next to run
  uint64_t tail_ = 0;  // next to fill
  bool stop_ = false;
  std::shared_ptr<HostGraph> recording_;  // null: what is enqueued runs
  // Written by the stream's thread alone, under the mutex. Later commands still run: events must
  // complete, whoever waits learns of the failure there.
  std::shared_ptr<const core::Error> failure_;
  std::thread thread_;
};

}  // namespace slora::device
