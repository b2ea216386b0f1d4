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

namespace slora::comm {

class Group {
 public:
  virtual ~Group() = default;

  virtual int32_t tp_rank() const = 0;
  virtual int32_t size() const = 0;

  // ---- on the device: enqueued on the rank's own `stream` (device::Stream::handle()), recordable
  // into a graph where the backend has graphs. A failure surfaces where the stream is waited for
  // and in check().

  // data[i] = sum over the ranks of data[i], in place; in the order of ranks on the host, so that
  // the same inputs give the same bits. fp32, bf16 or fp16 (summed in fp32, rounded once).
  virtual void all_reduce(void* stream, void* data, int64_t count, core::DType dtype) = 0;
  // recv[i * bytes ..] = send of rank i, for all ranks; `send` may be this rank's place in `recv`.
  virtual void all_gather(void* stream, const void* send, void* recv, uint64_t bytes) = 0;
  // data = data of rank `root`.
  virtual void broadcast(void* stream, void* data, uint64_t bytes, int32_t root) = 0;

  // ---- between the hosts: blocking, at most for the time limit

  virtual void barrier() = 0;
  // The root's message, on every rank.
  virtual void broadcast_message(std::vector<uint8_t>& message, int32_t root) = 0;
  // Every rank's message in the order of ranks, on every rank.
  virtual std::vector<std::vector<uint8_t>> all_gather_messages(
      std::span<const uint8_t> message) = 0;

  // ---- failure

  // Tells every rank that this one cannot go on. Never throws; any thread.
  virtual void abort(const std::string& reason) noexcept = 0;
  // Throws kRankLost naming the rank if the group is broken; costs no round trip. Any thread.
  virtual void check() = 0;
};

}  // namespace slora::comm
