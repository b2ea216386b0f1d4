// Paged attention over shapes, pages, windows and caps; and the law under chunked prompts.
#include <algorithm>

#include "kernel_test.hpp"

namespace slora::kernels {
namespace {

struct Shape {
  int32_t num_heads, num_kv_heads, head_size, tokens_per_page;
  float softcap;
  int32_t window;
  DType page_dtype;
};

// Sequences of given lengths with K and V in shuffled pages, and q for every position.
struct Sequences {
  Shape shape;
  std::vector<int32_t> lengths;
  int64_t page_bytes = 0;
  int64_t table_stride = 0;
  std::vector<uint8_t> slice;
  std::vector<int32_t> page_table;
  std::vector<std::vector<float>> q;  // [length, num_heads * D] of each
};

// Tokens [begin, end) of a sequence in one batch.
struct Chunk {
  int32_t sequence, begin, end;
};

class AttentionTest : public KernelTest {
 protected:
  Sequences make(const Shape& shape, const std::vector<int32_t>& lengths) {
    Sequences s;
    s.shape = shape;
    s.lengths = lengths;
    const int64_t page_elems =
        int64_t{2} * shape.tokens_per_page * shape.num_kv_heads * shape.head_size;
    s.page_bytes = page_elems * core::dtype_bytes(shape.page_dtype);
    int32_t num_pages = 1;
    for (const int32_t length : lengths) {
      s.table_stride = std::max<int64_t>(s.table_stride, length / shape.tokens_per_page + 2);
      num_pages += length / shape.tokens_per_page + 1;
    }
    std::vector<int32_t> ids(static_cast<size_t>(num_pages));
    for (int32_t i = 0; i < num_pages; ++i) ids[static_cast<size_t>(i)] = i;
    std::shuffle(ids.begin(), ids.end(), random_);
    // NaN everywhere: a kernel that lets a position outside the range touch the sum is found out.
    s.slice.assign(static_cast<size_t>(num_pages * s.page_bytes), 0xff);
    s.page_table.assign(static_cast<size_t>(s.table_stride) * lengths.size(), -1);
    size_t next = 0;
    for (size_t i = 0; i < lengths.size(); ++i) {
      int32_t* table = s.page_table.data() + i * static_cast<size_t>(s.table_stride);
      for (int32_t p = 0; p * shape.tokens_per_page < lengths[i]; ++p) table[p] = ids[next++];
      fill_kv(s, table, lengths[i]);
      s.q.push_back(normals(int64_t{lengths[i]} * shape.num_heads * shape.head_size));
    }
    return s;
  }

  void fill_kv(Sequences& s, const int32_t* table, int32_t length) {
    const Shape& shape = s.shape;
    const int64_t row_elems = int64_t{shape.num_kv_heads} * shape.head_size;
    for (int32_t position = 0; position < length; ++position) {
      uint8_t* page = s.slice.data() + table[position / shape.tokens_per_page] * s.page_bytes;
      for (int32_t part = 0; part < 2; ++part) {
        const std::vector<float> values = normals(row_elems);
        const int64_t slot = position % shape.tokens_per_page + part * shape.tokens_per_page;
        for (int64_t i = 0; i < row_elems; ++i) {
          store_element(page, shape.page_dtype, slot * row_elems + i,
                        values[static_cast<size_t>(i)]);
        }
      }
    }
  }

