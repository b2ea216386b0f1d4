// Packing, checked against what each table means: on the host backend device pointers can be read
// directly.
#include "slora/batch/batch.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "slora/device/host_device.hpp"

namespace slora::batch {
namespace {

struct Fixture : testing::Test {
  std::shared_ptr<device::Device> device =
      std::make_shared<device::Device>(device::host_device_api(), 0, 1);
  device::Stream stream{device, device::StreamKind::kCompute};
  BatchStaging staging{device};
  std::vector<RowOutput> outputs;
  const std::vector<int32_t> pages_a{10, 11, 12}, pages_b{20};
  const core::LoraModule modules_a[1] = {}, modules_b[1] = {};
  const std::vector<AdapterUse> use_a{{1, 1.0f, 8, modules_a, &pages_a}};
  const std::vector<AdapterUse> use_b{{2, 1.0f, 16, modules_b, &pages_b}};
  const std::vector<AdapterUse> use_ab{{1, 0.5f, 8, modules_a, &pages_a},
                                       {2, 2.0f, 16, modules_b, &pages_b}};

  static RowInput row(int32_t slot, int32_t first, int32_t tokens, std::span<const int32_t> pages,
                      std::span<const AdapterUse> adapters, bool sample, bool logits) {
    RowInput input{};
    input.history_slot = slot;
    input.first_token = first;
    input.num_tokens = tokens;
    input.pages = pages;
    input.adapters = adapters;
    input.wants_sample = sample;
    input.wants_logits = logits;
    return input;
  }

