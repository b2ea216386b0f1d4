// Matmuls with adapters' updates, against the reference's product and update.
#include "cuda_lora_test.hpp"

namespace slora::kernels {
namespace {

class CudaUpdatedGemm : public CudaLoraTest {
 protected:
  void SetUp() override {
    CudaLoraTest::SetUp();
    if (!IsSkipped() && !kernels().takes_updates) GTEST_SKIP() << "not of this backend";
    if (!IsSkipped())
      workspace_ = device_bytes(kernels().gemm_workspace_bytes(DType::kF32, 64, 8192));
  }

  void check(DType dtype, int64_t k, const std::vector<int64_t>& dims, const Ranks& ranks,
             const std::vector<Segment>& segments, bool has_bias = false, bool with_pieces = false,
             Bounds bounds = {}) {
    const int64_t longest = std::max(k, *std::max_element(dims.begin(), dims.end()));
    const Adapters adapters =
        make({k, dims, longest + 40}, first_of(ranks, static_cast<int32_t>(dims.size())), dtype);
    Tables tables = tables_of(adapters, segments, 1, bounds);
    if (with_pieces) add_pieces(adapters, tables, false);
    const int64_t m = tables.bounds.num_tokens, n = adapters.width;
    SCOPED_TRACE(std::string(name(dtype)) + " m " + std::to_string(m) + " k " + std::to_string(k) +
                 " n " + std::to_string(n));
    const std::vector<float> x = normals(m * k, 1.0f, dtype);
    const std::vector<float> w = normals(n * k, 0.05f, dtype);
    const std::vector<float> bias = normals(n, 2.0f);
    Run run = prepare(adapters, tables, std::max<int64_t>(tables.t_floats, 1),
                      std::max(static_cast<int32_t>(tables.entries.size()), 1),
                      static_cast<int32_t>(tables.shrink_pieces.size()));
    write(run, adapters, tables, x, std::vector<float>(static_cast<size_t>(m * n), 5.0f));
    if (can_find(adapters, run)) find_rows(run, adapters);
    const device::Buffer device_w = upload_as(w, dtype);
    const device::Buffer device_bias = upload(bias);
    GemmParams params{};
    params.x = run.x.data();
    params.x_stride = k;
    params.w = device_w.data();
    params.weight_dtype = params.activation_dtype = params.y_dtype = dtype;
    params.m = m;
    params.n = params.y_stride = n;
    params.k = k;
    params.bias = has_bias ? device_bias.as<float>() : nullptr;
    params.y = run.y.data();
    params.workspace = workspace_.data();
    params.update = &run.expand;
    const auto launch_both = [&] {
      ASSERT_EQ(kernels().lora_shrink(stream(), &run.shrink), 0);
      ASSERT_EQ(kernels().gemm(stream(), &params), 0);
    };
    launch_both();
    const std::vector<float> out = download(run.y, dtype);
    launch_both();
    EXPECT_EQ(std::memcmp(out.data(), download(run.y, dtype).data(), out.size() * 4), 0)
        << "two runs differ";
    std::vector<float> base(static_cast<size_t>(m * n));
    for (int64_t i = 0; i < m; ++i) {
      for (int64_t j = 0; j < n; ++j) {
        double sum = has_bias ? bias[static_cast<size_t>(j)] : 0.0;
        for (int64_t e = 0; e < k; ++e)
          sum += static_cast<double>(x[static_cast<size_t>(i * k + e)]) *
                 w[static_cast<size_t>(j * k + e)];
        base[static_cast<size_t>(i * n + j)] = static_cast<float>(sum);
      }
    }
    EXPECT_LT(relative_error(out, expected_all(adapters, tables, x, base)), tolerance(dtype));
  }

  // Rows past the batch's own, which a graph's bounds allow, are the product alone.
  std::vector<double> expected_all(const Adapters& adapters, const Tables& tables,
                                   const std::vector<float>& x, const std::vector<float>& y) {
    std::vector<double> all(y.begin(), y.end());
    const std::vector<double> own = expected(adapters, tables, x, y);
    std::copy(own.begin(), own.end(), all.begin());
    return all;
  }

