// Norms of heads, caps, and what adapters do beside shrink and expand: each against its reference,
// and for the law: a row's bits are those of the row alone.
#include <algorithm>

#include "kernel_test.hpp"

namespace slora::kernels {
namespace {

class ExtrasTest : public KernelTest {};

TEST_P(ExtrasTest, HeadNormIsThatOfTheReferenceAndOfEachTokenAlone) {
  constexpr int32_t kTokens = 7;
  constexpr int32_t kHeadSize = 22;
  HeadNormParams params{};
  params.row_stride = (3 + 2 * 2) * kHeadSize;
  params.activation_dtype = DType::kF32;
  params.num_tokens = kTokens;
  params.num_heads = 3;
  params.num_kv_heads = 2;
  params.head_size = kHeadSize;
  const std::vector<float> q_weight = normals(kHeadSize);
  const std::vector<float> k_weight = normals(kHeadSize);
  params.q_weight = q_weight.data();
  params.k_weight = k_weight.data();
  params.eps = 1e-6f;
  params.weight_offset = 1.0f;
  const std::vector<float> input = normals(kTokens * params.row_stride);
  std::vector<float> qkv = input;
  params.qkv = qkv.data();
  const std::vector<double> expected = reference::head_norm(params);
  run_head_norm(params, team_);
  EXPECT_TRUE(all_near(qkv, expected, 2e-5));
  for (int32_t t = 0; t < kTokens; ++t) {
    std::vector<float> alone(input.begin() + t * params.row_stride,
                             input.begin() + (t + 1) * params.row_stride);
    HeadNormParams one = params;
    one.qkv = alone.data();
    one.num_tokens = 1;
    run_head_norm(one, team_);
    EXPECT_TRUE(same_bits(alone.data(), qkv.data() + t * params.row_stride, params.row_stride));
  }
}

TEST_P(ExtrasTest, SoftcapIsAScaledTanh) {
  const std::vector<float> input = normals(9001, 40.0f);
  std::vector<float> y = input;
  run_softcap({y.data(), static_cast<int64_t>(y.size()), 30.0f}, team_);
  for (size_t i = 0; i < y.size(); ++i)
    ASSERT_NEAR(y[i], 30.0 * std::tanh(input[i] / 30.0), 1e-5) << i;
}

// Two adapters of one module each: one with factor and offset, one with an offset, in pages that
// are shorter than a row.
TEST_P(ExtrasTest, EpilogueIsThatOfTheReferenceInPagesOfBothDtypes) {
  constexpr int64_t kOut = 1100;
  constexpr int64_t kPageElems = 256;
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    const int64_t elems_a_float = 4 / core::dtype_bytes(dtype);
    const int64_t row_elems = kOut * elems_a_float;
    const int64_t pages_a_row = row_elems / kPageElems + 2;
    const std::vector<float> values = normals(4 * pages_a_row * kPageElems);
    std::vector<uint8_t> slice(
        static_cast<size_t>(3 * pages_a_row * kPageElems * core::dtype_bytes(dtype)));
    std::memcpy(slice.data(), values.data(), slice.size());
    std::vector<int32_t> pages(static_cast<size_t>(3 * pages_a_row));
    for (size_t i = 0; i < pages.size(); ++i) pages[i] = static_cast<int32_t>(i);
    std::shuffle(pages.begin(), pages.end(), random_);
    const auto second = static_cast<int32_t>(pages_a_row);
    const core::LoraModule modules[2][1] = {
        {{0, 0, {0, 0}, {0, 0}, core::kHasFactor | core::kHasOffset, {0, 6}, {second, 2}}},
        {{0, 0, {0, 0}, {0, 0}, core::kHasOffset, {0, 0}, {0, 10}}}};
    const LoraAdapterRef adapters[2] = {{modules[0], 0, 0}, {modules[1], 2 * second, 0}};
    const LoraEntry entries[3] = {{0, 1.0f, 0, 0, 0}, {1, 0.5f, 0, 0, 0}, {1, -2.0f, 0, 0, 0}};
    const int32_t begin[] = {1, 4};
    const int32_t end[] = {3, 9};
    const int32_t offsets[] = {0, 1, 3};
    LoraEpilogueParams params{};
    params.batch = {2, 1, begin, end, offsets, entries, adapters, pages.data()};
    params.y_stride = kOut + 5;
    params.activation_dtype = DType::kF32;
    params.page_dtype = dtype;
    params.num_fused = 1;
    params.out_dim[0] = kOut;
    params.column_offset[0] = 3;
    params.slice = slice.data();
    params.page_bytes = kPageElems * core::dtype_bytes(dtype);
    const std::vector<float> input = normals(10 * params.y_stride);
    std::vector<float> y = input;
    params.y = y.data();
    const std::vector<double> expected = reference::lora_epilogue(params, 10);
    run_lora_epilogue(params, team_);
    EXPECT_TRUE(all_near(y, expected, 2e-5));
    // Row 8 alone.
    const int32_t alone_begin[] = {0, 0};
    const int32_t alone_end[] = {0, 1};
    std::vector<float> alone(input.begin() + 8 * params.y_stride,
                             input.begin() + 9 * params.y_stride);
    LoraEpilogueParams one = params;
    one.batch.segment_begin = alone_begin;
    one.batch.segment_end = alone_end;
    one.y = alone.data();
    run_lora_epilogue(one, team_);
    EXPECT_TRUE(same_bits(alone.data(), y.data() + 8 * params.y_stride, params.y_stride));
  }
}

// An adapter with an update, one with three rows of its own, one with every row.
struct WideAdapters {
  std::vector<float> a, b;
  std::vector<uint8_t> rows;
  std::vector<int32_t> ids;
  WideModule modules[3][2];
  LoraAdapterRef refs[3];
};

class WideTest : public KernelTest {
 protected:
  static constexpr int32_t kRank = 3;
  static constexpr int64_t kHidden = 37;
  static constexpr int64_t kVocab = 5000;

