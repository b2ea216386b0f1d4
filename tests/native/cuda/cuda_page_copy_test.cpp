// copy_pages of the CUDA backend against a plain loop over host memory: bytes must be the same, and
// what is not named must stay as it was.
#include <algorithm>
#include <numeric>

#include "cuda_test.hpp"

namespace slora::kernels {
namespace {

class CudaPageCopy : public CudaTest {
 protected:
  void check(int64_t page_bytes, int32_t num_layers, int32_t pool_pages, int32_t image_pages,
             int32_t num_copied) {
    SCOPED_TRACE("page " + std::to_string(page_bytes) + " layers " + std::to_string(num_layers) +
                 " pages " + std::to_string(num_copied));
    const int64_t slice_bytes = page_bytes * pool_pages, layer_bytes = page_bytes * image_pages;
    device::Buffer image(backend_.device, device::MemoryKind::kPinned,
                         static_cast<uint64_t>(layer_bytes * num_layers));
    for (uint64_t i = 0; i < image.bytes(); ++i) image.data()[i] = static_cast<uint8_t>(random_());
    std::vector<uint8_t> expected(static_cast<size_t>(slice_bytes * num_layers));
    for (uint8_t& byte : expected) byte = static_cast<uint8_t>(random_());
    const device::Buffer arena = upload(expected);

    device::PageCopy copy{};
    copy.slice = arena.data();
    copy.source = image.data();
    copy.slice_bytes = slice_bytes;
    copy.layer_bytes = layer_bytes;
    copy.page_bytes = page_bytes;
    copy.num_layers = num_layers;
    copy.num_pages = num_copied;
    std::vector<int32_t> targets(static_cast<size_t>(pool_pages));
    std::iota(targets.begin(), targets.end(), 0);
    std::shuffle(targets.begin(), targets.end(), random_);
    for (int32_t i = 0; i < num_copied; ++i) {
      copy.targets[i] = targets[static_cast<size_t>(i)];
      copy.sources[i] = between(0, image_pages - 1);
      for (int32_t layer = 0; layer < num_layers; ++layer) {
        std::memcpy(expected.data() + layer * slice_bytes + copy.targets[i] * page_bytes,
                    image.data() + layer * layer_bytes + copy.sources[i] * page_bytes,
                    static_cast<size_t>(page_bytes));
      }
    }
    stream_->copy(copy);
    stream_->synchronize();
    EXPECT_TRUE(download_bytes(arena) == expected);
  }
};

TEST_F(CudaPageCopy, EqualsAPlainLoop) {
  for (const int64_t page_bytes : {16, 48, 4096, 262144}) {
    check(page_bytes, 1, 40, 3, 1);
    check(page_bytes, 4, 40, 32, 32);
    check(page_bytes, 7, 33, 5, 13);
  }
}

TEST_F(CudaPageCopy, TakesPagesOfAnyLength) {
  for (const int64_t page_bytes : {4, 12, 36, 2, 10, 1, 7}) check(page_bytes, 3, 40, 32, 32);
}

TEST_F(CudaPageCopy, OfNothingDoesNothing) { check(4096, 2, 8, 2, 0); }

}  // namespace
}  // namespace slora::kernels
