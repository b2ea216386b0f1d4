// LoRA of short segments in pieces, beside longer segments, against the references.
#include "cuda_lora_test.hpp"

namespace slora::kernels {
namespace {

// Segments of few rows in pieces, beside longer ones.
TEST_F(CudaLoraTest, PiecesEqualReference) {
  for (const DType dtype : {DType::kBF16, DType::kF16}) {
    for (const int64_t in_dim : {264, 1544, 4096}) {
      const Adapters adapters = make({in_dim, {640, 72, 1536}, 16384}, kMixed, dtype);
      check(adapters, random_segments(50, 1, 6), 1, {}, true, true);
      check(adapters, random_segments(150, kPieceTokens, 6), 2, {}, true, true);
      check(adapters, random_segments(90, 2 * kPieceTokens, 6), 0, {}, true, false);
      std::vector<Segment> lists = random_segments(120, kPieceTokens, 6);
      for (size_t g = 0; g < lists.size(); g += 3)
        lists[g].entries.push_back({between(0, 5), -0.5f});
      lists.insert(lists.begin(), {{0, 270, {{2, 1.0f}}}, {0, 7, {{3, 1.0f}, {1, 0.5f}}}});
      check(adapters, lists, 3, {}, true, true);
    }
    // A row or two a page.
    const Adapters small = make({328, {64, 64, 128}, 408}, kMixed, dtype);
    check(small, random_segments(400, 2, 6), 0, {}, true, true);
  }
}

// So many that each block takes several in turn.
TEST_F(CudaLoraTest, ManyPiecesEqualReference) {
  for (const DType dtype : {DType::kBF16, DType::kF16}) {
    const Adapters adapters = make({264, {640, 72, 1536}, 16384}, kMixed, dtype);
    check(adapters, random_segments(400, kPieceTokens, 6), 2, {}, true, true);
    check(adapters, random_segments(900, 1, 6), 0, {}, true, false);
    std::vector<Segment> lists = random_segments(500, 3, 6);
    for (size_t g = 0; g < lists.size(); g += 5) lists[g].entries.push_back({between(0, 5), -0.5f});
    lists.insert(lists.begin(), {{0, 70, {{2, 1.0f}}}, {0, 17, {{3, 1.0f}, {1, 0.5f}}}});
    check(adapters, lists, 3, {}, true, true);
    // Rows of B over many pages; out dimensions of one and of several blocks.
    check(make({328, {1024, 1024, 1032}, 2064}, kMixed, dtype), random_segments(300, 2, 6), 0, {},
          true, true);
    check(make({328, {4096}, 131072}, kMixed, dtype), random_segments(300, 2, 6), 0, {}, true,
          true);
  }
}

// Small enough for the sanitizers: every number of rows that goes in pieces, every rank's rest,
// lists.
TEST_F(CudaLoraTest, FewPiecesEqualReference) {
  const Adapters adapters = make({264, {136, 72, 320}, 4096}, kMixed, DType::kBF16);
  std::vector<Segment> segments;
  for (int32_t rows = 1; rows <= kPieceTokens; ++rows)
    segments.push_back({rows % 2, rows, {{rows % 6, 1.0f}}});
  segments.push_back({0, 3, {{2, 1.0f}, {5, -0.5f}}});
  check(adapters, segments, 2, {}, true, true);
}

}  // namespace
}  // namespace slora::kernels
