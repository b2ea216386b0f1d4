// Paged attention on the device: number types, head sizes, groups, pages, windows, caps, and rows
// of every kind in one batch; launches within bounds that are larger than the batch.
#include "cuda_test.hpp"

#include <algorithm>
#include <numeric>

namespace slora::kernels {
namespace {

struct Shape {
  DType dtype;
  int32_t num_heads, num_kv_heads, head_size, tokens_per_page;
  float softcap;
  int32_t window;
};

// Tokens [begin, end) of a sequence; begin == end: padding.
struct Row {
  int32_t begin, end;
};

// How far the launch's bounds exceed the batch.
struct Slack {
  int32_t rows = 0, tokens = 0, context = 0;
  bool knows_row_tokens = true;
  bool knows_context = true;
  bool knows_long_rows = true;
};

class CudaAttentionTest : public CudaTest {
 protected:
  void check(const Shape& shape, const std::vector<Row>& rows, const Slack& slack = {}) {
    const int64_t row_elems = int64_t{shape.num_kv_heads} * shape.head_size;
    const int64_t page_elems = 2 * shape.tokens_per_page * row_elems;
    const int64_t width = int64_t{shape.num_heads} * shape.head_size;
    const int64_t q_stride = width + 2 * row_elems;
    const int64_t elem_bytes = core::dtype_bytes(shape.dtype);

    // ---- tables
    std::vector<int32_t> offsets{0}, positions;
    int32_t longest = 0, longest_row = 0, num_pages = 1, long_rows = 0, long_tokens = 0;
    for (const Row& row : rows) {
      for (int32_t p = row.begin; p < row.end; ++p) positions.push_back(p);
      offsets.push_back(static_cast<int32_t>(positions.size()));
      longest = std::max(longest, row.end);
      longest_row = std::max(longest_row, row.end - row.begin);
      if (row.end - row.begin > 1) {
        ++long_rows;
        long_tokens += row.end - row.begin;
      }
      num_pages += (row.end + shape.tokens_per_page - 1) / shape.tokens_per_page;
    }
    const int32_t num_tokens = offsets.back();
    const auto bound_rows = static_cast<int32_t>(rows.size()) + slack.rows;
    const int32_t bound_tokens = num_tokens + slack.tokens;
    const int32_t max_context = longest + slack.context;
    offsets.resize(static_cast<size_t>(bound_rows) + 1, num_tokens);
    std::vector<int32_t> padded_positions = positions;
    padded_positions.resize(static_cast<size_t>(bound_tokens), 0);
    const int64_t stride = (max_context + shape.tokens_per_page - 1) / shape.tokens_per_page + 1;
    std::vector<int32_t> ids(static_cast<size_t>(num_pages));
    std::iota(ids.begin(), ids.end(), 0);
    std::shuffle(ids.begin(), ids.end(), random_);
    // Pages that are not to be read lie outside of the slice by far.
    std::vector<int32_t> table(static_cast<size_t>(stride * bound_rows), 1 << 28);
    size_t next = 0;
    for (size_t s = 0; s < rows.size(); ++s) {
      for (int32_t p = 0; p * shape.tokens_per_page < rows[s].end; ++p)
        table[s * static_cast<size_t>(stride) + static_cast<size_t>(p)] = ids[next++];
    }

    // ---- K and V where positions are, NaN elsewhere
    std::vector<uint8_t> slice(static_cast<size_t>(num_pages * page_elems * elem_bytes), 0xff);
    for (size_t s = 0; s < rows.size(); ++s) {
      const std::vector<uint8_t> values = stored(normals(2 * rows[s].end * row_elems), shape.dtype);
      for (int64_t part = 0; part < 2; ++part) {
        for (int64_t p = 0; p < rows[s].end; ++p) {
          const int64_t page = table[s * static_cast<size_t>(stride) +
                                     static_cast<size_t>(p / shape.tokens_per_page)];
          const int64_t slot = p % shape.tokens_per_page + part * shape.tokens_per_page;
          std::memcpy(slice.data() + (page * page_elems + slot * row_elems) * elem_bytes,
                      values.data() + (part * rows[s].end + p) * row_elems * elem_bytes,
                      static_cast<size_t>(row_elems * elem_bytes));
        }
      }
    }
    // Pages that have left every window may have gone back to the pool.
    for (size_t s = 0; s < rows.size() && shape.window > 0; ++s) {
      for (int32_t p = 0; (p + 1) * shape.tokens_per_page <= rows[s].begin - shape.window + 1; ++p)
        table[s * static_cast<size_t>(stride) + static_cast<size_t>(p)] = 1 << 28;
    }
    const std::vector<float> q = normals(bound_tokens * q_stride, 1.0f, shape.dtype);

    // ---- both
    AttentionParams params{};
    params.q = q.data();
    params.q_stride = q_stride;
    params.activation_dtype = params.page_dtype = shape.dtype;
    params.row_offsets = offsets.data();
    params.token_position = padded_positions.data();
    params.page_table = table.data();
    params.page_table_stride = stride;
    params.num_rows = static_cast<int32_t>(rows.size());
    params.num_tokens = num_tokens;
    params.num_heads = shape.num_heads;
    params.num_kv_heads = shape.num_kv_heads;
    params.head_size = shape.head_size;
    params.tokens_per_page = shape.tokens_per_page;
    params.slice = slice.data();
    params.page_bytes = page_elems * elem_bytes;
    params.scale = 1.0f / std::sqrt(static_cast<float>(shape.head_size));
    params.softcap = shape.softcap;
    params.window = shape.window;
    const std::vector<double> expected = reference::attention(params);

    const device::Buffer device_q = upload_as(q, shape.dtype);
    const device::Buffer out = poisoned(bound_tokens * width, shape.dtype);
    const device::Buffer device_offsets = upload(offsets);
    const device::Buffer device_positions = upload(padded_positions);
    const device::Buffer device_table = upload(table);
    const device::Buffer device_slice = upload(slice);
    const uint64_t workspace_bytes =
        kernels().attention_workspace_bytes(bound_tokens, shape.num_heads, shape.head_size);
    const device::Buffer workspace =
        poisoned(static_cast<int64_t>(workspace_bytes / 4 + 64), DType::kF32);
    params.q = device_q.data();
    params.out = out.data();
    params.row_offsets = device_offsets.as<int32_t>();
    params.token_position = device_positions.as<int32_t>();
    params.page_table = device_table.as<int32_t>();
    params.slice = device_slice.data();
    params.num_rows = bound_rows;
    params.num_tokens = bound_tokens;
    params.max_row_tokens = slack.knows_row_tokens ? longest_row : 0;
    params.max_context = slack.knows_context ? max_context : 0;
    params.num_long_rows = slack.knows_long_rows ? long_rows : -1;
    params.num_long_tokens = slack.knows_long_rows ? long_tokens : 0;
    params.workspace = workspace.data();
    ASSERT_EQ(kernels().attention(stream(), &params), 0);
    stream_->synchronize();

    std::vector<float> result = download(out, shape.dtype);
    for (size_t i = expected.size(); i < result.size(); ++i)
      ASSERT_TRUE(std::isnan(result[i])) << "padding was written at " << i;
    result.resize(expected.size());
    const std::vector<float> slop = download(workspace, DType::kF32);
    for (size_t i = workspace_bytes / 4; i < slop.size(); ++i)
      ASSERT_TRUE(std::isnan(slop[i])) << "past the workspace";
    std::string what;
    for (const Row& row : rows)
      what += " " + std::to_string(row.begin) + ".." + std::to_string(row.end);
    // Probabilities are rounded to the dtype too, before they meet V.
    EXPECT_LT(relative_error(result, expected), 1.5 * tolerance(shape.dtype))
        << name(shape.dtype) << ", " << shape.num_heads << "/" << shape.num_kv_heads << " heads of "
        << shape.head_size << ", page of " << shape.tokens_per_page << ", window " << shape.window
        << ", cap " << shape.softcap << ", rows" << what << ", seed " << seed_;
    // No token may hide among the others.
    for (int64_t t = 0; t < num_tokens; ++t) {
      const auto first = static_cast<size_t>(t * width);
      const auto last = static_cast<size_t>((t + 1) * width);
      ASSERT_LT(relative_error({result.begin() + static_cast<int64_t>(first),
                                result.begin() + static_cast<int64_t>(last)},
                               {expected.begin() + static_cast<int64_t>(first),
                                expected.begin() + static_cast<int64_t>(last)}),
                4 * tolerance(shape.dtype))
          << "token " << t << " at position " << positions[static_cast<size_t>(t)] << ", rows"
          << what << ", " << name(shape.dtype) << " " << shape.num_heads << "/"
          << shape.num_kv_heads << " of " << shape.head_size << ", page " << shape.tokens_per_page;
    }
  }

