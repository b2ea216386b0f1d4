// Weights, matmuls, norms, embedding, activation and graphs of the CUDA backend against the plain
// reference.
#include <algorithm>

#include "cuda_test.hpp"
#include "slora/kernels/random.hpp"

namespace slora::kernels {
namespace {

class CudaBase : public CudaTest {
 protected:
  // A packed [n, k] matrix of the given values, sent through weight_pack in two parts.
  device::Buffer packed(const std::vector<float>& values, int64_t n, int64_t k, DType src_dtype,
                        DType dtype) {
    device::Buffer out = device_bytes(kernels().weight_bytes(dtype, n, k));
    const std::vector<uint8_t> source = stored(values, src_dtype);
    const int64_t row_bytes = k * core::dtype_bytes(src_dtype);
    const int64_t cut = n / 3;
    for (const auto& [first, count] : {std::pair{int64_t{0}, cut}, std::pair{cut, n - cut}}) {
      if (count == 0) continue;
      WeightPackParams params{};
      params.dst = out.data();
      params.dst_dtype = dtype;
      params.src_dtype = src_dtype;
      params.n_total = n;
      params.k = k;
      params.row_offset = first;
      params.num_rows = count;
      params.src = source.data() + first * row_bytes;
      params.src_row_stride = k;
      EXPECT_EQ(kernels().weight_pack(stream(), &params), 0);
    }
    stream_->synchronize();
    return out;
  }

