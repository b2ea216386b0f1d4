// Head norms, rotation and the write into pages on the device.
#include "cuda_test.hpp"

#include <algorithm>
#include <numeric>

namespace slora::kernels {
namespace {

class CudaRopeTest : public CudaTest {
 protected:
  struct Shape {
    DType dtype;
    int32_t num_heads, num_kv_heads, head_size, rotary_size, tokens_per_page;
  };

  void check(const Shape& shape, int32_t num_tokens) {
    const int64_t d = shape.head_size;
    const int64_t width = (shape.num_heads + 2 * shape.num_kv_heads) * d;
    const int64_t kv_elems = shape.num_kv_heads * d;
    const int64_t page_elems = 2 * shape.tokens_per_page * kv_elems;
    constexpr int32_t kMaxContext = 500;
    std::vector<float> table(static_cast<size_t>(kMaxContext * shape.rotary_size));
    for (int32_t p = 0; p < kMaxContext; ++p) {
      for (int32_t i = 0; i < shape.rotary_size / 2; ++i) {
        const double angle = p * std::pow(10000.0, -2.0 * i / shape.rotary_size);
        float* row = table.data() + p * shape.rotary_size;
        row[i] = static_cast<float>(std::cos(angle));
        row[shape.rotary_size / 2 + i] = static_cast<float>(std::sin(angle));
      }
    }
    // Each token a page of its own, so that none overwrites another's slot.
    std::vector<int32_t> positions, pages(static_cast<size_t>(num_tokens));
    for (int32_t t = 0; t < num_tokens; ++t) positions.push_back(between(0, kMaxContext - 1));
    std::iota(pages.begin(), pages.end(), 0);
    std::shuffle(pages.begin(), pages.end(), random_);
    for (int32_t t = 1; t < num_tokens; t += 3) pages[static_cast<size_t>(t)] = -1;
    const std::vector<float> qkv = normals(num_tokens * width, 1.0f, shape.dtype);

    RopeKvParams params{};
    std::vector<float> reference_qkv = qkv;
    params.qkv = reference_qkv.data();
    params.row_stride = width;
    params.activation_dtype = params.page_dtype = shape.dtype;
    params.rope_table = table.data();
    params.token_position = positions.data();
    params.num_tokens = num_tokens;
    params.num_heads = shape.num_heads;
    params.num_kv_heads = shape.num_kv_heads;
    params.head_size = shape.head_size;
    params.rotary_size = shape.rotary_size;
    params.tokens_per_page = shape.tokens_per_page;
    params.page_bytes = page_elems * core::dtype_bytes(shape.dtype);
    const std::vector<double> expected = reference::rope(params);

    const device::Buffer device_qkv = upload_as(qkv, shape.dtype);
    const device::Buffer device_table = upload(table);
    const device::Buffer device_positions = upload(positions);
    const device::Buffer device_pages = upload(pages);
    const device::Buffer slice = poisoned(num_tokens * page_elems, shape.dtype);
    params.qkv = device_qkv.data();
    params.rope_table = device_table.as<float>();
    params.token_position = device_positions.as<int32_t>();
    params.token_page = device_pages.as<int32_t>();
    params.slice = slice.data();
    ASSERT_EQ(kernels().rope_kv(stream(), &params), 0);
    stream_->synchronize();

    const std::vector<float> out = download(device_qkv, shape.dtype);
    const std::vector<float> stored_pages = download(slice, shape.dtype);
    int64_t num_written = 0;
    for (int64_t t = 0; t < num_tokens; ++t) {
      const int64_t page = pages[static_cast<size_t>(t)];
      const double* want = expected.data() + t * width;
      const auto compare = [&](const float* got, int64_t column, int64_t count, const char* what) {
        ASSERT_LT(relative_error({got, got + count}, {want + column, want + column + count}),
                  tolerance(shape.dtype))
            << what << " of token " << t << ", " << name(shape.dtype) << " head " << d << " rotary "
            << shape.rotary_size << ", seed " << seed_;
      };
      if (page < 0) continue;
      compare(out.data() + t * width, 0, shape.num_heads * d, "q");
      const int64_t slot = positions[static_cast<size_t>(t)] % shape.tokens_per_page;
      const float* k = stored_pages.data() + page * page_elems + slot * kv_elems;
      compare(k, shape.num_heads * d, kv_elems, "k");
      compare(k + shape.tokens_per_page * kv_elems, (shape.num_heads + shape.num_kv_heads) * d,
              kv_elems, "v");
      num_written += 2 * kv_elems;
    }
    // Nothing else in the pages was touched.
    const int64_t not_poison =
        std::count_if(stored_pages.begin(), stored_pages.end(), [](float x) { return x == x; });
    EXPECT_EQ(not_poison, num_written);
  }
};

TEST_F(CudaRopeTest, RotatesAndWritesPages) {
  for (const DType dtype : kAllDTypes) {
    check({dtype, 4, 4, 128, 128, 16}, 1);
    check({dtype, 8, 2, 64, 64, 16}, between(2, 40));
    check({dtype, 6, 1, 80, 32, 16}, between(2, 40));
    check({dtype, 4, 2, 96, 96, 7}, between(2, 40));
    check({dtype, 2, 1, 256, 64, 13}, between(2, 40));
    check({dtype, 3, 1, 10, 10, 4}, between(2, 40));
    check({dtype, 3, 3, 22, 6, 1}, between(2, 40));
    check({dtype, 32, 8, 128, 128, 16}, 300);
  }
}

TEST_F(CudaRopeTest, HeadNormEqualsReference) {
  for (const DType dtype : kAllDTypes) {
    for (const int32_t head_size : {22, 64, 80, 128, 256, 512}) {
      const int32_t num_tokens = between(1, 50);
      HeadNormParams params{};
      params.row_stride = (5 + 2 * 2) * head_size;
      params.activation_dtype = dtype;
      params.num_tokens = num_tokens;
      params.num_heads = 5;
      params.num_kv_heads = 2;
      params.head_size = head_size;
      params.eps = 1e-6f;
      params.weight_offset = between(0, 1) ? 1.0f : 0.0f;
      std::vector<float> qkv = normals(num_tokens * params.row_stride, 1.5f, dtype);
      const std::vector<float> q_weight = normals(head_size), k_weight = normals(head_size);
      params.qkv = qkv.data();
      params.q_weight = q_weight.data();
      params.k_weight = k_weight.data();
      const std::vector<double> expected = reference::head_norm(params);
      const device::Buffer device_qkv = upload_as(qkv, dtype);
      const device::Buffer device_q_weight = upload(q_weight);
      const device::Buffer device_k_weight = upload(k_weight);
      params.qkv = device_qkv.data();
      params.q_weight = device_q_weight.as<float>();
      params.k_weight = device_k_weight.as<float>();
      ASSERT_EQ(kernels().head_norm(stream(), &params), 0);
      stream_->synchronize();
      EXPECT_LT(relative_error(download(device_qkv, dtype), expected), tolerance(dtype))
          << name(dtype) << " head " << head_size << ", seed " << seed_;
    }
  }
}

}  // namespace
}  // namespace slora::kernels
