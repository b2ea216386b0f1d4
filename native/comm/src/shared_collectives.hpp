// Collectives of the host backend over a board that the ranks share: what ranks as threads and
// ranks as processes of one host have in common.
#pragma once

#include <memory>

#include "rank_board.hpp"
#include "slora/core/dtype.hpp"

namespace slora::comm {

class SharedCollectives {
 public:
  // `keep_alive` owns the board's memory and the breakage; commands still queued when the group is
  // destroyed hold it too.
  SharedCollectives(RankBoard board, int32_t tp_rank, int32_t time_limit_ms, Breakage& breakage,
                    std::shared_ptr<void> keep_alive);

  void all_reduce(void* stream, void* data, int64_t count, core::DType dtype);
  void all_gather(void* stream, const void* send, void* recv, uint64_t bytes);
  void broadcast(void* stream, void* data, uint64_t bytes, int32_t root);

 private:
  struct State;
  struct Operation;
  void enqueue(void* stream, const Operation& operation);

  std::shared_ptr<State> state_;
};

}  // namespace slora::comm
