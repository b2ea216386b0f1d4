// Packing, checked against what each table means: on the host backend device pointers can be read
// directly.
#include "slora/batch/batch.hpp"

#include <gtest/gtest.h>

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
  const std::vector<int32_t> kv0{3, 5}, kv1{7}, kv2{8, 9}, kv3{1}, kv4{2};
  const Batch batch =
      pack({row(0, 3, 3, kv0, use_a, true, false), row(1, 0, 1, kv1, {}, true, false),
            row(2, 4, 2, kv2, use_b, false, true), row(3, 0, 2, kv3, use_a, true, false),
            row(4, 1, 1, kv4, use_ab, true, false)});
  // Packed order: adapter 1 (rows 0 and 3, more tokens than go in pieces), base (row 1), adapter 2
  // (row 2), the list of two (row 4).
  EXPECT_EQ(batch.num_tokens, 9);
  EXPECT_EQ(std::vector<int32_t>(batch.row_offsets, batch.row_offsets + 6),
            (std::vector<int32_t>{0, 3, 5, 6, 8, 9}));
  EXPECT_EQ(std::vector<int32_t>(batch.token_slot, batch.token_slot + 9),
            (std::vector<int32_t>{0, 0, 0, 3, 3, 1, 2, 2, 4}));
  EXPECT_EQ(std::vector<int32_t>(batch.token_position, batch.token_position + 9),
            (std::vector<int32_t>{3, 4, 5, 0, 1, 0, 4, 5, 1}));
  // Position 3 is in the first page of four tokens, 4 and 5 in the second.
  EXPECT_EQ(std::vector<int32_t>(batch.token_page, batch.token_page + 9),
            (std::vector<int32_t>{3, 5, 5, 1, 1, 7, 9, 9, 2}));
  EXPECT_EQ(batch.page_table_stride, 2);
  EXPECT_EQ(batch.page_table[0 * 2 + 1], 5);

  ASSERT_EQ(batch.lora.num_segments, 3);
  EXPECT_EQ(std::vector<int32_t>(batch.lora.segment_begin, batch.lora.segment_begin + 3),
            (std::vector<int32_t>{0, 6, 8}));
  EXPECT_EQ(std::vector<int32_t>(batch.lora.segment_end, batch.lora.segment_end + 3),
            (std::vector<int32_t>{5, 8, 9}));
  EXPECT_EQ(std::vector<int32_t>(batch.lora.entry_offsets, batch.lora.entry_offsets + 4),
            (std::vector<int32_t>{0, 1, 2, 4}));
  EXPECT_EQ(batch.lora.adapters[0].modules, modules_a);
  EXPECT_EQ(batch.lora.adapters[1].modules, modules_b);
  EXPECT_EQ(batch.lora.pages[batch.lora.adapters[1].page_offset], 20);
  EXPECT_EQ(batch.lora.entries[2].weight, 0.5f);
  EXPECT_EQ(batch.lora.entries[3].weight, 2.0f);

  // Intermediates: rows * 3 fused modules * the adapter's own lora_rank, one after another.
  EXPECT_EQ(batch.lora.entries[1].t_offset, 5 * 3 * 8);
  EXPECT_EQ(batch.lora.entries[2].t_offset, 5 * 3 * 8 + 2 * 3 * 16);
  EXPECT_EQ(batch.lora_t_floats, 5 * 3 * 8 + 2 * 3 * 16 + 3 * 8 + 3 * 16);

  // Outputs: one a sampled row, both tokens of the row that wants logits.
  EXPECT_EQ(batch.num_outputs, 6);
  EXPECT_FALSE(batch.outputs_are_all_tokens);
  EXPECT_EQ(std::vector<int32_t>(batch.output_rows, batch.output_rows + 6),
            (std::vector<int32_t>{2, 4, 5, 6, 7, 8}));
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
