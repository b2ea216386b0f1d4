// The host backend as kernels see it: a stream is a thread with a queue of commands, and a command
// runs on a small fixed team of threads. So the host has the same asynchrony as a GPU: enqueue
// returns at once, the stream runs later.
#pragma once

#include <cstdint>
#include <type_traits>

#include "slora/device/device_api.hpp"

namespace slora::device {

// A fixed team of compute threads. One command at a time uses it (the compute streams of a device
// share it by a lock).
class ThreadTeam {
 public:
  using Task = void (*)(void* context, int32_t task_idx, int32_t thread_idx);

  explicit ThreadTeam(int32_t num_threads);
  ~ThreadTeam();
  ThreadTeam(const ThreadTeam&) = delete;
  ThreadTeam& operator=(const ThreadTeam&) = delete;

  int32_t num_threads() const { return num_threads_; }

  // Runs task(context, i, thread) for i in [0, num_tasks), each once, on threads [0, num_threads);
  // returns when all have run. Which thread runs which task is not fixed, so results must not
  // depend on it. The caller is thread 0.
  void run(int32_t num_tasks, Task task, void* context);

  // The same for any callable taking (int32_t task_idx, int32_t thread_idx); no allocation.
  template <typename Body>
  void parallel_for(int32_t num_tasks, Body&& body) {
    using BodyType = std::remove_reference_t<Body>;
    run(
        num_tasks,
        [](void* context, int32_t task_idx, int32_t thread_idx) {
          (*static_cast<BodyType*>(context))(task_idx, thread_idx);
        },
        const_cast<void*>(static_cast<const void*>(&body)));
  }

  // kScratchBytes of 64-byte aligned memory that belongs to a thread while it runs a task.
  static constexpr int64_t kScratchBytes = 1 << 20;
  void* scratch(int32_t thread_idx) const;

 private:
  struct State;
  void worker(int32_t thread_idx);
  void work(int32_t thread_idx);

  int32_t num_threads_;
  State* state_;
};

// What a command does when its turn comes. `params` points to the copy that the queue keeps. It may
// throw core::Error: the stream keeps the first one, and whoever waits for the stream or for an
// event recorded on it afterwards gets it. Commands behind it still run.
using HostCommand = void (*)(const void* params, ThreadTeam& team);

inline constexpr uint32_t kHostCommandParamsBytes = 384;

// Lets go of what the params own, once the command will not run again.
using HostRelease = void (*)(void* params);

// Copies `bytes` (<= kHostCommandParamsBytes) of params into the stream's queue; waits only if the
// queue is full. A stream that is being recorded keeps the command for the graph, whose launches
// run it as often as they like.
void enqueue_host_command(void* stream, HostCommand command, const void* params, uint32_t bytes,
                          HostRelease release = nullptr);

// The same for a plain function of typed params.
template <auto kRun, typename Params>
void enqueue_host(void* stream, const Params& params) {
  static_assert(sizeof(Params) <= kHostCommandParamsBytes && std::is_trivially_copyable_v<Params>);
  enqueue_host_command(
      stream,
      [](const void* copy, ThreadTeam& team) { kRun(*static_cast<const Params*>(copy), team); },
      &params, sizeof params);
}

const DeviceApi* host_device_api();

}  // namespace slora::device
