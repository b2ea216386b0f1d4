// Hands messages to the link and device memory to the board; a failure of one breaks the other.
#include "shared_memory_group.hpp"

namespace slora::comm {
namespace {

// What commands still queued hold after the group has gone.
struct Ownership {
  std::shared_ptr<Breakage> breakage;
  std::shared_ptr<void> memory;
};

}  // namespace

SharedMemoryGroup::SharedMemoryGroup(std::unique_ptr<HostLink> link, RankBoard board,
                                     std::shared_ptr<void> memory)
    : link_(std::move(link)),
      collectives_(board, link_->tp_rank(), link_->time_limit_ms(), *link_->breakage(),
                   std::make_shared<Ownership>(Ownership{link_->breakage(), memory})) {
  link_->breakage()->on_set([board, memory] { BoardMeeting::wake_all(board); });
}

}  // namespace slora::comm
