// LoRA shrink and expand of few rows a segment against their references: dtypes, ranks, weighted
// lists, fused modules, pages shorter than a row.
#include "cuda_lora_test.hpp"

namespace slora::kernels {
namespace {

TEST_F(CudaLoraTest, DecodeEqualsReference) {
  for (const DType dtype : kAllDTypes) {
    for (int32_t fused = 1; fused <= kMaxFusedModules; ++fused) {
      const Adapters adapters =
          make({512, first_of({640, 256, 128}, fused), 8192}, first_of(kMixed, fused), dtype);
      check(adapters, {{0, 1, {{0, 1.0f}}}}, 0);
      check(adapters, {{0, 1, {{2, 1.0f}}}}, 0);
      check(adapters, random_segments(40, 1, 6), 3);
      check(adapters, random_segments(12, 9, 6), 0);
      check(adapters, {{0, 37, {{2, 1.0f}}}}, 2);
      check(adapters, {{5, 128, {{5, 0.5f}}}}, 0);
    }
  }
}

// Sums cut into as many parts as there are for few tokens.
TEST_F(CudaLoraTest, FewTokensOfAWideModelEqualReference) {
  for (const DType dtype : kAllDTypes) {
    const Adapters adapters = make({4104, {640, 264, 128}, 32768}, kMixed, dtype);
    check(adapters, {{0, 1, {{2, 1.0f}}}}, 0);
    check(adapters, {{1, 2, {{0, 1.0f}}}, {0, 9, {{3, 0.5f}}}, {0, 1, {{5, 1.0f}}}}, 1);
    check(adapters, random_segments(8, 6, 6), 0);
  }
}

// So many pieces of work that blocks have several each.
TEST_F(CudaLoraTest, LargeDecodeBatchesEqualReference) {
  for (const DType dtype : {DType::kBF16, DType::kF16}) {
    const Adapters adapters = make({1544, {640, 72, 136}, 16384}, kMixed, dtype);
    check(adapters, random_segments(300, 2, 6), 2);
    check(adapters, {{0, 300, {{2, 1.0f}}}}, 0, {800, 800, 0, 0});
    std::vector<Segment> lists = random_segments(250, 3, 6);
    for (size_t g = 0; g < lists.size(); g += 3) lists[g].entries.push_back({between(0, 5), -0.5f});
    check(adapters, lists, 0);
    const Adapters small = make({1024, {1024}, 16384}, {{8}, {5}, {1}}, dtype);
    check(small, random_segments(900, 1, 3), 0);
    // Runs at places that 16-byte loads cannot reach.
    const Adapters odd = make({328, {65, 64, 128}, 400}, kMixed, dtype);
    check(odd, random_segments(400, 2, 6), 0);
  }
}

TEST_F(CudaLoraTest, EveryRankAlone) {
  for (const DType dtype : kAllDTypes) {
    for (const int32_t rank : {1, 2, 3, 7, 8, 9, 13, 16, 17, 31, 32, 33, 48, 64, 65, 100, 128}) {
      const Adapters adapters = make({256, {256}, 4096}, {{rank}}, dtype);
      check(adapters, {{1, 3, {{0, 1.0f}}}, {0, 1, {{0, 2.0f}}}}, 1);
    }
  }
}

TEST_F(CudaLoraTest, WeightedListsAddUp) {
  for (const DType dtype : kAllDTypes) {
    const Adapters adapters = make({384, {256, 256, 512}, 2048}, kMixed, dtype);
    check(adapters,
          {{1, 2, {{0, 1.0f}, {1, -2.0f}, {3, 0.3f}}},
           {0, 20, {{2, 0.5f}, {4, 1.0f}, {5, 1.0f}}},
           {2, 1, {{4, 1.0f}, {4, 1.0f}, {1, 1.0f}}}},
          1);
  }
}

// Rows of several a page, of odd lengths, longer than a page, at places that 16-byte loads cannot
// reach.
TEST_F(CudaLoraTest, OddShapesEqualReference) {
  const Geometry geometries[] = {{100, {37, 130, 1}, 300},  {129, {600, 33, 65}, 50},
                                 {31, {1100, 8, 16}, 1104}, {304, {513, 48, 64}, 640},
                                 {64, {65, 64, 128}, 400},  {1024, {2048, 64, 64}, 256}};
  for (const DType dtype : kAllDTypes) {
    for (const Geometry& geometry : geometries) {
      const Adapters adapters = make(geometry, kMixed, dtype);
      check(adapters, random_segments(6, 20, 6), 1);
      check(adapters, {{0, 3, {{1, 1.0f}, {3, 0.5f}}}}, 0);
    }
  }
}

TEST_F(CudaLoraTest, RefusesOtherActivations) {
  const Adapters adapters = make({64, {64}, 4096}, {{8}}, DType::kBF16);
  const Tables tables = tables_of(adapters, {{0, 1, {{0, 1.0f}}}}, 0);
  Run run = prepare(adapters, tables, tables.t_floats, 1);
  run.shrink.activation_dtype = run.expand.activation_dtype = DType::kF32;
  EXPECT_NE(kernels().lora_shrink(stream(), &run.shrink), 0);
  EXPECT_NE(kernels().lora_expand(stream(), &run.expand), 0);
}

}  // namespace
}  // namespace slora::kernels