  device::Buffer workspace_;
};

// `count` rows: one an adapter, several of one, two entries, an adapter without ranks, gaps.
std::vector<Segment> rows_of(int32_t count) {
  std::vector<Segment> segments;
  for (int32_t i = 0, row = 0; row + 1 < count; ++i) {
    const int32_t gap = i % 5 == 3;
    const int32_t rows = std::min(i % 4 == 2 ? 3 : 1, count - row - gap - 1);
    if (rows <= 0) break;
    std::vector<std::pair<int32_t, float>> entries = {
        {i % 6, 1.0f - 0.25f * static_cast<float>(i % 3)}};
    if (i % 3 == 1) entries.push_back({(i + 2) % 6, -0.5f});
    segments.push_back({gap, rows, entries});
    row += gap + rows;
  }
  return segments;
}

// Ranks of up to 16 and up to 64, which matmuls take along; kMixed has more.
const Ranks kLow = {{8, 8, 8}, {16, 3, 1}, {1, 16, 8}, {8, 8, 8}, {0, 0, 0}, {4, 4, 4}};
const Ranks kMiddle = {{1, 3, 8}, {16, 0, 13}, {64, 64, 64}, {33, 40, 5}, {0, 0, 0}, {8, 8, 8}};

TEST_F(CudaUpdatedGemm, FewRows) {
  for (const DType dtype : {DType::kBF16, DType::kF16}) {
    check(dtype, 264, {72, 24, 24}, kMiddle, rows_of(8));
    check(dtype, 520, {136}, kLow, rows_of(5), true);
  }
}

TEST_F(CudaUpdatedGemm, RowsOfManyAdapters) {
  for (const DType dtype : kAllDTypes) {
    for (const int32_t m : {2, 5, 8, 9, 32, 40}) {
      for (const Ranks& ranks : {kLow, kMiddle, kMixed}) {
        check(dtype, 264, {72, 24, 24}, ranks, rows_of(m));
        check(dtype, 520, {1072}, ranks, rows_of(m), true);
        check(dtype, 1032, {1024, 256, 256}, ranks, rows_of(m));
      }
    }
  }
}

// Ranges of a block as long as a model's, sums as long.
TEST_F(CudaUpdatedGemm, LongRanges) {
  for (const int32_t m : {4, 8, 16}) {
    check(DType::kBF16, 1024, {4096, 4096, 4096}, kMiddle, rows_of(m));
    check(DType::kBF16, 264, {11008, 11008}, kMiddle, rows_of(m));
    check(DType::kF16, 264, {24000}, kLow, rows_of(m));
    check(DType::kF16, 5120, {264}, kMiddle, rows_of(m));
    check(DType::kF16, 6000, {264}, kMiddle, rows_of(m), true);
  }
}

// Bounds of a graph, pieces, one prompt, several.
TEST_F(CudaUpdatedGemm, BatchesOfEveryShape) {
  const std::vector<Segment> prompt = {{0, 20, {{2, 1.0f}}}, {3, 1, {{0, 1.0f}}}};
  const std::vector<Segment> prompts = {{0, 11, {{3, 1.0f}}}, {0, 17, {{1, 1.0f}, {5, 2.0f}}}};
  const std::vector<Segment> one = {{0, 1, {{2, 1.0f}}}};
  const std::vector<Segment> short_prompt = {{0, 5, {{2, 1.0f}}}, {0, 2, {{3, 1.0f}, {5, 2.0f}}}};
  const std::vector<int64_t> dims = {1536, 128, 128};
  for (const DType dtype : {DType::kBF16, DType::kF16}) {
    for (const bool with_pieces : {false, true}) {
      for (const std::vector<Segment>& segments : {prompt, prompts, one, rows_of(31)}) {
        check(dtype, 776, dims, kMiddle, segments, false, with_pieces);
        check(dtype, 776, dims, kMiddle, segments, false, with_pieces, {32, 32, 32, 64});
      }
      check(dtype, 776, dims, kMiddle, short_prompt, true, with_pieces);
      check(dtype, 776, dims, kMiddle, rows_of(7), true, with_pieces, {8, 8, 8, 64});
      check(dtype, 776, dims, kLow, rows_of(7), true, with_pieces, {8, 8, 8, 16});
    }
  }
}

}  // namespace
}  // namespace slora::kernels
