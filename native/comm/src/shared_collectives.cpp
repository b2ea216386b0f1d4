// Every operation goes in pieces through the board: write the own piece, meet, read the others'.
// Pieces alternate between two sets, so one meeting a piece is enough: who writes a set again has
// been to the meeting of the other set in between, and there every reader of this one had finished.
#include "shared_collectives.hpp"

#include <algorithm>
#include <cstring>
#include <vector>

#include "slora/core/check.hpp"
#include "slora/device/host_device.hpp"
#include "sum.hpp"

namespace slora::comm {
namespace {

using core::DType;

enum class Kind : int32_t { kAllReduce = 1, kAllGather = 2, kBroadcast = 3 };

// Sums of up to this many numbers are made by every rank for itself; larger ones are shared out,
// which costs a second meeting.
constexpr int64_t kSumAlone = 8192;
// Work for one thread of the team.
constexpr int64_t kTaskElems = 16384;
constexpr uint64_t kTaskBytes = 256 << 10;

void copy(device::ThreadTeam& team, void* to, const void* from, uint64_t bytes) {
  const auto num_tasks = static_cast<int32_t>((bytes + kTaskBytes - 1) / kTaskBytes);
  team.parallel_for(num_tasks, [&](int32_t task, int32_t) {
    const uint64_t begin = static_cast<uint64_t>(task) * kTaskBytes;
    std::memcpy(static_cast<uint8_t*>(to) + begin, static_cast<const uint8_t*>(from) + begin,
                std::min(kTaskBytes, bytes - begin));
  });
}

}  // namespace

struct SharedCollectives::Operation {
  Kind kind;
  DType dtype;
  int32_t root;
  int64_t count;
  uint64_t bytes;  // of one rank
  const void* send;
  void* recv;

  // The same on every rank that asks for the same.
  uint64_t fingerprint() const {
    uint64_t mixed = bytes * 0x9e3779b97f4a7c15u;
    mixed ^= static_cast<uint64_t>(kind) << 56 ^ static_cast<uint64_t>(dtype) << 48;
    return mixed ^ static_cast<uint64_t>(root) << 32;
  }
  std::string words(uint64_t number) const {
    switch (kind) {
      case Kind::kAllReduce:
        return core::str_cat("all_reduce ", number, " (", count, " ", core::dtype_name(dtype), ")");
      case Kind::kAllGather:
        return core::str_cat("all_gather ", number, " (", bytes, " bytes)");
      case Kind::kBroadcast:
        return core::str_cat("broadcast ", number, " (", bytes, " bytes of rank ", root, ")");
    }
    return "?";
  }
};

struct SharedCollectives::State {
  RankBoard board;
  int32_t tp_rank;
  BoardMeeting meeting;
  std::shared_ptr<void> keep_alive;
  uint32_t set = 0;
  uint64_t num_operations = 0;

  // Not before the last queued command has run.
  ~State() { meeting.leave(); }

