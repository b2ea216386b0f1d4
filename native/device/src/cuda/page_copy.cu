// Scattered pages in one launch. The kernel reads pinned host memory through its own address: the
// link is kept full by loads in flight, not by the copy engine, so a page costs its bytes and no
// start of its own.
#include <cstdio>

#include "src/cuda/cuda_context.hpp"

namespace slora::device::cuda {
namespace {

// 16 blocks of 256 threads with four loads of 16 bytes each have 256 KiB in flight: more than a
// link of 64 GB/s passes in the 2 us that one of its reads takes, on a ninth of the chip.
constexpr int kBlocks = 16;
constexpr int kThreads = 256;
constexpr int kUnroll = 4;

// Semantics  as PageCopy, in pieces of T.
// Cost       num_layers * num_pages * page_bytes once over the link.
template <typename T>
__global__ void __launch_bounds__(kThreads) copy_pages_kernel(PageCopy copy) {
  const int64_t page_pieces = copy.page_bytes / static_cast<int64_t>(sizeof(T));
  const int64_t total = page_pieces * copy.num_pages * copy.num_layers;
  const int64_t stride = int64_t{kBlocks} * kThreads;
  for (int64_t first = int64_t{blockIdx.x} * kThreads + threadIdx.x; first < total;
       first += stride * kUnroll) {
    T pieces[kUnroll];
    T* targets[kUnroll];
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      const int64_t i = first + u * stride;
      targets[u] = nullptr;
      if (i >= total) continue;
      const int64_t page = i / page_pieces, at = i % page_pieces * int64_t{sizeof(T)};
      const int64_t layer = page / copy.num_pages;
      const int32_t which = static_cast<int32_t>(page % copy.num_pages);
      targets[u] = reinterpret_cast<T*>(copy.slice + layer * copy.slice_bytes +
                                        copy.targets[which] * copy.page_bytes + at);
      pieces[u] = __ldcs(reinterpret_cast<const T*>(copy.source + layer * copy.layer_bytes +
                                                    copy.sources[which] * copy.page_bytes + at));
    }
#pragma unroll
    for (int u = 0; u < kUnroll; ++u)
      if (targets[u]) *targets[u] = pieces[u];
  }
}

}  // namespace

int32_t copy_pages(void* stream, const PageCopy* copy, ApiError* error) {
  if (copy->num_pages == 0 || copy->num_layers == 0) return 0;
  cudaError_t result = cudaSetDevice(device_of(stream).device_idx);
  if (result == cudaSuccess) {
    // Slices and images begin at multiples of a page.
    const uintptr_t odd =
        reinterpret_cast<uintptr_t>(copy->slice) | reinterpret_cast<uintptr_t>(copy->source) |
        static_cast<uintptr_t>(copy->slice_bytes | copy->layer_bytes | copy->page_bytes);
    if (odd % sizeof(uint4) == 0) {
      copy_pages_kernel<uint4><<<kBlocks, kThreads, 0, raw(stream)>>>(*copy);
    } else if (odd % sizeof(uint32_t) == 0) {
      copy_pages_kernel<uint32_t><<<kBlocks, kThreads, 0, raw(stream)>>>(*copy);
    } else {
      copy_pages_kernel<unsigned char><<<kBlocks, kThreads, 0, raw(stream)>>>(*copy);
    }
    result = cudaGetLastError();
  }
  if (result == cudaSuccess) return 0;
  if (error)
    std::snprintf(error->message, sizeof error->message, "copy_pages: %s",
                  cudaGetErrorString(result));
  return status_of(result);
}

}  // namespace slora::device::cuda
