// Norms, rotation and page writes, gated activations.
#include "kernel_test.hpp"

namespace slora::kernels {
namespace {

class ElementwiseTest : public KernelTest {};

TEST_P(ElementwiseTest, NormEqualsReference) {
  for (const int64_t hidden : {1, 15, 16, 17, 64, 100, 768, 2048, 2051}) {
    for (const bool has_delta : {false, true}) {
      for (const float offset : {0.0f, 1.0f}) {
        const int32_t rows = 5;
        std::vector<float> residual = normals(rows * hidden);
        const std::vector<float> delta = normals(rows * hidden);
        const std::vector<float> weight = normals(hidden);
        std::vector<float> y(residual.size());
        NormParams params{residual.data(),
                          has_delta ? delta.data() : nullptr,
                          weight.data(),
                          y.data(),
                          nullptr,
                          DType::kF32,
                          rows,
                          hidden,
                          1e-5f,
                          offset};
        std::vector<float> expected_residual = residual;
        NormParams expected_params = params;
        expected_params.residual = expected_residual.data();
        const std::vector<double> expected = reference::norm(expected_params);
        run_norm(params, team_);
        // The sum of squares is rounded about log2(hidden) times on its way; the rest is three
        // roundings.
        EXPECT_TRUE(all_near(y, expected, 1e-5)) << hidden;
        EXPECT_TRUE(same_bits(residual, expected_residual)) << hidden;
      }
    }
  }
}

TEST_P(ElementwiseTest, NormOfChosenRowsIsThatOfAllRows) {
  const int64_t hidden = 200;
  std::vector<float> residual = normals(9 * hidden);
  const std::vector<float> weight = normals(hidden);
  std::vector<float> all(9 * 200), chosen(3 * 200);
  const int32_t rows[] = {8, 0, 3};
  run_norm({residual.data(), nullptr, weight.data(), all.data(), nullptr, DType::kF32, 9, hidden,
            1e-5f, 0.0f},
           team_);
  for (int32_t threads = 1; threads <= 3; ++threads) {
    device::ThreadTeam team(threads);
    run_norm({residual.data(), nullptr, weight.data(), chosen.data(), rows, DType::kF32, 3, hidden,
              1e-5f, 0.0f},
             team);
    for (int i = 0; i < 3; ++i)
      EXPECT_TRUE(same_bits(chosen.data() + i * hidden, all.data() + rows[i] * hidden, hidden));
  }
}

TEST_P(ElementwiseTest, GatedActivationEqualsReferenceAndItself) {
  for (const Activation activation : {Activation::kSilu, Activation::kGeluTanh}) {
    for (const int64_t width : {1, 16, 33, 5000}) {
      const int32_t tokens = 3;
      std::vector<float> x = normals(tokens * 2 * width, 4.0f);
      x[0] = -100.0f;  // exp overflows in the naive form
      std::vector<float> out(static_cast<size_t>(tokens * width)),
          alone(static_cast<size_t>(width));
      const GatedActivationParams params{x.data(),   out.data(), DType::kF32,
                                         activation, tokens,     width};
      run_gated_activation(params, team_);
      // Values reach about 16 * 16; a few roundings each.
      EXPECT_TRUE(all_near(out, reference::gated_activation(params), 1e-4)) << width;
      for (int32_t threads = 1; threads <= 3; ++threads) {
        device::ThreadTeam team(threads);
        run_gated_activation(
            {x.data() + 2 * width, alone.data(), DType::kF32, activation, 1, width}, team);
        EXPECT_TRUE(same_bits(alone.data(), out.data() + width, width));
      }
    }
  }
}

// exp and sigmoid over their whole range. The result is x / (1 + e^-x) * up: two ulp of exp, the
// division and two products make at most 4e-7 of the value.
TEST_P(ElementwiseTest, SiluIsWithinAFewUlp) {
  const int64_t width = 20001;
  std::vector<float> x(static_cast<size_t>(2 * width), 1.0f), out(static_cast<size_t>(width));
  for (int64_t i = 0; i < width; ++i) {
    x[static_cast<size_t>(i)] = static_cast<float>(i - width / 2) * 0.0085f;
  }
  const GatedActivationParams params{x.data(),          out.data(), DType::kF32,
                                     Activation::kSilu, 1,          width};
  run_gated_activation(params, team_);
  const std::vector<double> expected = reference::gated_activation(params);
  for (size_t i = 0; i < out.size(); ++i) {
    ASSERT_NEAR(out[i], expected[i], std::fabs(expected[i]) * 4e-7) << x[i];
  }
}

struct RopeCase {
  int32_t head_size, rotary_size, num_heads, num_kv_heads, tokens_per_page;
};

TEST_P(ElementwiseTest, RopeRotatesAndWritesPages) {
  const RopeCase cases[] = {{64, 64, 4, 2, 16}, {80, 32, 3, 3, 5},   {96, 96, 8, 1, 1},
                            {10, 6, 2, 1, 32},  {256, 256, 2, 2, 7}, {16, 16, 6, 3, 4}};
  for (const RopeCase& c : cases) {
    for (const DType page_dtype : {DType::kF32, DType::kBF16}) {
      const int32_t tokens = 9;
      const int64_t width = static_cast<int64_t>(c.num_heads + 2 * c.num_kv_heads) * c.head_size;
      std::vector<float> qkv = normals(tokens * width);
      const std::vector<float> table = normals(100 * c.rotary_size);
      std::vector<int32_t> positions, pages;
      for (int32_t t = 0; t < tokens; ++t) {
        positions.push_back(20 + t);
        pages.push_back(40 - positions.back() / c.tokens_per_page);
      }
      const int64_t row_elems = static_cast<int64_t>(c.num_kv_heads) * c.head_size;
      const int64_t page_bytes =
          2 * c.tokens_per_page * row_elems * core::dtype_bytes(page_dtype) + 64;
      std::vector<uint8_t> slice(static_cast<size_t>(41 * page_bytes), 0xee);
      const RopeKvParams params{qkv.data(),        width,        DType::kF32,
                                page_dtype,        table.data(), positions.data(),
                                pages.data(),      tokens,       c.num_heads,
                                c.num_kv_heads,    c.head_size,  c.rotary_size,
                                c.tokens_per_page, slice.data(), page_bytes};
      const std::vector<double> expected = reference::rope(params);
      run_rope_kv(params, team_);
      for (int32_t t = 0; t < tokens; ++t) {
        const double* row = expected.data() + t * width;
        for (int32_t i = 0; i < c.num_heads * c.head_size; ++i)
          ASSERT_NEAR(qkv[static_cast<size_t>(t * width + i)], row[i], 1e-5);
        const uint8_t* page = slice.data() + pages[static_cast<size_t>(t)] * page_bytes;
        const int64_t slot = positions[static_cast<size_t>(t)] % c.tokens_per_page;
        for (int64_t i = 0; i < row_elems; ++i) {
          const double k = row[c.num_heads * c.head_size + i];
          const double v = row[c.num_heads * c.head_size + row_elems + i];
          // bf16 keeps 8 bits: half an ulp is 2^-9 of the value.
          const double tolerance = page_dtype == DType::kBF16 ? 0.004 * std::fabs(k) + 1e-5 : 1e-5;
          ASSERT_NEAR(core::load_as_float(page, page_dtype, slot * row_elems + i), k, tolerance);
          ASSERT_EQ(
              core::load_as_float(page, page_dtype, (c.tokens_per_page + slot) * row_elems + i),
              rounded(static_cast<float>(v), page_dtype));
        }
      }
    }
  }
}

TEST_P(ElementwiseTest, RopeOfATokenDoesNotDependOnOthers) {
  const int64_t width = 6 * 40;
  const std::vector<float> qkv = normals(11 * width);
  const std::vector<float> table = normals(64 * 40);
  std::vector<int32_t> positions(11), pages(11);
  for (int32_t t = 0; t < 11; ++t)
    positions[static_cast<size_t>(t)] = pages[static_cast<size_t>(t)] = t;
  const auto run = [&](int32_t first, int32_t count, int32_t threads, std::vector<float>& slice) {
    device::ThreadTeam team(threads);
    std::vector<float> in(qkv.begin() + first * width, qkv.begin() + (first + count) * width);
    run_rope_kv({in.data(), width, DType::kF32, DType::kF32, table.data(), positions.data() + first,
                 pages.data() + first, count, 4, 1, 40, 40, 1,
                 reinterpret_cast<uint8_t*>(slice.data()), 80 * 4},
                team);
    return in;
  };
  std::vector<float> slice_all(11 * 80), slice_one(11 * 80);
  const std::vector<float> all = run(0, 11, 3, slice_all);
  for (int32_t t = 0; t < 11; ++t) {
    const std::vector<float> one = run(t, 1, 1, slice_one);
    EXPECT_TRUE(same_bits(one.data(), all.data() + t * width, 4 * 40));
  }
  EXPECT_TRUE(same_bits(slice_all, slice_one));
}

SLORA_KERNEL_TEST_SUITE(ElementwiseTest);

}  // namespace
}  // namespace slora::kernels