  Batch pack(const std::vector<RowInput>& rows) {
    const Batch batch = staging.pack(rows, 4, 7, stream, outputs);
    stream.synchronize();
    return batch;
  }
};

TEST_F(Fixture, GroupsRowsByAdapterListAndLeavesBaseRowsInNoSegment) {
  const std::vector<int32_t> kv0{3, 5, 6}, kv1{7}, kv2{8, 9}, kv3{1}, kv4{2};
  const Batch batch =
      pack({row(0, 3, 7, kv0, use_a, true, false), row(1, 0, 1, kv1, {}, true, false),
            row(2, 4, 2, kv2, use_b, false, true), row(3, 0, 2, kv3, use_a, true, false),
            row(4, 1, 1, kv4, use_ab, true, false)});
  // Packed order: adapter 1 (rows 0 and 3, more tokens than go in pieces), base (row 1), adapter 2
  // (row 2), the list of two (row 4).
  EXPECT_EQ(batch.num_tokens, 13);
  EXPECT_EQ(std::vector<int32_t>(batch.row_offsets, batch.row_offsets + 6),
            (std::vector<int32_t>{0, 7, 9, 10, 12, 13}));
  EXPECT_EQ(std::vector<int32_t>(batch.token_slot, batch.token_slot + 13),
            (std::vector<int32_t>{0, 0, 0, 0, 0, 0, 0, 3, 3, 1, 2, 2, 4}));
  EXPECT_EQ(std::vector<int32_t>(batch.token_position, batch.token_position + 13),
            (std::vector<int32_t>{3, 4, 5, 6, 7, 8, 9, 0, 1, 0, 4, 5, 1}));
  // Position 3 is in the first page of four tokens, 4 to 7 in the second.
  EXPECT_EQ(std::vector<int32_t>(batch.token_page, batch.token_page + 13),
            (std::vector<int32_t>{3, 5, 5, 5, 5, 6, 6, 1, 1, 7, 9, 9, 2}));
  EXPECT_EQ(batch.page_table_stride, 3);
  EXPECT_EQ(batch.page_table[0 * 3 + 1], 5);

  ASSERT_EQ(batch.lora.num_segments, 3);
  EXPECT_EQ(std::vector<int32_t>(batch.lora.segment_begin, batch.lora.segment_begin + 3),
            (std::vector<int32_t>{0, 10, 12}));
  EXPECT_EQ(std::vector<int32_t>(batch.lora.segment_end, batch.lora.segment_end + 3),
            (std::vector<int32_t>{9, 12, 13}));
  EXPECT_EQ(std::vector<int32_t>(batch.lora.entry_offsets, batch.lora.entry_offsets + 4),
            (std::vector<int32_t>{0, 1, 2, 4}));
  EXPECT_EQ(batch.lora.adapters[0].modules, modules_a);
  EXPECT_EQ(batch.lora.adapters[1].modules, modules_b);
  EXPECT_EQ(batch.lora.pages[batch.lora.adapters[1].page_offset], 20);
  EXPECT_EQ(batch.lora.entries[2].weight, 0.5f);
  EXPECT_EQ(batch.lora.entries[3].weight, 2.0f);

  // Intermediates: rows * 3 fused modules * the adapter's own lora_rank, one after another.
  EXPECT_EQ(batch.lora.entries[1].t_offset, 9 * 3 * 8);
  EXPECT_EQ(batch.lora.entries[2].t_offset, 9 * 3 * 8 + 2 * 3 * 16);
  EXPECT_EQ(batch.lora_t_floats, 9 * 3 * 8 + 2 * 3 * 16 + 3 * 8 + 3 * 16);

  // Outputs: one a sampled row, both tokens of the row that wants logits.
  EXPECT_EQ(batch.num_outputs, 6);
  EXPECT_FALSE(batch.outputs_are_all_tokens);
  EXPECT_EQ(std::vector<int32_t>(batch.output_rows, batch.output_rows + 6),
            (std::vector<int32_t>{6, 8, 9, 10, 11, 12}));
  EXPECT_EQ(outputs[2].sample_idx, -1);
  EXPECT_EQ(outputs[2].logits_begin, 3);
  EXPECT_EQ(outputs[2].num_logits, 2);
  EXPECT_EQ(outputs[4].sample_idx, 3);
  EXPECT_EQ(batch.sample_rows[3].logits_row, 5);
}

TEST_F(Fixture, CutsShortSegmentsOfALargeBatchIntoPieces) {
  const std::vector<int32_t> kv{1};
  const std::vector<AdapterUse> wide{{3, 0.25f, 40, modules_b, &pages_b}};
  std::vector<RowInput> rows(30, row(0, 0, 1, kv, use_a, true, false));
  rows.push_back(row(1, 0, 1, kv, {}, true, false));
  rows.push_back(row(2, 0, 1, kv, use_ab, true, false));
  rows.push_back(row(3, 0, 1, kv, wide, true, false));
  rows.push_back(row(4, 0, 3, kv, wide, true, false));
  const Batch batch = pack(rows);
  EXPECT_EQ(batch.num_long_rows, 1);
  EXPECT_EQ(batch.num_long_tokens, 3);
  const kernels::LoraBatch& lora = batch.lora;
  ASSERT_EQ(lora.num_segments, 3);
  EXPECT_EQ(lora.num_long_segments, 1);  // 30 rows of adapter 1, at the front
  EXPECT_EQ(lora.num_long_tokens, 30);
  EXPECT_EQ(lora.segment_end[0], 30);

  // One for each of the other two segments, the one of lora_rank 40 first.
  ASSERT_EQ(lora.num_pieces[1], 2);
  ASSERT_LE(lora.num_pieces[1], lora.max_expand_pieces);
  const kernels::LoraPiece& first = lora.expand_pieces[0];
  EXPECT_EQ(first.modules, modules_b);
  EXPECT_EQ(first.weight, 0.25f);
  EXPECT_EQ(first.t_stride, 40);
  EXPECT_EQ(first.num_rows, 4);
  EXPECT_EQ(lora.pages[first.page_offset], 20);
  EXPECT_EQ(lora.expand_pieces[1].entry_end - lora.expand_pieces[1].entry_begin, 2);
  EXPECT_EQ(lora.expand_pieces[1].first_token, 35);

  // Of 16 ranks each: three of lora_rank 40, one of 16, one of 8; most ranks first.
  ASSERT_EQ(lora.num_pieces[0], 5);
  const int32_t ranks[] = {0, 16, 0, 32, 0}, strides[] = {40, 40, 16, 40, 8};
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(lora.shrink_pieces[i].rank_begin, ranks[i]) << i;
    EXPECT_EQ(lora.shrink_pieces[i].t_stride, strides[i]) << i;
    const kernels::LoraEntry& entry = lora.entries[lora.shrink_pieces[i].entry_begin];
    EXPECT_EQ(lora.shrink_pieces[i].t_offset, entry.t_offset) << i;
  }
}

TEST_F(Fixture, ShapesSayHowManySegmentsAreLong) {
  const std::vector<int32_t> kv{1};
  std::vector<RowInput> rows(40, row(0, 0, 1, kv, use_a, true, false));
  const device::Buffer target(device, device::MemoryKind::kDevice, 1 << 20);
  const auto pack_shaped = [&] {
    const std::optional<DecodeShape> shape = decode_shape(rows, 64);
    EXPECT_TRUE(shape);
    Batch batch{};
    uint64_t bytes = 0;
    EXPECT_TRUE(staging.pack_shape(rows, *shape, 4, 7, stream, target, outputs, batch, bytes));
    stream.synchronize();
    return std::pair(*shape, batch.lora);
  };
  // One long segment and no other: no launch needs to look at more than the bound's eight.
  const auto [alone, of_alone] = pack_shaped();
  EXPECT_FALSE(alone.has_pieces);
  EXPECT_EQ(alone.long_segments, 8);
  EXPECT_EQ(of_alone.num_segments, 8);
  EXPECT_EQ(of_alone.max_expand_pieces, 0);
  EXPECT_EQ(of_alone.segment_end[0], 40);
  EXPECT_EQ(of_alone.segment_end[1] - of_alone.segment_begin[1], 0);

  rows.push_back(row(1, 0, 1, kv, use_b, true, false));
  const auto [mixed, of_mixed] = pack_shaped();
  EXPECT_TRUE(mixed.has_pieces);
  EXPECT_EQ(of_mixed.num_long_segments, 8);
  EXPECT_EQ(of_mixed.num_long_tokens, mixed.rows);
  EXPECT_EQ(of_mixed.num_pieces[1], 1);
  EXPECT_EQ(of_mixed.expand_pieces[0].first_token, 40);

  rows.assign(40, row(0, 0, 1, kv, {}, true, false));
  rows.push_back(row(1, 0, 1, kv, use_b, true, false));
  const auto [few, of_few] = pack_shaped();
  EXPECT_EQ(few.long_segments, 0);
  EXPECT_EQ(of_few.num_long_segments, 0);
}

TEST(DecodeShapes, CoverWhatNeedsNoMoreOfAnything) {
  DecodeShape wide;
  wide.rows = 32;
  wide.table_stride = 128;
  wide.max_lora_rank = 64;
  wide.lora_modules = 0b111;
  wide.has_pieces = true;
  wide.long_segments = 8;
  EXPECT_TRUE(covers(wide, wide));
  const auto changed = [&](const auto& change) {
    DecodeShape shape = wide;
    change(shape);
    return shape;
  };
  const DecodeShape narrower[] = {
      changed([](DecodeShape& shape) { shape.table_stride = 64; }),
      changed([](DecodeShape& shape) { shape.max_lora_rank = 8; }),
      changed([](DecodeShape& shape) { shape.lora_modules = 0b101; }),
      changed([](DecodeShape& shape) { shape.has_pieces = false; }),
      changed([](DecodeShape& shape) { shape.long_segments = 0; }),
  };
  for (const DecodeShape& shape : narrower) {
    EXPECT_TRUE(covers(wide, shape));
    EXPECT_FALSE(covers(shape, wide));
    EXPECT_TRUE(is_narrower(shape, wide));
    EXPECT_FALSE(is_narrower(wide, shape));
  }
  const DecodeShape others[] = {
      changed([](DecodeShape& shape) { shape.rows = 28; }),  // a step costs as its rows
      changed([](DecodeShape& shape) { shape.has_epilogue = true; }),
      changed([](DecodeShape& shape) { shape.lora_modules = 0b1001; }),
      changed([](DecodeShape& shape) { shape.max_lora_rank = 0; }),
  };
  for (const DecodeShape& shape : others) EXPECT_FALSE(covers(wide, shape));
}

TEST(DecodeShapes, OfMostTrafficCoverItAndAreEachOnce) {
  constexpr uint32_t kModules = 0x7f;
  const std::vector<DecodeShape> shapes = common_shapes(100, 4096, kModules);
  for (size_t i = 0; i < shapes.size(); ++i)
    for (size_t k = 0; k < i; ++k) EXPECT_FALSE(shapes[i] == shapes[k]) << i << ", " << k;
  const std::vector<int32_t> kv(100, 3), none;
  const core::LoraModule modules[1] = {};
  std::vector<AdapterUse> uses;
  for (uint64_t id = 1; id <= 100; ++id)
    uses.push_back({id, 1.0f, static_cast<int32_t>(id % 64) + 1, modules, &none, nullptr, false,
                    static_cast<uint32_t>(id) & kModules});
  for (int32_t rows = 1; rows <= 100; ++rows) {
    for (const int32_t adapters : {0, 1, 5, 100}) {
      for (const size_t pages : {1, 64, 65, 100}) {
        std::vector<RowInput> inputs;
        for (int32_t i = 0; i < rows; ++i) {
          const auto use = adapters == 0
                               ? std::span<const AdapterUse>{}
                               : std::span(uses).subspan(static_cast<size_t>(i % adapters), 1);
          inputs.push_back(Fixture::row(i, 5, 1, std::span(kv).first(pages), use, true, false));
        }
        const auto shape = decode_shape(inputs, 100);
        ASSERT_TRUE(shape);
        EXPECT_TRUE(std::any_of(shapes.begin(), shapes.end(),
                                [&](const DecodeShape& common) { return covers(common, *shape); }))
            << rows << " rows, " << adapters << " adapters, " << pages << " pages";
      }
    }
  }
  // A short context has no longer ones.
  for (const DecodeShape& shape : common_shapes(8, 20, kModules)) EXPECT_EQ(shape.table_stride, 64);
}

TEST_F(Fixture, PacksPaddingAloneForEveryCommonShape) {
  for (const DecodeShape& shape : common_shapes(64, 128, 0x7f)) {
    Batch batch{};
    uint64_t bytes = 0;
    const device::Buffer nothing;
    ASSERT_FALSE(staging.pack_shape({}, shape, 16, 7, stream, nothing, outputs, batch, bytes));
    const device::Buffer block(device, device::MemoryKind::kDevice, bytes);
    ASSERT_TRUE(staging.pack_shape({}, shape, 16, 7, stream, block, outputs, batch, bytes));
    stream.synchronize();
    EXPECT_EQ(batch.num_rows, shape.rows);
    for (int32_t i = 0; i < shape.rows; ++i) {
      EXPECT_LT(batch.token_page[i], 0);
      EXPECT_EQ(batch.row_offsets[i + 1], 0);
      EXPECT_LT(batch.sample_rows[i].logits_row, 0);
    }
    for (int32_t g = 0; g < batch.lora.num_segments; ++g)
      EXPECT_EQ(batch.lora.segment_begin[g], batch.lora.segment_end[g]);
  }
}

TEST_F(Fixture, CutsNoPiecesOfASmallBatch) {
  const std::vector<int32_t> kv{1};
  const std::vector<RowInput> rows(kLeastPieceTokens - 1, row(0, 0, 1, kv, use_a, true, false));
  EXPECT_EQ(pack(rows).lora.max_expand_pieces, 0);
  EXPECT_EQ(pack(rows).lora.num_long_segments, -1);
}

TEST_F(Fixture, KeepsListsApartThatDifferInWeightOnly) {
  const std::vector<int32_t> kv{1};
  const std::vector<AdapterUse> half{{1, 0.5f, 8, modules_a, &pages_a}};
  const Batch batch =
      pack({row(0, 0, 1, kv, use_a, true, false), row(1, 0, 1, kv, half, true, false),
            row(2, 0, 1, kv, use_a, true, false)});
  ASSERT_EQ(batch.lora.num_segments, 2);
  EXPECT_EQ(batch.lora.segment_end[0] - batch.lora.segment_begin[0], 1);
  EXPECT_EQ(batch.lora.segment_end[1] - batch.lora.segment_begin[1], 2);
  EXPECT_TRUE(batch.outputs_are_all_tokens);
}

TEST_F(Fixture, CarriesEachRowsBiasesToItsOwnSample) {
  const std::vector<int32_t> kv{1}, tokens{4, 5}, other{6};
  const std::vector<float> values{1.0f, 2.0f}, other_value{3.0f};
  RowInput first = row(0, 0, 1, kv, use_b, true, false), second = row(1, 0, 1, kv, {}, true, false);
  first.bias_tokens = tokens, first.bias_values = values;
  second.bias_tokens = other, second.bias_values = other_value;
  const Batch batch = pack({first, second});
  const kernels::SampleRow& of_first = batch.sample_rows[outputs[0].sample_idx];
  EXPECT_EQ(of_first.num_bias, 2);
  EXPECT_EQ(batch.bias_tokens[of_first.bias_offset + 1], 5);
  EXPECT_EQ(batch.bias_values[batch.sample_rows[outputs[1].sample_idx].bias_offset], 3.0f);
}

TEST_F(Fixture, HasNoSegmentsForABatchOfBaseRowsOnly) {
  const std::vector<int32_t> kv{1};
  const Batch batch = pack({row(0, 0, 1, kv, {}, true, false)});
  EXPECT_EQ(batch.lora.num_segments, 0);
  EXPECT_EQ(batch.lora_t_floats, 0);
}

}  // namespace
}  // namespace slora::batch
