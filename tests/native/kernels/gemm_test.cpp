// Base matmuls, packing, filling and embedding.
#include "kernel_test.hpp"

namespace slora::kernels {
namespace {

struct Packed {
  std::vector<uint8_t> bytes;
  std::vector<float> rows;  // what the packed matrix holds, row-major
};

class GemmTest : public KernelTest {
 protected:
  Packed pack(DType dtype, int64_t n, int64_t k) {
    Packed packed;
    packed.rows = normals(n * k);
    for (float& x : packed.rows) x = rounded(x, dtype);
    // Garbage first: the packing must write every byte that the kernel may read.
    packed.bytes.assign(host_kernel_api()->weight_bytes(dtype, n, k), 0xff);
    WeightPackParams params{packed.bytes.data(), dtype, DType::kF32, n, k, 0, n,
                            packed.rows.data(),  k};
    run_weight_pack(params, team_);
    return packed;
  }

  std::vector<float> run(const Packed& w, DType dtype, const std::vector<float>& x, int64_t m,
                         int64_t n, int64_t k, const float* bias, device::ThreadTeam& team,
                         int64_t y_stride = 0) {
    if (y_stride == 0) y_stride = n;
    std::vector<float> y(static_cast<size_t>(m * y_stride), 7.0f);
    std::vector<uint8_t> workspace(host_kernel_api()->gemm_workspace_bytes(dtype, m, k) + 1, 0xff);
    const GemmParams params{x.data(), k, w.bytes.data(), dtype,    DType::kF32, m,
                            n,        k, bias,           y.data(), y_stride,    workspace.data()};
    run_gemm(params, team);
    return y;
  }
};

TEST_P(GemmTest, EqualsReferenceOnRaggedShapes) {
  const int64_t shapes[][3] = {{1, 1, 1},      {1, 64, 2},   {2, 63, 7},    {3, 65, 33},
                               {5, 130, 100},  {6, 64, 64},  {7, 33, 15},   {13, 200, 5},
                               {19, 129, 257}, {64, 70, 31}, {49, 20, 700}, {8, 300, 1030}};
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    for (const auto& [m, n, k] : shapes) {
      const Packed w = pack(dtype, n, k);
      const std::vector<float> x = normals(m * k);
      const std::vector<float> bias = normals(n);
      for (const float* b : {static_cast<const float*>(nullptr), bias.data()}) {
        const std::vector<double> expected =
            reference::gemm(x.data(), k, w.rows.data(), b, m, n, k, dtype == DType::kBF16);
        EXPECT_TRUE(all_near(run(w, dtype, x, m, n, k, b, team_), expected, sum_tolerance(k)))
            << core::dtype_name(dtype) << " " << m << " x " << n << " x " << k;
      }
    }
  }
}

TEST_P(GemmTest, WritesNothingBeyondItsColumns) {
  const Packed w = pack(DType::kBF16, 70, 40);
  const std::vector<float> y = run(w, DType::kBF16, normals(5 * 40), 5, 70, 40, nullptr, team_, 90);
  for (size_t i = 0; i < y.size(); ++i) EXPECT_EQ(y[i] == 7.0f, i % 90 >= 70) << i;
}

// The law: a row's result is bit for bit the same alone, among any others, at any place, on any
// team. K beyond a panel.
TEST_P(GemmTest, RowDoesNotDependOnOthers) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    for (const auto& [n, k] : {std::pair<int64_t, int64_t>{130, 77}, {200, 2500}}) {
      const Packed w = pack(dtype, n, k);
      const int64_t num_rows = 70;
      const std::vector<float> rows = normals(num_rows * k);
      const std::vector<float> bias = normals(n);
      std::vector<std::vector<float>> alone;
      for (int64_t row = 0; row < num_rows; ++row) {
        const std::vector<float> x(rows.begin() + row * k, rows.begin() + (row + 1) * k);
        alone.push_back(run(w, dtype, x, 1, n, k, bias.data(), team_));
      }
      for (int32_t threads = 1; threads <= 3; ++threads) {
        device::ThreadTeam team(threads);
        for (const int32_t m :
             {1, 2, 5, 6, 7, 8, 12, 13, 17, 18, 19, 25, 48, 100, 130, between(2, 200)}) {
          std::vector<float> x;
          std::vector<int32_t> order;
          for (int32_t i = 0; i < m; ++i) {
            order.push_back(between(0, num_rows - 1));
            x.insert(x.end(), rows.begin() + order.back() * k,
                     rows.begin() + (order.back() + 1) * k);
          }
          const std::vector<float> y = run(w, dtype, x, m, n, k, bias.data(), team);
          for (int32_t i = 0; i < m; ++i) {
            ASSERT_TRUE(same_bits(y.data() + i * n,
                                  alone[static_cast<size_t>(order[static_cast<size_t>(i)])].data(),
                                  n))
                << core::dtype_name(dtype) << " row " << i << " of " << m << " on " << threads
                << " threads";
          }
        }
      }
    }
  }
}