  // Runs a batch of chunks; `check` compares with the reference. Returns the output of each chunk.
  std::vector<std::vector<float>> run(const Sequences& s, const std::vector<Chunk>& chunks,
                                      device::ThreadTeam& team, bool check = false) {
    const Shape& shape = s.shape;
    const int64_t width = int64_t{shape.num_heads} * shape.head_size;
    std::vector<float> q;
    std::vector<int32_t> offsets{0}, positions, table;
    for (const Chunk& chunk : chunks) {
      const std::vector<float>& all = s.q[static_cast<size_t>(chunk.sequence)];
      q.insert(q.end(), all.begin() + chunk.begin * width, all.begin() + chunk.end * width);
      for (int32_t p = chunk.begin; p < chunk.end; ++p) positions.push_back(p);
      offsets.push_back(static_cast<int32_t>(positions.size()));
      const auto row = s.page_table.begin() + chunk.sequence * s.table_stride;
      table.insert(table.end(), row, row + s.table_stride);
    }
    std::vector<float> out(q.size(), 7.0f);
    const AttentionParams params{q.data(),
                                 width,
                                 out.data(),
                                 DType::kF32,
                                 shape.page_dtype,
                                 offsets.data(),
                                 positions.data(),
                                 table.data(),
                                 s.table_stride,
                                 static_cast<int32_t>(chunks.size()),
                                 static_cast<int32_t>(positions.size()),
                                 shape.num_heads,
                                 shape.num_kv_heads,
                                 shape.head_size,
                                 shape.tokens_per_page,
                                 s.slice.data(),
                                 s.page_bytes,
                                 1.0f / std::sqrt(static_cast<float>(shape.head_size)),
                                 shape.softcap,
                                 shape.window};
    poison_scratch(team);
    run_attention(params, team);
    // Values are averages of unit normals; exp is within 2 ulp and the scores' error of about 1e-6
    // enters it once.
    if (check) {
      EXPECT_TRUE(all_near(out, reference::attention(params), 2e-5))
          << shape.num_heads << "/" << shape.num_kv_heads << " heads of " << shape.head_size
          << ", page of " << shape.tokens_per_page << ", window " << shape.window << ", cap "
          << shape.softcap;
    }
    std::vector<std::vector<float>> outputs;
    for (size_t i = 0; i < chunks.size(); ++i) {
      outputs.emplace_back(out.begin() + offsets[i] * width, out.begin() + offsets[i + 1] * width);
    }
    return outputs;
  }
};

TEST_P(AttentionTest, EqualsReference) {
  const Shape shapes[] = {
      {4, 4, 64, 16, 0, 0, DType::kF32},   {8, 2, 64, 16, 0, 0, DType::kBF16},
      {6, 1, 16, 1, 0, 0, DType::kBF16},   {4, 2, 32, 7, 30, 0, DType::kF32},
      {3, 3, 80, 5, 0, 20, DType::kBF16},  {4, 2, 96, 32, 5, 65, DType::kF32},
      {2, 1, 128, 13, 0, 1, DType::kBF16}, {2, 2, 256, 3, 50, 100, DType::kF32},
      {3, 1, 10, 4, 0, 0, DType::kBF16},   {150, 1, 16, 16, 0, 0, DType::kF32},
  };
  for (const Shape& shape : shapes) {
    const Sequences s = make(shape, {1, 64, 65, 150, 200});
    // Decode rows, whole prompts and chunks from the middle in one batch.
    run(s,
        {{0, 0, 1},
         {1, 63, 64},
         {2, 0, 65},
         {3, 149, 150},
         {4, 37, 140},
         {4, 199, 200},
         {3, 60, 70}},
        team_, true);
  }
}

// The law: chunked in any way, beside anything, on any team, each token's output is bit for bit
// that of decoding alone.
TEST_P(AttentionTest, TokenDoesNotDependOnChunksOrBatch) {
  const Shape shapes[] = {{8, 2, 64, 16, 0, 0, DType::kBF16},
                          {4, 4, 80, 5, 20, 37, DType::kF32},
                          {40, 1, 32, 32, 0, 70, DType::kBF16}};
  for (const Shape& shape : shapes) {
    const int64_t width = int64_t{shape.num_heads} * shape.head_size;
    const std::vector<int32_t> lengths = {130, 97, 64, 9};
    const Sequences s = make(shape, lengths);
    std::vector<std::vector<float>> alone(lengths.size());
    device::ThreadTeam single(1);
    for (int32_t i = 0; i < 4; ++i) {
      for (int32_t p = 0; p < lengths[static_cast<size_t>(i)]; ++p) {
        const std::vector<float> out = run(s, {{i, p, p + 1}}, single)[0];
        alone[static_cast<size_t>(i)].insert(alone[static_cast<size_t>(i)].end(), out.begin(),
                                             out.end());
      }
    }
    for (int32_t trial = 0; trial < 12; ++trial) {
      device::ThreadTeam team(1 + trial % 3);
      std::vector<Chunk> chunks;
      for (int32_t i = 0; i < 4; ++i) {
        const int32_t begin = between(0, lengths[static_cast<size_t>(i)] - 1);
        chunks.push_back({i, begin, between(begin + 1, lengths[static_cast<size_t>(i)])});
      }
      std::shuffle(chunks.begin(), chunks.end(), random_);
      chunks.resize(static_cast<size_t>(between(1, 4)));
      const std::vector<std::vector<float>> outputs = run(s, chunks, team);
      for (size_t c = 0; c < chunks.size(); ++c) {
        ASSERT_TRUE(same_bits(
            outputs[c].data(),
            alone[static_cast<size_t>(chunks[c].sequence)].data() + chunks[c].begin * width,
            static_cast<int64_t>(outputs[c].size())))
            << "tokens " << chunks[c].begin << ".." << chunks[c].end << " of sequence "
            << chunks[c].sequence;
      }
    }
  }
}

SLORA_KERNEL_TEST_SUITE(AttentionTest);

}  // namespace
}  // namespace slora::kernels