  void run(const Operation& operation, device::ThreadTeam& team);
  void sum_piece(device::ThreadTeam& team, void* out, int64_t begin, int64_t count, DType dtype);
  void all_reduce(const Operation& operation, device::ThreadTeam& team);
  void all_gather(const Operation& operation, device::ThreadTeam& team);
  void broadcast(const Operation& operation, device::ThreadTeam& team);
  void meet(const Operation& operation) {
    meeting.meet(operation.fingerprint(), [&] { return operation.words(num_operations); });
  }
};

SharedCollectives::SharedCollectives(RankBoard board, int32_t tp_rank, int32_t time_limit_ms,
                                     Breakage& breakage, std::shared_ptr<void> keep_alive)
    : state_(new State{board, tp_rank, BoardMeeting(board, tp_rank, time_limit_ms, breakage),
                       std::move(keep_alive)}) {}

void SharedCollectives::all_reduce(void* stream, void* data, int64_t count, DType dtype) {
  const uint64_t bytes = static_cast<uint64_t>(count * core::dtype_bytes(dtype));
  enqueue(stream, {Kind::kAllReduce, dtype, 0, count, bytes, data, data});
}

void SharedCollectives::all_gather(void* stream, const void* send, void* recv, uint64_t bytes) {
  enqueue(stream, {Kind::kAllGather, DType::kF32, 0, 0, bytes, send, recv});
}

void SharedCollectives::broadcast(void* stream, void* data, uint64_t bytes, int32_t root) {
  SLORA_CHECK(root >= 0 && root < state_->board.size);
  enqueue(stream, {Kind::kBroadcast, DType::kF32, root, 0, bytes, data, data});
}

void SharedCollectives::enqueue(void* stream, const Operation& operation) {
  // The queue copies bytes, so what a command owns hangs on a pointer. A recorded one runs often.
  struct Command {
    std::shared_ptr<State> state;
    Operation operation;
  };
  auto command = std::make_unique<Command>(Command{state_, operation});
  Command* const raw = command.get();
  device::enqueue_host_command(
      stream,
      [](const void* params, device::ThreadTeam& team) {
        const Command& queued = **static_cast<Command* const*>(params);
        queued.state->run(queued.operation, team);
      },
      &raw, sizeof raw, [](void* params) { delete *static_cast<Command**>(params); });
  (void)command.release();
}

void SharedCollectives::State::run(const Operation& operation, device::ThreadTeam& team) {
  ++num_operations;
  if (operation.bytes == 0) return;
  switch (operation.kind) {
    case Kind::kAllReduce:
      return all_reduce(operation, team);
    case Kind::kAllGather:
      return all_gather(operation, team);
    case Kind::kBroadcast:
      return broadcast(operation, team);
  }
}

void SharedCollectives::State::sum_piece(device::ThreadTeam& team, void* out, int64_t begin,
                                         int64_t count, DType dtype) {
  const auto num_tasks = static_cast<int32_t>((count + kTaskElems - 1) / kTaskElems);
  team.parallel_for(num_tasks, [&](int32_t task, int32_t) {
    const int64_t first = task * kTaskElems;
    const void* inputs[kMaxGroupSize];
    for (int32_t rank = 0; rank < board.size; ++rank)
      inputs[rank] = board.piece(set, rank) + (begin + first) * core::dtype_bytes(dtype);
    sum_in_order({inputs, static_cast<size_t>(board.size)},
                 static_cast<uint8_t*>(out) + first * core::dtype_bytes(dtype),
                 std::min(kTaskElems, count - first), dtype);
  });
}

void SharedCollectives::State::all_reduce(const Operation& operation, device::ThreadTeam& team) {
  const int64_t elem_bytes = core::dtype_bytes(operation.dtype);
  const int64_t piece_elems = static_cast<int64_t>(board.piece_bytes) / elem_bytes;
  for (int64_t begin = 0; begin < operation.count; begin += piece_elems, set ^= 1) {
    const int64_t count = std::min(piece_elems, operation.count - begin);
    uint8_t* data = static_cast<uint8_t*>(operation.recv) + begin * elem_bytes;
    copy(team, board.piece(set, tp_rank), data, static_cast<uint64_t>(count * elem_bytes));
    meet(operation);
    if (count <= kSumAlone) {
      sum_piece(team, data, 0, count, operation.dtype);
      continue;
    }
    // Rank r sums the r-th part of all pieces into its own piece: no other rank reads that part of
    // that piece before the second meeting.
    const auto part_begin = [&](int32_t rank) { return count * rank / board.size; };
    const int64_t own = part_begin(tp_rank);
    sum_piece(team, board.piece(set, tp_rank) + own * elem_bytes, own,
              part_begin(tp_rank + 1) - own, operation.dtype);
    meet(operation);
    for (int32_t rank = 0; rank < board.size; ++rank) {
      const int64_t offset = part_begin(rank) * elem_bytes;
      copy(team, data + offset, board.piece(set, rank) + offset,
           static_cast<uint64_t>(part_begin(rank + 1) * elem_bytes - offset));
    }
  }
}

void SharedCollectives::State::all_gather(const Operation& operation, device::ThreadTeam& team) {
  for (uint64_t begin = 0; begin < operation.bytes; begin += board.piece_bytes, set ^= 1) {
    const uint64_t bytes = std::min(board.piece_bytes, operation.bytes - begin);
    const auto* send = static_cast<const uint8_t*>(operation.send) + begin;
    copy(team, board.piece(set, tp_rank), send, bytes);
    meet(operation);
    for (int32_t rank = 0; rank < board.size; ++rank) {
      uint8_t* to = static_cast<uint8_t*>(operation.recv) +
                    static_cast<uint64_t>(rank) * operation.bytes + begin;
      if (to != send) copy(team, to, board.piece(set, rank), bytes);
    }
  }
}

void SharedCollectives::State::broadcast(const Operation& operation, device::ThreadTeam& team) {
  for (uint64_t begin = 0; begin < operation.bytes; begin += board.piece_bytes, set ^= 1) {
    const uint64_t bytes = std::min(board.piece_bytes, operation.bytes - begin);
    uint8_t* data = static_cast<uint8_t*>(operation.recv) + begin;
    if (tp_rank == operation.root) copy(team, board.piece(set, tp_rank), data, bytes);
    meet(operation);
    if (tp_rank != operation.root) copy(team, data, board.piece(set, operation.root), bytes);
  }
}

}  // namespace slora::comm
