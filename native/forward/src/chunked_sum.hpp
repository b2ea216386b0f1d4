// The sum of a layer's output over the ranks, in chunks of rows on a stream of its own: while the
// first rows are normed and multiplied, the sums of the later ones are on their way. Owns that
// stream and the events that order it against the compute stream; what is summed and what reads it
// are the pass's.
#pragma once

#include <memory>
#include <vector>

#include "slora/comm/group.hpp"
#include "slora/device/device.hpp"
#include "slora/forward/row_chunks.hpp"

namespace slora::forward {

class ChunkedSum {
 public:
  // The group outlives the sum.
  ChunkedSum(const std::shared_ptr<device::Device>& device, comm::Group& group);

  // Behind what `compute` holds, each chunk of x [rows of the chunks, row_elems] becomes its sum
  // over the group. A collective may be enqueued on `compute` again once every chunk is awaited:
  // then the two streams' collectives cannot meet on any rank.
  void enqueue(device::Stream& compute, const RowChunks& chunks, void* x, int64_t row_elems,
               core::DType dtype);
  // What is enqueued on `compute` from here on finds the chunk summed.
  void await(device::Stream& compute, int32_t chunk_idx);

 private:
  comm::Group& group_;
  device::Event written_;                               // x, by `compute`
  std::vector<std::unique_ptr<device::Event>> summed_;  // [RowChunks::kMaxChunks]
  device::Stream stream_;  // declared last: it ends before the events that its commands name
};

}  // namespace slora::forward