  // is_tuned: after the ways of computing it have been measured, over this matrix and another.
  void check_gemm(DType dtype, bool is_fp32_y, int64_t m, int64_t n, int64_t k, bool with_bias,
                  bool is_tuned = false) {
    SCOPED_TRACE(std::string(name(dtype)) + (is_fp32_y ? " fp32 y" : "") + " m " +
                 std::to_string(m) + " n " + std::to_string(n) + " k " + std::to_string(k));
    const DType y_dtype = is_fp32_y ? DType::kF32 : dtype;
    const std::vector<float> x = normals(m * k, 1.0f, dtype);
    const std::vector<float> w = normals(n * k, 0.5f, dtype);
    const std::vector<float> bias = normals(n, 2.0f);
    const device::Buffer device_x = upload_as(x, dtype);
    const device::Buffer device_w = packed(w, n, k, DType::kF32, dtype);
    const device::Buffer device_bias = upload(bias);
    const device::Buffer y = poisoned(m * n, y_dtype);
    const device::Buffer workspace = device_bytes(kernels().gemm_workspace_bytes(dtype, m, k));
    GemmParams params{};
    params.x = device_x.data();
    params.x_stride = k;
    params.w = device_w.data();
    params.weight_dtype = params.activation_dtype = dtype;
    params.m = m;
    params.n = n;
    params.k = k;
    params.bias = with_bias ? device_bias.as<float>() : nullptr;
    params.y = y.data();
    params.y_stride = n;
    params.workspace = workspace.data();
    params.y_dtype = y_dtype;
    if (is_tuned) {
      const device::Buffer other = packed(w, n, k, DType::kF32, dtype);
      const void* const weights[] = {other.data(), device_w.data()};
      const GemmTuneParams tune = {params, weights, 2};
      ASSERT_EQ(kernels().gemm_tune(stream(), &tune), 0);
    }
    ASSERT_EQ(kernels().gemm(stream(), &params), 0);
    const std::vector<double> expected =
        reference::gemm(x.data(), k, w.data(), with_bias ? bias.data() : nullptr, m, n, k, false);
    EXPECT_LT(relative_error(download(y, y_dtype), expected),
              is_fp32_y ? tolerance(DType::kF32) : tolerance(dtype));
  }
};

// Staged pieces are copied or converted without a wait, also several of more than the device's
// staging halves hold, to the same bits as others.
TEST_F(CudaBase, StagedWeightsAreThoseThatWereNot) {
  constexpr int64_t kRows = 1500, kColumns = 6000;  // 36 MB in fp32
  const std::vector<float> values = normals(kRows * kColumns, 0.5f);
  for (const DType src_dtype : kAllDTypes) {
    const std::vector<uint8_t> source = stored(values, src_dtype);
    device::Buffer pinned(backend_.device, device::MemoryKind::kPinned, source.size());
    std::memcpy(pinned.data(), source.data(), source.size());
    for (const DType dtype : kAllDTypes) {
      SCOPED_TRACE(std::string(name(src_dtype)) + " to " + name(dtype));
      const device::Buffer expected = packed(values, kRows, kColumns, src_dtype, dtype);
      const device::Buffer actual = device_bytes(expected.bytes());
      for (int64_t row = 0; row < kRows; row += 700) {
        WeightPackParams params{};
        params.dst = actual.data();
        params.dst_dtype = dtype;
        params.src_dtype = src_dtype;
        params.n_total = kRows;
        params.k = params.src_row_stride = kColumns;
        params.row_offset = row;
        params.num_rows = std::min<int64_t>(700, kRows - row);
        params.src = pinned.data() + row * kColumns * core::dtype_bytes(src_dtype);
        params.src_is_staged = true;
        ASSERT_EQ(kernels().weight_pack(stream(), &params), 0);
      }
      EXPECT_TRUE(download(actual, dtype) == download(expected, dtype));
    }
  }
}

TEST_F(CudaBase, GemmOverShapesDtypesAndPaths) {
  for (const DType dtype : kAllDTypes) {
    for (const int64_t m : {1, 2, 7, 8, 9, 16, 17, 40, 130}) {
      check_gemm(dtype, false, m, 256, 512, m % 2 == 0);
      check_gemm(dtype, true, m, 264, 1408, m % 3 == 0);
      check_gemm(dtype, m % 2 == 1, m, 1072, 1416, m % 3 == 0);
    }
    check_gemm(dtype, false, 3, 33, 65, true);    // nothing aligned
    check_gemm(dtype, false, 20, 33, 65, false);  // the same for many rows
  }
}

// Ranges of one, several and (in passes) more tiles than a block keeps sums of; sums of all
// lengths.
TEST_F(CudaBase, GemmOfTensOfRows) {
  for (const DType dtype : {DType::kBF16, DType::kF16}) {
    for (const int64_t m : {9, 16, 17, 24, 31, 32}) {
      check_gemm(dtype, m % 2 == 0, m, 2064, 520, m % 3 == 0);
      check_gemm(dtype, false, m, 136, 5000, m % 3 != 0);
      check_gemm(dtype, m % 2 == 1, m, 16, 2056, true);
    }
  }
}
TEST_F(CudaBase, GemmOfTensOfRowsInPasses) {
  check_gemm(DType::kBF16, false, 30, 12288, 512, true);
  check_gemm(DType::kBF16, true, 20, 51200, 520, true);
}

// Launches of several shapes in turn, nothing between them: each begins while the one before runs,
// and what one leaves in a barrier or a ring would meet the next.
TEST_F(CudaBase, ManyGemmsInARow) {
  struct Shape {
    int64_t m, n, k;
  };
  const Shape shapes[] = {{9, 1072, 520},   {32, 136, 5000}, {16, 12288, 1024}, {24, 12288, 512},
                          {31, 2064, 4096}, {12, 4096, 512}, {5, 4096, 1024},   {17, 22016, 512}};
  constexpr DType kDType = DType::kBF16;
  struct Product {
    device::Buffer x, w, y, workspace;
    GemmParams params{};
    std::vector<double> expected;
  };
  std::vector<Product> products;
  for (const auto& [m, n, k] : shapes) {
    const std::vector<float> x = normals(m * k, 1.0f, kDType), w = normals(n * k, 0.5f, kDType);
    Product& product = products.emplace_back();
    product.x = upload_as(x, kDType);
    product.w = packed(w, n, k, DType::kF32, kDType);
    product.y = poisoned(m * n, kDType);
    product.workspace = device_bytes(kernels().gemm_workspace_bytes(kDType, m, k));
    GemmParams& params = product.params;
    params.x = product.x.data();
    params.x_stride = params.k = k;
    params.w = product.w.data();
    params.weight_dtype = params.activation_dtype = params.y_dtype = kDType;
    params.m = m;
    params.n = params.y_stride = n;
    params.y = product.y.data();
    params.workspace = product.workspace.data();
    product.expected = reference::gemm(x.data(), k, w.data(), nullptr, m, n, k, false);
  }
  for (size_t i = 0; i < 2000; ++i)
    ASSERT_EQ(kernels().gemm(stream(), &products[i * i % 61 % products.size()].params), 0);
  for (const Product& product : products) {
    ASSERT_EQ(kernels().gemm(stream(), &product.params), 0);
    EXPECT_LT(relative_error(download(product.y, kDType), product.expected), tolerance(kDType))
        << product.params.m << " x " << product.params.n << " x " << product.params.k;
  }
}

// Whichever is fastest here is right, also where nothing is to choose or nothing is aligned.
TEST_F(CudaBase, GemmAfterItsWaysWereMeasured) {
  for (const DType dtype : kAllDTypes) {
    for (const int64_t m : {1, 9, 16, 20, 32, 64, 100, 130}) {
      check_gemm(dtype, false, m, 1072, 1416, m % 2 == 0, true);
      check_gemm(dtype, true, m, 264, 4096, m % 3 == 0, true);
    }
    check_gemm(dtype, false, 20, 33, 65, true, true);
  }
  for (const int64_t m : {24, 32, 192, 320})
    check_gemm(DType::kBF16, false, m, 512, 11008, false, true);
}

// Long sums: a cluster of blocks shares K where one block's registers do not hold x.
TEST_F(CudaBase, GemmOfFewRowsOverLongSums) {
  for (const int64_t k : {2048, 4096, 5120, 11008, 14336, 22016}) {
    for (const int64_t m : {1, 8, 13, 16, 27, 64, 128}) {
      check_gemm(DType::kBF16, false, m, 1008, k, true);
    }
    check_gemm(DType::kF16, true, 5, 1000, k, false);
  }
}

TEST_F(CudaBase, PacksEveryFileDtypeIntoEveryComputeDtype) {
  const int64_t n = 70, k = 300;
  for (const DType src : kAllDTypes) {
    for (const DType dst : kAllDTypes) {
      std::vector<float> values = normals(n * k, 1.0f, src);
      const device::Buffer matrix = packed(values, n, k, src, dst);
      round_to(values, dst);
      EXPECT_EQ(download(matrix, dst), values) << name(src) << " to " << name(dst);
    }
  }
}

TEST_F(CudaBase, PacksRowsLongerThanAStagingPiece) {
  const int64_t n = 3, k = 5'000'000;
  const std::vector<float> values = normals(n * k);
  EXPECT_EQ(download(packed(values, n, k, DType::kF32, DType::kF32), DType::kF32), values);
}

TEST_F(CudaBase, FillsWithTheNumbersOfEveryBackend) {
  const int64_t n = 130, k = 77;
  const device::Buffer matrix = device_bytes(kernels().weight_bytes(DType::kF32, n, k));
  const WeightFillParams params{matrix.data(), DType::kF32, n, k, 12345, 0.02f};
  ASSERT_EQ(kernels().weight_fill(stream(), &params), 0);
  const std::vector<float> values = download(matrix, DType::kF32);
  for (int64_t i = 0; i < n * k; ++i)
    ASSERT_EQ(values[static_cast<size_t>(i)], fill_normal(12345, static_cast<uint64_t>(i), 0.02f));
}

TEST_F(CudaBase, NormAddsRoundsAndPicksRows) {
  for (const auto& [dtype, sums] :
       {std::pair{DType::kF32, DType::kF32}, std::pair{DType::kBF16, DType::kF32},
        std::pair{DType::kF16, DType::kF32}, std::pair{DType::kBF16, DType::kBF16},
        std::pair{DType::kF16, DType::kF16}}) {
    for (const int64_t hidden : {64, 100, 4096, 5120, 16384, 20000}) {
      for (const bool with_delta : {false, true}) {
        SCOPED_TRACE(std::string(name(dtype)) + " into " + name(sums) + " hidden " +
                     std::to_string(hidden));
        const int32_t rows = 5;
        std::vector<float> residual = normals(rows * hidden, 3.0f, sums);
        const std::vector<float> delta = normals(rows * hidden, 1.0f, dtype);
        const std::vector<float> weight = normals(hidden);
        const std::vector<int32_t> picked = {4, 0, 2};
        const device::Buffer device_residual = upload_as(residual, sums);
        const device::Buffer device_delta = upload_as(delta, dtype);
        const device::Buffer device_weight = upload(weight);
        const device::Buffer device_picked = upload(picked);
        const int32_t num_rows = with_delta ? rows : 3;
        const device::Buffer y = poisoned(num_rows * hidden, dtype);
        NormParams params{};
        params.residual = device_residual.data();
        params.delta = with_delta ? device_delta.data() : nullptr;
        params.weight = device_weight.as<float>();
        params.y = y.data();
        params.row_indices = with_delta ? nullptr : device_picked.as<int32_t>();
        params.activation_dtype = dtype;
        params.residual_dtype = sums;
        params.num_rows = num_rows;
        params.hidden_size = hidden;
        params.eps = 1e-5f;
        params.weight_offset = with_delta ? 1.0f : 0.0f;
        ASSERT_EQ(kernels().norm(stream(), &params), 0);
        // The reference adds in double; the residual is stored rounded, and normed as stored.
        if (with_delta) {
          for (size_t i = 0; i < residual.size(); ++i) residual[i] += delta[i];
          round_to(residual, sums);
        }
        NormParams plain = params;
        plain.residual = residual.data();
        plain.delta = nullptr;
        plain.weight = weight.data();
        plain.row_indices = with_delta ? nullptr : picked.data();
        plain.activation_dtype = DType::kF32;
        EXPECT_LT(relative_error(download(y, dtype), reference::norm(plain)), tolerance(dtype));
        EXPECT_EQ(download(device_residual, sums), residual);
      }
    }
  }
}

TEST_F(CudaBase, NormInPlace) {
  const int64_t hidden = 2304;
  const std::vector<float> residual = normals(3 * hidden, 2.0f, DType::kBF16);
  const std::vector<float> weight = normals(hidden);
  const device::Buffer device_residual = upload_as(residual, DType::kBF16);
  const device::Buffer device_weight = upload(weight);
  NormParams params{};
  params.residual = params.y = device_residual.data();
  params.weight = device_weight.as<float>();
  params.activation_dtype = params.residual_dtype = DType::kBF16;
  params.num_rows = 3;
  params.hidden_size = hidden;
  params.eps = 1e-6f;
  ASSERT_EQ(kernels().norm(stream(), &params), 0);
  NormParams plain = params;
  plain.residual = const_cast<float*>(residual.data());
  plain.weight = weight.data();
  plain.activation_dtype = DType::kF32;
  EXPECT_LT(relative_error(download(device_residual, DType::kBF16), reference::norm(plain)),
            tolerance(DType::kBF16));
}

TEST_F(CudaBase, EmbedsTokensOfTheHistory) {
  for (const DType dtype : kAllDTypes) {
    const int64_t vocab = 50, hidden = 72;
    const std::vector<float> weight = normals(vocab * hidden, 1.0f, dtype);
    const device::Buffer device_weight = packed(weight, vocab, hidden, DType::kF32, dtype);
    std::vector<int32_t> history(4 * 10);
    for (int32_t& token : history) token = between(0, static_cast<int32_t>(vocab) - 1);
    const std::vector<int32_t> slot = {0, 3, 3, 2}, position = {9, 0, 1, 5};
    const device::Buffer device_history = upload(history), device_slot = upload(slot),
                         device_position = upload(position);
    const device::Buffer out = poisoned(4 * hidden, DType::kF32);
    EmbedParams params{};
    params.weight = device_weight.data();
    params.weight_dtype = dtype;
    params.vocab_size = vocab;
    params.hidden_size = hidden;
    params.history = device_history.as<int32_t>();
    params.history_stride = 10;
    params.token_slot = device_slot.as<int32_t>();
    params.token_position = device_position.as<int32_t>();
    params.num_tokens = 4;
    params.scale = 1.5f;
    params.out = out.as<float>();
    ASSERT_EQ(kernels().embed(stream(), &params), 0);
    std::vector<float> expected;
    for (size_t t = 0; t < 4; ++t) {
      const int32_t token = history[static_cast<size_t>(slot[t] * 10 + position[t])];
      for (int64_t i = 0; i < hidden; ++i)
        expected.push_back(1.5f * weight[static_cast<size_t>(token * hidden + i)]);
    }
    EXPECT_EQ(download(out, DType::kF32), expected) << name(dtype);
  }
}

TEST_F(CudaBase, GatedActivationsAndSoftcap) {
  for (const DType dtype : kAllDTypes) {
    for (const Activation activation : {Activation::kSilu, Activation::kGeluTanh}) {
      for (const int64_t size : {96, 101, 11008}) {
        const std::vector<float> x = normals(3 * 2 * size, 2.0f, dtype);
        const device::Buffer device_x = upload_as(x, dtype);
        const device::Buffer out = poisoned(3 * size, dtype);
        GatedActivationParams params{device_x.data(), out.data(), dtype, activation, 3, size};
        ASSERT_EQ(kernels().gated_activation(stream(), &params), 0);
        params.x = x.data();
        params.activation_dtype = DType::kF32;
        EXPECT_LT(relative_error(download(out, dtype), reference::gated_activation(params)),
                  tolerance(dtype));
      }
    }
  }
  const std::vector<float> y = normals(1000, 60.0f);
  const device::Buffer device_y = upload(y);
  const SoftcapParams params{device_y.as<float>(), 1000, 30.0f};
  ASSERT_EQ(kernels().softcap(stream(), &params), 0);
  const std::vector<float> out = download(device_y, DType::kF32);
  for (size_t i = 0; i < y.size(); ++i) EXPECT_NEAR(out[i], 30 * std::tanh(y[i] / 30.0), 2e-5);
}

// Kernels launched to overlap must still see each other's results, on a stream and in a graph.
TEST_F(CudaBase, AChainOfDependentKernelsGivesTheSameInAGraph) {
  const int64_t n = 512;
  const std::vector<float> x = normals(4 * n, 1.0f, DType::kBF16);
  const std::vector<float> w = normals(n * n, 0.04f, DType::kBF16);
  const std::vector<float> weight(n, 1.0f);
  const device::Buffer device_w = packed(w, n, n, DType::kF32, DType::kBF16);
  const device::Buffer device_weight = upload(weight);
  const device::Buffer a = upload_as(x, DType::kBF16), b = poisoned(4 * n, DType::kBF16);
  const device::Buffer workspace = device_bytes(kernels().gemm_workspace_bytes(DType::kBF16, 4, n));
  GemmParams gemm{};
  gemm.x = a.data();
  gemm.x_stride = gemm.y_stride = gemm.n = gemm.k = n;
  gemm.w = device_w.data();
  gemm.weight_dtype = gemm.activation_dtype = gemm.y_dtype = DType::kBF16;
  gemm.m = 4;
  gemm.y = b.data();
  gemm.workspace = workspace.data();
  NormParams norm{};
  norm.residual = a.data();
  norm.delta = b.data();
  norm.weight = device_weight.as<float>();
  norm.y = a.data();
  norm.activation_dtype = norm.residual_dtype = DType::kBF16;
  norm.num_rows = 4;
  norm.hidden_size = n;
  norm.eps = 1e-5f;
  const auto chain = [&] {
    for (int i = 0; i < 40; ++i) {
      ASSERT_EQ(kernels().gemm(stream(), &gemm), 0);
      ASSERT_EQ(kernels().norm(stream(), &norm), 0);
    }
  };
  const auto reset = [&] {
    const device::Buffer fresh = upload_as(x, DType::kBF16);
    stream_->copy(a.data(), fresh.data(), fresh.bytes());
    stream_->synchronize();
  };
  // One by one, each waited for.
  for (int i = 0; i < 40; ++i) {
    ASSERT_EQ(kernels().gemm(stream(), &gemm), 0);
    stream_->synchronize();
    ASSERT_EQ(kernels().norm(stream(), &norm), 0);
    stream_->synchronize();
  }
  const std::vector<float> expected = download(a, DType::kBF16);
  reset();
  chain();
  EXPECT_EQ(download(a, DType::kBF16), expected);
  stream_->begin_recording();
  chain();
  const std::unique_ptr<device::Graph> graph = stream_->end_recording();
  for (int round = 0; round < 3; ++round) {
    reset();
    stream_->launch(*graph);
    EXPECT_EQ(download(a, DType::kBF16), expected) << "replay " << round;
  }
}

TEST_F(CudaBase, MemoryThatCannotBeHadIsRefusedInOneLine) {
  try {
    device_bytes(uint64_t{1} << 50);
    ADD_FAILURE() << "2^50 bytes were given";
  } catch (const core::Error& error) {
    EXPECT_EQ(error.status(), core::Status::kOutOfMemory);
    EXPECT_NE(std::string(error.what()).find("1125899906842624"), std::string::npos);
  }
  // And the device goes on.
  EXPECT_EQ(download(upload(std::vector<float>{1, 2, 3}), DType::kF32),
            (std::vector<float>{1, 2, 3}));
}

}  // namespace
}  // namespace slora::kernels