  void make(int32_t kind, DType dtype) {
    wide_.a = normals(kind == 0 ? kVocab * kRank : kRank * kHidden, 0.3f);
    wide_.b = normals(kind == 0 ? kRank * kHidden : kRank * kVocab, 0.3f);
    wide_.rows.resize(static_cast<size_t>(kVocab * kHidden * core::dtype_bytes(dtype)));
    const std::vector<float> values = normals(kVocab * kHidden);
    for (size_t i = 0; i < values.size(); ++i)
      store_element(wide_.rows.data(), dtype, static_cast<int64_t>(i), values[i]);
    wide_.ids = {3, 4096, 4999};
    for (int32_t adapter = 0; adapter < 3; ++adapter) {
      wide_.modules[adapter][0] = wide_.modules[adapter][1] = WideModule{};
      wide_.refs[adapter] = {nullptr, 0, 0, wide_.modules[adapter]};
    }
    wide_.modules[0][kind] = {kRank, 0.5f, wide_.a.data(), wide_.b.data(), 0, 0, nullptr, nullptr};
    wide_.modules[1][kind] = {0, 0, nullptr, nullptr, 3, 0, wide_.ids.data(), wide_.rows.data()};
    wide_.modules[2][kind] = {
        kRank, 2.0f,    wide_.a.data(),   wide_.b.data(), static_cast<int32_t>(kVocab),
        0,     nullptr, wide_.rows.data()};
  }

  WideAdapters wide_;
};

constexpr int32_t kBegin[] = {1, 4, 6};
constexpr int32_t kEnd[] = {4, 6, 9};
constexpr int32_t kOffsets[] = {0, 1, 2, 4};
constexpr LoraEntry kEntries[] = {
    {0, 0.75f, 0, 0, 0}, {1, 1.0f, 0, 0, 0}, {2, 1.0f, 0, 0, 0}, {0, -1.0f, 0, 0, 0}};

TEST_P(WideTest, EmbedIsThatOfTheReferenceAndOfEachTokenAlone) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    make(0, dtype);
    const std::vector<int32_t> history = {7, 8, 9, 4999, 3, 11, 0, 4999, 77, 5};
    std::vector<int32_t> slot(10, 0);
    std::vector<int32_t> position(10);
    for (int32_t t = 0; t < 10; ++t) position[static_cast<size_t>(t)] = t;
    LoraEmbedParams params{};
    params.batch = {3, 1, kBegin, kEnd, kOffsets, kEntries, wide_.refs, nullptr};
    params.page_dtype = dtype;
    params.history = history.data();
    params.history_stride = 10;
    params.token_slot = slot.data();
    params.token_position = position.data();
    params.hidden_size = kHidden;
    params.scale = 8.0f;
    std::vector<float> out = normals(10 * kHidden);
    const std::vector<float> input = out;
    params.out = out.data();
    const std::vector<double> expected = reference::lora_embed(params, 10);
    run_lora_embed(params, team_);
    EXPECT_TRUE(all_near(out, expected, 1e-4));
    const int32_t begin[] = {0, 0, 0};
    const int32_t end[] = {0, 0, 1};
    LoraEmbedParams one = params;
    one.batch.segment_begin = begin;
    one.batch.segment_end = end;
    one.token_position = position.data() + 7;
    std::vector<float> alone(input.begin() + 7 * kHidden, input.begin() + 8 * kHidden);
    one.out = alone.data();
    run_lora_embed(one, team_);
    EXPECT_TRUE(same_bits(alone.data(), out.data() + 7 * kHidden, kHidden));
  }
}

TEST_P(WideTest, HeadIsThatOfTheReferenceAndOfEachRowAlone) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    make(1, dtype);
    LoraHeadParams params{};
    params.batch = {3, 1, kBegin, kEnd, kOffsets, kEntries, wide_.refs, nullptr};
    const std::vector<float> x = normals(10 * kHidden);
    params.x = x.data();
    params.x_stride = kHidden;
    params.activation_dtype = DType::kF32;
    params.page_dtype = dtype;
    params.hidden_size = kHidden;
    params.vocab_size = kVocab;
    std::vector<float> y = normals(10 * kVocab);
    const std::vector<float> input = y;
    params.y = y.data();
    const std::vector<double> expected = reference::lora_head(params, 10);
    run_lora_head(params, team_);
    EXPECT_TRUE(all_near(y, expected, 1e-4));
    const int32_t begin[] = {0, 0, 0};
    const int32_t end[] = {0, 0, 1};
    LoraHeadParams one = params;
    one.batch.segment_begin = begin;
    one.batch.segment_end = end;
    one.x = x.data() + 7 * kHidden;
    std::vector<float> alone(input.begin() + 7 * kVocab, input.begin() + 8 * kVocab);
    one.y = alone.data();
    run_lora_head(one, team_);
    EXPECT_TRUE(same_bits(alone.data(), y.data() + 7 * kVocab, kVocab));
  }
}

SLORA_KERNEL_TEST_SUITE(ExtrasTest);
SLORA_KERNEL_TEST_SUITE(WideTest);

}  // namespace
}  // namespace slora::kernels
