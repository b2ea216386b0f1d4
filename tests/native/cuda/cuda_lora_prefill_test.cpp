// LoRA of segments of many rows, alone and beside rows that decode, against the references.
#include "cuda_lora_test.hpp"

namespace slora::kernels {
namespace {

TEST_F(CudaLoraTest, PrefillEqualsReference) {
  for (const DType dtype : kAllDTypes) {
    for (int32_t fused = 1; fused <= kMaxFusedModules; fused += 2) {
      const Adapters adapters =
          make({192, first_of({320, 64, 128}, fused), 4096}, first_of(kMixed, fused), dtype);
      check(adapters, {{3, 1100, {{5, 1.0f}}}}, 1);
      check(adapters, {{0, 1024, {{2, 1.0f}}}}, 0);
      // A chunk of a prompt beside rows that decode.
      std::vector<Segment> mixed = random_segments(30, 1, 6);
      mixed.push_back({0, 700, {{1, 1.0f}}});
      mixed.push_back({9, 333, {{3, 1.0f}, {0, 0.5f}}});
      check(adapters, mixed, 0);
    }
  }
}

// Sums in clusters of eight blocks.
TEST_F(CudaLoraTest, ShortPromptsEqualReference) {
  for (const DType dtype : {DType::kBF16, DType::kF16}) {
    const Adapters adapters = make({1032, {328, 64, 136}, 16384}, kMixed, dtype);
    check(adapters, {{1, 300, {{2, 1.0f}}}}, 1);
    check(adapters, {{0, 150, {{3, 0.5f}, {1, 1.0f}}}, {2, 190, {{2, 1.0f}}}}, 0);
  }
}

TEST_F(CudaLoraTest, PrefillOfManyAdaptersEqualsReference) {
  for (const DType dtype : {DType::kBF16, DType::kF16}) {
    const Adapters adapters = make({4096, {256}, 32768}, {{16}, {64}, {8}, {200}}, dtype);
    check(adapters, random_segments(24, 100, 4), 0);
    const Adapters small = make({136, {72, 8, 264}, 1000}, {{4, 4, 4}, {9, 0, 1}}, dtype);
    check(small, random_segments(24, 120, 2), 5);
  }
}

}  // namespace
}  // namespace slora::kernels
