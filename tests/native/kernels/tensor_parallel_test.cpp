// What surrounds the collectives: shares of the LoRA intermediate against the plain reference, columns
// side by side, tokens taken over, parts of random weights and of an embedding.
#include <algorithm>
#include <numeric>

#include "kernel_test.hpp"

namespace slora::kernels {
namespace {

class TensorParallelTest : public KernelTest {};

// Segments of one and of two adapters, some without rows; ranks per module, one module absent.
struct Exchange {
  std::vector<core::LoraModule> modules;  // [adapter, module]
  std::vector<LoraAdapterRef> refs;
  std::vector<int32_t> begin, end, entry_offsets;
  std::vector<LoraEntry> entries;
  int64_t t_floats = 0;
  int64_t share_floats = 0;
  LoraExchangeParams params{};
};

Exchange make_exchange(int32_t parts, int32_t num_fused) {
  constexpr int32_t kModules = 4;
  const int32_t ranks[3][kModules] = {{8, 8, 3, 8}, {5, 0, 5, 2}, {16, 1, 16, 7}};
  Exchange x;
  for (const auto& adapter : ranks) {
    for (const int32_t rank : adapter) x.modules.push_back({rank, 1.0f, {0, 0}, {0, 0}});
  }
  for (int32_t a = 0; a < 3; ++a) x.refs.push_back({x.modules.data() + a * kModules, 0, 0});
  const int32_t rows[] = {3, 1, 0, 40};
  const std::vector<int32_t> lists[] = {{0}, {1, 2}, {0}, {2}};
  int32_t token = 2;  // rows before it are of no segment
  x.entry_offsets.push_back(0);
  for (size_t g = 0; g < 4; ++g) {
    x.begin.push_back(token);
    x.end.push_back(token += rows[g]);
    for (const int32_t a : lists[g]) {
      const int32_t t_stride = *std::max_element(ranks[a], ranks[a] + kModules);
      x.entries.push_back({a, 1.0f, x.t_floats, t_stride, static_cast<int32_t>(x.share_floats)});
      x.t_floats += rows[g] * kMaxFusedModules * t_stride;
      x.share_floats += rows[g] * ((t_stride + parts - 1) / parts);
    }
    x.entry_offsets.push_back(static_cast<int32_t>(x.entries.size()));
  }
  LoraExchangeParams& params = x.params;
  params.batch.num_segments = 4;
  params.batch.num_modules = kModules;
  params.batch.segment_begin = x.begin.data();
  params.batch.segment_end = x.end.data();
  params.batch.entry_offsets = x.entry_offsets.data();
  params.batch.entries = x.entries.data();
  params.batch.adapters = x.refs.data();
  params.batch.num_tokens = token;
  params.parts = parts;
  params.num_fused = num_fused;
  for (int32_t j = 0; j < num_fused; ++j) params.module_idx[j] = num_fused == 1 ? 3 : j;
  params.part_stride = num_fused * x.share_floats;
  return x;
}

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
      params.activation_dtype = DType::kF32;
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
