// A team that starts a parallel loop in about a microsecond: idle threads spin briefly, then sleep.
#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <new>
#include <thread>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "slora/core/check.hpp"
#include "slora/device/host_device.hpp"

namespace slora::device {
namespace {

// About 100 us of waiting: longer than the gap between two kernels of a step, shorter than a time
// slice. Spinning beyond that would take a core from the caller, who schedules on the same machine.
constexpr int kSpinRounds = 4000;

inline void relax() {
#if defined(__x86_64__)
  _mm_pause();
#endif
}

void* aligned_bytes(int64_t bytes) {
  void* memory = std::aligned_alloc(64, static_cast<size_t>(bytes));
  if (!memory) throw std::bad_alloc();
  return memory;
}

}  // namespace

struct ThreadTeam::State {
  // A loop is published by bumping `generation` after its fields are written; a worker that sees
  // the new value reads them. `remaining` counts workers that have not yet left the loop, so the
  // fields stay untouched until all have.
  std::atomic<uint64_t> generation{0};
  std::atomic<int32_t> next_task{0};
  std::atomic<int32_t> remaining{0};
  std::atomic<bool> stop{false};
  Task task = nullptr;
  void* context = nullptr;
  int32_t num_tasks = 0;

  std::mutex mutex;  // only for sleeping
  std::condition_variable wake;
  std::atomic<int32_t> sleepers{0};

  std::vector<std::thread> threads;
  std::vector<void*> scratch;
};

ThreadTeam::ThreadTeam(int32_t num_threads) : num_threads_(num_threads), state_(new State) {
  SLORA_CHECK(num_threads >= 1);
  for (int32_t i = 0; i < num_threads; ++i) state_->scratch.push_back(aligned_bytes(kScratchBytes));
  for (int32_t i = 1; i < num_threads; ++i) state_->threads.emplace_back([this, i] { worker(i); });
}

ThreadTeam::~ThreadTeam() {
  {
    const std::lock_guard<std::mutex> lock(state_->mutex);
    state_->stop.store(true, std::memory_order_seq_cst);
  }
  state_->wake.notify_all();
  for (std::thread& thread : state_->threads) thread.join();
  for (void* memory : state_->scratch) std::free(memory);
  delete state_;
}

void* ThreadTeam::scratch(int32_t thread_idx) const {
  return state_->scratch[static_cast<size_t>(thread_idx)];
}

void ThreadTeam::work(int32_t thread_idx) {
  for (;;) {
    const int32_t task_idx = state_->next_task.fetch_add(1, std::memory_order_relaxed);
    if (task_idx >= state_->num_tasks) return;
    state_->task(state_->context, task_idx, thread_idx);
  }
}

void ThreadTeam::run(int32_t num_tasks, Task task, void* context) {
  if (num_tasks <= 0) return;
  if (num_threads_ == 1 || num_tasks == 1) {
    for (int32_t i = 0; i < num_tasks; ++i) task(context, i, 0);
    return;
  }
  State& state = *state_;
  state.task = task;
  state.context = context;
  state.num_tasks = num_tasks;
  state.next_task.store(0, std::memory_order_relaxed);
  state.remaining.store(num_threads_ - 1, std::memory_order_relaxed);
  // seq_cst here and in worker(): either the worker sees the new generation before it sleeps, or we
  // see it asleep.
  state.generation.fetch_add(1, std::memory_order_seq_cst);
  if (state.sleepers.load(std::memory_order_seq_cst) > 0) {
    const std::lock_guard<std::mutex> lock(state.mutex);
    state.wake.notify_all();
  }
  work(0);
  // Workers leave within one task of us; yield if one was descheduled so that it can have this
  // core.
  for (int round = 0; state.remaining.load(std::memory_order_acquire) != 0; ++round) {
    if (round < kSpinRounds) {
      relax();
    } else {
      std::this_thread::yield();
    }
  }
}

void ThreadTeam::worker(int32_t thread_idx) {
  State& state = *state_;
  uint64_t seen = 0;
  for (;;) {
    for (int round = 0;
         round < kSpinRounds && state.generation.load(std::memory_order_acquire) == seen; ++round) {
      if (state.stop.load(std::memory_order_relaxed)) return;
      relax();
    }
    if (state.generation.load(std::memory_order_acquire) == seen) {
      std::unique_lock<std::mutex> lock(state.mutex);
      state.sleepers.fetch_add(1, std::memory_order_seq_cst);
      state.wake.wait(lock, [&] {
        return state.generation.load(std::memory_order_seq_cst) != seen ||
               state.stop.load(std::memory_order_seq_cst);
      });
      state.sleepers.fetch_sub(1, std::memory_order_seq_cst);
    }
    if (state.stop.load(std::memory_order_relaxed)) return;
    ++seen;
    work(thread_idx);
    state.remaining.fetch_sub(1, std::memory_order_release);
  }
}

}  // namespace slora::device
