// Makes the ranks of one process: a board and links that they share.
#include "slora/comm/thread_group.hpp"

#include <cstdlib>
#include <cstring>
#include <new>

#include "group_options.hpp"
#include "shared_memory_group.hpp"
#include "thread_link.hpp"

namespace slora::comm {

GroupOptions checked(GroupOptions options, int32_t size) {
  constexpr int32_t kLongestMs = 86'400'000;
  constexpr uint64_t kLargestPiece = 1u << 30;
  if (size < 1 || size > kMaxGroupSize) {
    core::fail(core::Status::kInvalidArgument, "the tensor-parallel size is ", size,
               ", the limit is 1..", kMaxGroupSize);
  }
  if (options.time_limit_ms < 1 || options.time_limit_ms > kLongestMs) {
    core::fail(core::Status::kInvalidArgument, "the time limit of a group is ",
               options.time_limit_ms, " ms, the limit is 1..", kLongestMs);
  }
  if (options.piece_bytes < 1 || options.piece_bytes > kLargestPiece) {
    core::fail(core::Status::kInvalidArgument, "piece_bytes is ", options.piece_bytes,
               ", the limit is 1..", kLargestPiece);
  }
  options.piece_bytes = (options.piece_bytes + 63) / 64 * 64;
  return options;
}

std::vector<std::unique_ptr<Group>> make_thread_groups(int32_t size, GroupOptions options) {
  options = checked(options, size);
  const uint64_t bytes = RankBoard::bytes_for(size, options.piece_bytes);
  const std::shared_ptr<void> memory(std::aligned_alloc(64, bytes), std::free);
  if (!memory) throw std::bad_alloc();
  // The lines alone: a piece is written before it is read.
  std::memset(memory.get(), 0, static_cast<size_t>(size) * sizeof(RankLine));
  const RankBoard board{static_cast<uint8_t*>(memory.get()), size, options.piece_bytes};
  const auto mailroom = std::make_shared<Mailroom>(size, options.time_limit_ms);
  mailroom->breakage->on_set([weak = std::weak_ptr(mailroom)] {
    if (const auto room = weak.lock()) room->changed.notify_all();
  });
  std::vector<std::unique_ptr<Group>> groups;
  for (int32_t rank = 0; rank < size; ++rank) {
    groups.push_back(std::make_unique<SharedMemoryGroup>(
        std::make_unique<ThreadLink>(mailroom, rank), board, memory));
  }
  return groups;
}

}  // namespace slora::comm