// A fused matrix is packed part by part, from any source dtype.
TEST_P(GemmTest, PacksPartsOfAFusedMatrix) {
  const int64_t k = 19;
  const int64_t parts[] = {70, 1, 64, 30};
  const int64_t n = 165;
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    for (const DType source : {DType::kF32, DType::kBF16, DType::kF16}) {
      std::vector<uint8_t> bytes(host_kernel_api()->weight_bytes(dtype, n, k), 0xff);
      std::vector<float> expected;
      int64_t row_offset = 0;
      for (const int64_t rows : parts) {
        const int64_t stride = k + 3;
        std::vector<uint8_t> src(static_cast<size_t>(rows * stride * core::dtype_bytes(source)));
        for (int64_t i = 0; i < rows * stride; ++i) {
          if (source == DType::kF16) {
            reinterpret_cast<uint16_t*>(src.data())[i] =
                static_cast<uint16_t>(between(0, 0x7bff) | (between(0, 1) << 15));
          } else {
            store_element(src.data(), source, i, normals(1)[0]);
          }
        }
        for (int64_t r = 0; r < rows; ++r) {
          for (int64_t i = 0; i < k; ++i) {
            expected.push_back(
                rounded(core::load_as_float(src.data(), source, r * stride + i), dtype));
          }
        }
        run_weight_pack({bytes.data(), dtype, source, n, k, row_offset, rows, src.data(), stride},
                        team_);
        row_offset += rows;
      }
      std::vector<int32_t> history(static_cast<size_t>(n)), slots(static_cast<size_t>(n)),
          positions;
      for (int32_t i = 0; i < n; ++i) {
        history[static_cast<size_t>(i)] = i;
        positions.push_back(i);
      }
      std::vector<float> out(static_cast<size_t>(n * k));
      run_embed({bytes.data(), dtype, n, k, history.data(), n, slots.data(), positions.data(),
                 static_cast<int32_t>(n), 1.0f, out.data()},
                team_);
      EXPECT_TRUE(same_bits(out, expected))
          << core::dtype_name(dtype) << " from " << core::dtype_name(source);
    }
  }
}

TEST_P(GemmTest, EmbedsTheTokenOfAHistory) {
  const Packed w = pack(DType::kBF16, 90, 21);
  const std::vector<int32_t> history = {5, 89, 3, 64, 63, 0};  // two slots of three
  const std::vector<int32_t> slots = {1, 0, 1};
  const std::vector<int32_t> positions = {0, 1, 2};
  std::vector<float> out(3 * 21);
  run_embed({w.bytes.data(), DType::kBF16, 90, 21, history.data(), 3, slots.data(),
             positions.data(), 3, 2.5f, out.data()},
            team_);
  const int32_t expected[] = {64, 89, 0};
  for (size_t t = 0; t < 3; ++t) {
    for (size_t h = 0; h < 21; ++h)
      EXPECT_EQ(out[t * 21 + h], 2.5f * w.rows[static_cast<size_t>(expected[t]) * 21 + h]);
  }
}

TEST_P(GemmTest, FillIsNormalAndTheSameForEveryDtype) {
  const int64_t n = 300, k = 101;
  std::vector<std::vector<float>> filled;
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    Packed w;
    w.bytes.assign(host_kernel_api()->weight_bytes(dtype, n, k), 0xff);
    run_weight_fill({w.bytes.data(), dtype, n, k, 42, 0.02f}, team_);
    // The identity reads the matrix out.
    std::vector<float> identity(static_cast<size_t>(k * k));
    for (int64_t i = 0; i < k; ++i) identity[static_cast<size_t>(i * k + i)] = 1.0f;
    filled.push_back(run(w, dtype, identity, k, n, k, nullptr, team_));
  }
  double mean = 0.0, square = 0.0;
  for (size_t i = 0; i < filled[0].size(); ++i) {
    EXPECT_EQ(rounded(filled[0][i], DType::kBF16), filled[1][i]);
    mean += filled[0][i];
    square += static_cast<double>(filled[0][i]) * filled[0][i];
  }
  const double count = static_cast<double>(filled[0].size());
  EXPECT_NEAR(mean / count, 0.0, 0.02 * 5 / std::sqrt(count));
  EXPECT_NEAR(std::sqrt(square / count), 0.02, 0.02 * 5 / std::sqrt(count));
}

SLORA_KERNEL_TEST_SUITE(GemmTest);

}  // namespace
}  // namespace slora::kernels
