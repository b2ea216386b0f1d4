// A waiting rank spins for about as long as two kernels lie apart, then sleeps on a futex of the
// rank it waits for, in slices: each slice it looks whether the group is broken and whether time is
// up.
#include "rank_board.hpp"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace slora::comm {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kSpinRounds = 2000;
constexpr long kSliceNs = 10'000'000;

// Not the private kind: the ranks may be processes.
void futex_wait(std::atomic<uint32_t>& word, uint32_t seen) {
  const timespec slice{0, kSliceNs};
  syscall(SYS_futex, reinterpret_cast<uint32_t*>(&word), FUTEX_WAIT, seen, &slice, nullptr, 0);
}

void futex_wake(std::atomic<uint32_t>& word) {
  syscall(SYS_futex, reinterpret_cast<uint32_t*>(&word), FUTEX_WAKE, INT32_MAX, nullptr, nullptr,
          0);
}

bool has_come(const RankLine& line, uint32_t meeting) {
  return static_cast<int32_t>(line.arrived.load(std::memory_order_acquire) - meeting) >= 0;
}

int spin_rounds(int32_t size) {
  // With fewer cores than ranks, spinning keeps the awaited rank from running.
  static const unsigned cores = std::thread::hardware_concurrency();
  return static_cast<unsigned>(size) <= cores ? kSpinRounds : 0;
}

}  // namespace

void BoardMeeting::meet(uint64_t operation, const std::function<std::string()>& describe) {
  breakage_.check();
  const uint32_t meeting = ++meetings_;
  RankLine& own = board_.line(tp_rank_);
  own.operation[meeting & 1].store(operation, std::memory_order_relaxed);
  // seq_cst here and in await(): either the sleeper sees the new count or we see the sleeper.
  own.arrived.store(meeting, std::memory_order_seq_cst);
  if (own.sleepers.load(std::memory_order_seq_cst) != 0) futex_wake(own.arrived);
  for (int32_t rank = 0; rank < board_.size; ++rank) {
    if (rank != tp_rank_) await(rank, meeting, describe);
  }
  for (int32_t rank = 0; rank < board_.size; ++rank) {
    if (board_.line(rank).operation[meeting & 1].load(std::memory_order_relaxed) == operation)
      continue;
    breakage_.set(core::str_cat("rank ", rank, " of ", board_.size, " came for another operation",
                                " than rank ", tp_rank_, ", which came for ", describe()),
                  core::Status::kInternal);
  }
  breakage_.check();
}

void BoardMeeting::await(int32_t rank, uint32_t meeting,
                         const std::function<std::string()>& describe) {
  RankLine& line = board_.line(rank);
  for (int round = spin_rounds(board_.size); round > 0 && !has_come(line, meeting); --round) {
#if defined(__x86_64__)
    _mm_pause();
#endif
  }
  if (has_come(line, meeting)) return;
  const auto deadline = Clock::now() + std::chrono::milliseconds(time_limit_ms_);
  while (!has_come(line, meeting)) {
    breakage_.check();
    if (line.has_left.load(std::memory_order_acquire) != 0 && !has_come(line, meeting)) {
      breakage_.set(
          core::str_cat("rank ", rank, " of ", board_.size, " left the group before ", describe()));
    } else if (Clock::now() >= deadline) {
      breakage_.set(core::str_cat("rank ", rank, " of ", board_.size, " did not come to ",
                                  describe(), " within the time limit of ", time_limit_ms_, " ms"));
    } else {
      line.sleepers.fetch_add(1, std::memory_order_seq_cst);
      const uint32_t seen = line.arrived.load(std::memory_order_seq_cst);
      if (static_cast<int32_t>(seen - meeting) < 0) futex_wait(line.arrived, seen);
      line.sleepers.fetch_sub(1, std::memory_order_seq_cst);
    }
  }
}

void BoardMeeting::leave() noexcept {
  // Why a broken group has no more meetings is told by the breakage, which may still be on its way.
  if (breakage_.is_set()) return;
  board_.line(tp_rank_).has_left.store(1, std::memory_order_release);
  futex_wake(board_.line(tp_rank_).arrived);
}

void BoardMeeting::wake_all(const RankBoard& board) noexcept {
  for (int32_t rank = 0; rank < board.size; ++rank) futex_wake(board.line(rank).arrived);
}

}  // namespace slora::comm
