// What surrounds the collectives: shares of the LoRA intermediate against the plain reference,
// columns side by side, tokens taken over, parts of random weights and of an embedding.
#include <algorithm>
#include <numeric>

#include "exchange.hpp"
#include "kernel_test.hpp"

namespace slora::kernels {
namespace {

class TensorParallelTest : public KernelTest {};

// Each rank packs its share into its part; unpacked, the parts are the whole intermediate.
TEST_P(TensorParallelTest, SharesOfTheIntermediateMeetTheReference) {
  for (const int32_t parts : {1, 2, 3, 8}) {
    for (const int32_t num_fused : {1, 2, 3}) {
      SCOPED_TRACE(std::to_string(parts) + " parts, " + std::to_string(num_fused) + " modules");
      Exchange x = make_exchange(parts, num_fused);
      const auto elements = reference::lora_exchange(x.params);
      const std::vector<float> whole = normals(x.t_floats);
      std::vector<float> packed(static_cast<size_t>(parts * x.params.part_stride), NAN);
      for (int32_t part = 0; part < parts; ++part) {
        std::vector<float> own(whole.size(), NAN);  // what is not a rank's own is never read
        for (const auto& element : elements) {
          if (element.part == part)
            own[static_cast<size_t>(element.t_row + element.r_in_part)] =
                whole[static_cast<size_t>(element.t_row + element.r)];
        }
        x.params.part = part;
        x.params.t = own.data();
        x.params.packed = packed.data();
        run_lora_pack(x.params, team_);
      }
      std::vector<float> expected(packed.size(), 0.0f);
      for (const auto& element : elements) {
        expected[static_cast<size_t>(element.packed)] =
            whole[static_cast<size_t>(element.t_row + element.r)];
      }
      EXPECT_TRUE(same_bits(packed, expected));
      std::vector<float> unpacked(whole.size(), 0.0f), meant(whole.size(), 0.0f);
      x.params.t = unpacked.data();
      run_lora_unpack(x.params, team_);
      for (const auto& element : elements) {
        const auto place = static_cast<size_t>(element.t_row + element.r);
        meant[place] = whole[place];
      }
      EXPECT_TRUE(same_bits(unpacked, meant));
    }
  }
}

TEST_P(TensorParallelTest, ColumnsOfPartsComeSideBySide) {
  const std::vector<int64_t> offsets = {0, 5, 13, 13 + 700};
  const int32_t num_rows = 3;
  GatherColumnsParams params{};
  params.part_stride = num_rows * 700 + 9;
  const std::vector<float> in = normals(3 * params.part_stride);
  params.in = in.data();
  params.offsets = offsets.data();
  params.num_parts = 3;
  params.num_rows = num_rows;
  params.out_stride = offsets.back();
  std::vector<float> out(static_cast<size_t>(num_rows * params.out_stride), NAN);
  params.out = out.data();
  run_gather_columns(params, team_);
  EXPECT_TRUE(same_bits(out, reference::gather_columns(params)));
}

TEST_P(TensorParallelTest, TokensGoToTheirPlaceInTheHistory) {
  std::vector<SampleRow> rows(3);
  rows[0].history_slot = 1;
  rows[0].history_tokens = 4;
  rows[1].logits_row = -1;  // padding
  rows[2].history_tokens = 2;
  const std::vector<int32_t> tokens = {11, 22, 33};
  std::vector<int32_t> history(2 * 6, -7);
  const AppendTokensParams params{rows.data(), 3, tokens.data(), history.data(), 6};
  run_append_tokens(params, team_);
  std::vector<int32_t> expected(2 * 6, -7);
  expected[1 * 6 + 4] = 11;
  expected[2] = 33;
  EXPECT_EQ(history, expected);
}

// Rows and columns of a random matrix by themselves are those of the whole; so are the rows of an
// embedding, and zeros for tokens of other ranks.
TEST_P(TensorParallelTest, PartsOfRandomWeightsAndEmbeddingsAreThoseOfTheWhole) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    const int64_t n = 40, k = 24, first_row = 10, num_rows = 17, first_column = 5, columns = 12;
    const auto packed = [&](int64_t rows, int64_t row_elems) {
      return std::vector<uint8_t>(host_kernel_api()->weight_bytes(dtype, rows, row_elems));
    };
    std::vector<uint8_t> whole = packed(n, k), part = packed(num_rows, columns),
                         rows_alone = packed(num_rows, k);
    run_weight_fill({whole.data(), dtype, n, k, 5, 0.1f}, team_);
    WeightFillParams fill{part.data(), dtype, num_rows, columns, 5, 0.1f};
    fill.num_rows = num_rows;
    fill.source_row = first_row;
    fill.source_column = first_column;
    fill.source_k = k;
    run_weight_fill(fill, team_);
    WeightFillParams rows_fill{rows_alone.data(), dtype, num_rows, k, 5, 0.1f};
    rows_fill.source_k = k;
    for (const int64_t split : {int64_t{0}, num_rows / 2}) {
      rows_fill.row_offset = split;
      rows_fill.num_rows = split == 0 ? num_rows / 2 : num_rows - split;
      rows_fill.source_row = first_row + split;
      run_weight_fill(rows_fill, team_);
    }
    std::vector<int32_t> history(static_cast<size_t>(n)), slots(history.size(), 0);
    std::iota(history.begin(), history.end(), 0);
    const auto embed = [&](const std::vector<uint8_t>& weight, int64_t rows, int64_t row_elems,
                           int64_t vocab_begin, bool is_shard) {
      std::vector<float> out(static_cast<size_t>(n * row_elems), NAN);
      EmbedParams params{};
      params.weight = weight.data();
      params.weight_dtype = dtype;
      params.vocab_size = rows;
      params.hidden_size = row_elems;
      params.history = history.data();
      params.history_stride = n;
      params.token_slot = slots.data();
      params.token_position = history.data();
      params.num_tokens = static_cast<int32_t>(n);
      params.scale = 2.0f;
      params.out = out.data();
      params.vocab_begin = vocab_begin;
      params.is_shard = is_shard;
      run_embed(params, team_);
      return out;
    };
    const std::vector<float> all = embed(whole, n, k, 0, false);
    const std::vector<float> own = embed(part, num_rows, columns, first_row, true);
    const std::vector<float> own_rows = embed(rows_alone, num_rows, k, first_row, true);
    for (int64_t t = 0; t < n; ++t) {
      const bool is_own = t >= first_row && t < first_row + num_rows;
      for (int64_t c = 0; c < columns; ++c) {
        EXPECT_EQ(own[static_cast<size_t>(t * columns + c)],
                  is_own ? all[static_cast<size_t>(t * k + first_column + c)] : 0.0f);
      }
      for (int64_t c = 0; c < k; ++c) {
        EXPECT_EQ(own_rows[static_cast<size_t>(t * k + c)],
                  is_own ? all[static_cast<size_t>(t * k + c)] : 0.0f);
      }
    }
  }
}

SLORA_KERNEL_TEST_SUITE(TensorParallelTest);

}  // namespace
}  // namespace slora::kernels
