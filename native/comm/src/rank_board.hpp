// The memory that the ranks of one host share, and the meeting in it: a line of counters a rank,
// then two sets of pieces. No lock lies in it, so a rank that dies holds none.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>

#include "slora/comm/breakage.hpp"
#include "slora/comm/group.hpp"

namespace slora::comm {

// One rank's line; only that rank writes `arrived`, `operation` and `has_left`.
struct alignas(64) RankLine {
  std::atomic<uint32_t> arrived;   // meetings this rank has come to; wraps
  std::atomic<uint32_t> sleepers;  // ranks that sleep on `arrived`; one too many costs a wake-up
  std::atomic<uint32_t> has_left;  // no more meetings
  std::atomic<uint64_t> operation[2];  // what it came for, by the parity of the meeting
};
static_assert(std::atomic<uint64_t>::is_always_lock_free);

// Zeroed memory of board_bytes(); alive in every rank for as long as the rank uses it.
struct RankBoard {
  uint8_t* memory = nullptr;
  int32_t size = 0;
  uint64_t piece_bytes = 0;  // a multiple of 64

  static uint64_t bytes_for(int32_t size, uint64_t piece_bytes) {
    return static_cast<uint64_t>(size) * (sizeof(RankLine) + 2 * piece_bytes);
  }
  RankLine& line(int32_t rank) const { return reinterpret_cast<RankLine*>(memory)[rank]; }
  uint8_t* piece(uint32_t set, int32_t rank) const {
    const uint64_t idx = set * static_cast<uint64_t>(size) + static_cast<uint64_t>(rank);
    return memory + static_cast<uint64_t>(size) * sizeof(RankLine) + idx * piece_bytes;
  }
};

// One rank's visits to the board. Used by one thread at a time.
class BoardMeeting {
 public:
  BoardMeeting(RankBoard board, int32_t tp_rank, int32_t time_limit_ms, Breakage& breakage)
      : board_(board), tp_rank_(tp_rank), time_limit_ms_(time_limit_ms), breakage_(breakage) {}

  // Comes to the next meeting and returns when every rank has: what each wrote before coming is
  // then visible. `operation` must be the same number on every rank; `describe` puts it in words.
  // Breaks the group and throws when a rank does not come in time, has left or came for another.
  void meet(uint64_t operation, const std::function<std::string()>& describe);
  void leave() noexcept;
  // Wakes whoever sleeps in meet(), to look at the breakage. Any thread.
  static void wake_all(const RankBoard& board) noexcept;

 private:
  void await(int32_t rank, uint32_t meeting, const std::function<std::string()>& describe);

  RankBoard board_;
  int32_t tp_rank_;
  int32_t time_limit_ms_;
  Breakage& breakage_;
  uint32_t meetings_ = 0;
};

}  // namespace slora::comm