  static std::vector<Row> decode_rows(const std::vector<int32_t>& contexts) {
    std::vector<Row> rows;
    for (const int32_t context : contexts) rows.push_back({context - 1, context});
    return rows;
  }
  Row random_chunk(int32_t most) {
    const int32_t begin = between(0, 150);
    return {begin, begin + between(2, most)};
  }
};

constexpr int32_t kHeadSizes[] = {64, 80, 96, 128, 256};
// Query heads, KV heads.
constexpr int32_t kGroups[][2] = {{3, 3}, {4, 2}, {8, 2}, {16, 2}, {7, 1}};

TEST_F(CudaAttentionTest, DecodeEqualsReference) {
  for (const DType dtype : kAllDTypes) {
    for (const int32_t head_size : kHeadSizes) {
      for (const auto& group : kGroups) {
        check({dtype, group[0], group[1], head_size, 16, 0, 0},
              decode_rows({1, 15, 16, 17, 64, 65, between(66, 300)}));
      }
    }
  }
}

TEST_F(CudaAttentionTest, DecodeOfLongContextsIsSplit) {
  for (const DType dtype : {DType::kBF16, DType::kF16}) {
    check({dtype, 4, 4, 128, 16, 0, 0}, decode_rows({between(2900, 3100), 1, 2047, 2048, 2049}));
    check({dtype, 8, 2, 128, 16, 0, 0}, decode_rows({3000, between(1, 2999)}));
    check({dtype, 7, 1, 64, 16, 0, 0}, decode_rows({between(1000, 3000)}));
    check({dtype, 4, 2, 256, 16, 30, 0}, decode_rows({between(1000, 2000), 65}));
    check({dtype, 2, 1, 96, 16, 0, 1000}, decode_rows({2500, 1000, 1001, 1}));
  }
}

TEST_F(CudaAttentionTest, PrefillEqualsReference) {
  for (const DType dtype : kAllDTypes) {
    for (const int32_t head_size : kHeadSizes) {
      for (const auto& group : kGroups)
        check({dtype, group[0], group[1], head_size, 16, 0, 0}, {{0, between(2, 40)}});
      check({dtype, 2, 1, head_size, 16, 0, 0}, {{0, between(128, 150)}});
    }
  }
}

TEST_F(CudaAttentionTest, PrefillOfManyTiles) {
  check({DType::kBF16, 2, 2, 128, 16, 0, 0}, {{0, 700}});
  check({DType::kBF16, 2, 1, 128, 16, 0, 100}, {{0, 513}});
  check({DType::kF16, 7, 1, 64, 16, 0, 0}, {{130, 400}});
  check({DType::kF16, 2, 1, 256, 16, 20, 70}, {{64, 300}});
}

TEST_F(CudaAttentionTest, RowsOfEveryKindInOneBatch) {
  for (const DType dtype : kAllDTypes) {
    for (const int32_t head_size : {64, 128, 256, 80}) {
      for (int32_t trial = 0; trial < 2; ++trial) {
        std::vector<Row> rows = decode_rows({1, between(2, 200), between(2, 40)});
        rows.push_back({0, between(2, 70)});
        rows.push_back(random_chunk(40));
        rows.push_back(random_chunk(10));
        rows.push_back({0, 0});
        rows.push_back({0, 0});
        std::shuffle(rows.begin(), rows.end(), random_);
        const int32_t group = between(1, 5);
        check(
            {dtype, 2 * group, 2, head_size, 16, trial ? 25.0f : 0.0f, trial ? between(1, 80) : 0},
            rows,
            {between(0, 40), between(0, 9), between(0, 500), trial == 0, trial == 1, trial == 0});
      }
    }
  }
}

TEST_F(CudaAttentionTest, WindowsAndCaps) {
  for (const DType dtype : {DType::kBF16, DType::kF16}) {
    for (const int32_t window : {1, 2, 15, 16, 17, 63, 64, 65, 130}) {
      check({dtype, 4, 2, 128, 16, window % 2 ? 30.0f : 0.0f, window},
            decode_rows({1, window, window + 1, 200, between(200, 400)}));
      for (const int32_t head_size : {64, 128}) {
        check({dtype, 4, 2, head_size, 16, window % 2 ? 0.0f : 5.0f, window},
              {{0, 140}, {100, 180}});
      }
    }
  }
}

TEST_F(CudaAttentionTest, PagesOfAnySize) {
  for (const DType dtype : kAllDTypes) {
    for (const int32_t tokens_per_page : {1, 3, 7, 8, 13, 32, 48, 128}) {
      check({dtype, 4, 2, 128, tokens_per_page, 0, 0}, decode_rows({1, 47, 48, 49, 129}));
      for (const int32_t head_size : {64, 128}) {
        check({dtype, 4, 2, head_size, tokens_per_page, 0, tokens_per_page % 2 ? 33 : 0},
              {{0, 67}, {50, 90}, {88, 89}, {0, 0}, {120, 300}});
      }
    }
  }
}

TEST_F(CudaAttentionTest, OddHeadSizesAndLargeGroups) {
  for (const DType dtype : kAllDTypes) {
    for (const int32_t head_size : {8, 10, 16, 22, 32, 48, 72, 112, 120, 160, 192, 320, 512})
      check({dtype, 3, 1, head_size, 16, 0, 0}, {{0, 40}, {60, 61}, {7, 9}});
    check({dtype, 150, 1, 64, 16, 0, 0}, {{0, 5}, {60, 61}});
    check({dtype, 24, 2, 128, 16, 0, 0}, {{70, 73}, {60, 61}});
    check({dtype, 24, 2, 256, 16, 0, 0}, {{60, 61}});
  }
}

// A launch shaped by bounds serves any batch within them: one shape, lengths from nothing to all.
TEST_F(CudaAttentionTest, BoundsLargerThanTheBatch) {
  for (const int32_t context : {1, 16, 100, 900}) {
    check({DType::kBF16, 8, 2, 128, 16, 0, 0}, decode_rows({context, 1}),
          {6, 0, 4000 - context, true, true});
    check({DType::kBF16, 4, 4, 128, 16, 0, 0}, decode_rows({context}), {3, 0, 8000, true, false});
  }
}

}  // namespace
}  // namespace slora::kernels
