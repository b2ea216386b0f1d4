// Both directions of order between the streams are events; nothing is waited for on the host.
#include "chunked_sum.hpp"

namespace slora::forward {

ChunkedSum::ChunkedSum(const std::shared_ptr<device::Device>& device, comm::Group& group)
    : group_(group), written_(device), stream_(device, device::StreamKind::kCollective) {
  for (int32_t i = 0; i < RowChunks::kMaxChunks; ++i)
    summed_.push_back(std::make_unique<device::Event>(device));
}

void ChunkedSum::enqueue(device::Stream& compute, const RowChunks& chunks, void* x,
                         int64_t row_elems, core::DType dtype) {
  written_.record(compute);
  // Orders x, and every collective that `compute` holds, before the sums.
  stream_.wait(written_);
  for (int32_t i = 0; i < chunks.count(); ++i) {
    const RowRange rows = chunks[i];
    auto* const data = static_cast<uint8_t*>(x) + rows.begin * row_elems * core::dtype_bytes(dtype);
    group_.all_reduce(stream_.handle(), data, rows.count * row_elems, dtype);
    summed_[static_cast<size_t>(i)]->record(stream_);
  }
}

void ChunkedSum::await(device::Stream& compute, int32_t chunk_idx) {
  compute.wait(*summed_[static_cast<size_t>(chunk_idx)]);
}

}  // namespace slora::forward
