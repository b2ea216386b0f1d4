// Captured launches of LoRA over other batches than their own.
#include "cuda_lora_test.hpp"

namespace slora::kernels {
namespace {

// A captured launch is run again over batches of other segments, lists and ranks.
TEST_F(CudaLoraTest, GraphServesEveryBatchWithinItsBounds) {
  if (!backend_.device->api().graph_begin) GTEST_SKIP() << "no graphs";
  for (const auto& [dtype, has_pieces] : {std::pair{DType::kF32, false},
                                          {DType::kBF16, false},
                                          {DType::kF16, false},
                                          {DType::kBF16, true}}) {
    const Adapters adapters = make({512, {256, 256, 128}, 4096}, kMixed, dtype);
    for (const int32_t tokens : {16, 48}) {
      const Bounds bounds{tokens, tokens, tokens, 128};
      const std::vector<std::vector<Segment>> batches = {
          random_segments(tokens / 3, 1, 6),
          {{0, tokens, {{2, 1.0f}}}},
          {},
          {{2, 3, {{3, 1.0f}, {1, 1.0f}}}, {0, tokens - 5, {{0, 1.0f}}}}};
      const int64_t t_floats = int64_t{tokens} * 3 * 128 * 2;
      const Run run = prepare(adapters, tables_of(adapters, {}, tokens, bounds), t_floats, 64,
                              has_pieces ? 64 * 8 : 0);
      void* graph = nullptr;
      device::ApiError error{};
      const device::DeviceApi& api = backend_.device->api();
      ASSERT_EQ(api.graph_begin(stream(), &error), 0) << error.message;
      launch(run);
      ASSERT_EQ(api.graph_end(stream(), &graph, &error), 0) << error.message;
      for (const std::vector<Segment>& segments : batches) {
        int32_t used = 0;
        for (const Segment& segment : segments) used += segment.gap + segment.rows;
        Tables tables = tables_of(adapters, segments, tokens - used, bounds);
        if (has_pieces) add_pieces(adapters, tables, false);
        const std::vector<float> x = normals(tokens * int64_t{512}, 1.0f, dtype);
        const std::vector<float> y = normals(tokens * adapters.width, 0.3f, dtype);
        write(run, adapters, tables, x, y);
        ASSERT_EQ(api.graph_launch(graph, stream(), &error), 0) << error.message;
        EXPECT_LT(relative_error(result(run, adapters, tables), expected(adapters, tables, x, y)),
                  tolerance(dtype))
            << name(dtype) << " tokens " << tokens << " segments " << segments.size();
      }
      api.graph_destroy(graph);
    }
  }
}

}  // namespace
}  // namespace slora::kernels
