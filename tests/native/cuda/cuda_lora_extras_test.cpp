// Epilogues, changed embeddings and changed heads against their references.
#include <algorithm>
#include <numeric>

#include "cuda_test.hpp"

namespace slora::kernels {
namespace {

class CudaLoraExtrasTest : public CudaTest {
 protected:
  // Segments {[1, 3), [4, 9)} of ten tokens, and a third that is empty.
  LoraBatch tables(const std::vector<LoraEntry>& entries, const std::vector<int32_t>& offsets) {
    begin_ = upload(std::vector<int32_t>{1, 4, 10});
    end_ = upload(std::vector<int32_t>{3, 9, 10});
    offsets_ = upload(offsets);
    entries_ = upload(entries);
    LoraBatch batch{};
    batch.num_segments = 3;
    batch.num_modules = 1;
    batch.segment_begin = begin_.as<int32_t>();
    batch.segment_end = end_.as<int32_t>();
    batch.entry_offsets = offsets_.as<int32_t>();
    batch.entries = entries_.as<LoraEntry>();
    batch.num_tokens = 10;
    return batch;
  }
  static LoraBatch host_tables(const std::vector<LoraEntry>& entries,
                               const std::vector<int32_t>& offsets) {
    static const int32_t begin[] = {1, 4};
    static const int32_t end[] = {3, 9};
    LoraBatch batch{};
    batch.num_segments = 2;
    batch.num_modules = 1;
    batch.segment_begin = begin;
    batch.segment_end = end;
    batch.entry_offsets = offsets.data();
    batch.entries = entries.data();
    return batch;
  }

  device::Buffer begin_, end_, offsets_, entries_;
};

// Pages shorter than a row of fp32 numbers, runs at even and odd elements.
TEST_F(CudaLoraExtrasTest, EpilogueEqualsReference) {
  constexpr int64_t kOut = 1100;
  constexpr int64_t kPageElems = 256;
  for (const DType dtype : kAllDTypes) {
    const int64_t elem_bytes = core::dtype_bytes(dtype);
    const int64_t pages_a_row = kOut * 4 / (elem_bytes * kPageElems) + 2;
    std::vector<uint8_t> slice(static_cast<size_t>(3 * pages_a_row * kPageElems * elem_bytes));
    std::vector<int32_t> pages(static_cast<size_t>(3 * pages_a_row));
    std::iota(pages.begin(), pages.end(), 0);
    std::shuffle(pages.begin(), pages.end(), random_);
    const auto second = static_cast<int32_t>(pages_a_row);
    const std::vector<core::LoraModule> modules = {
        {0, 0, {0, 0}, {0, 0}, core::kHasFactor | core::kHasOffset, {0, 7}, {second, 2}},
        {0, 0, {0, 0}, {0, 0}, core::kHasOffset, {0, 0}, {0, 10}}};
    const std::vector<LoraAdapterRef> adapters = {{&modules[0], 0, 0},
                                                  {&modules[1], 2 * second, 0}};
    // Three runs of fp32 numbers, at a run's own element offset, page after page.
    const auto write_run = [&](const LoraAdapterRef& adapter, core::PagePosition run) {
      const std::vector<float> values = normals(kOut);
      const auto* bytes = reinterpret_cast<const uint8_t*>(values.data());
      for (int64_t i = 0; i < kOut * 4; ++i) {
        const int64_t linear = run.offset * elem_bytes + i;
        const int64_t page = pages[static_cast<size_t>(adapter.page_offset + run.page +
                                                       linear / (kPageElems * elem_bytes))];
        slice[static_cast<size_t>(page * kPageElems * elem_bytes +
                                  linear % (kPageElems * elem_bytes))] = bytes[i];
      }
    };
    write_run(adapters[0], modules[0].factor);
    write_run(adapters[0], modules[0].offset);
    write_run(adapters[1], modules[1].offset);
    const std::vector<LoraEntry> entries = {
        {0, 1.0f, 0, 0, 0}, {1, 0.5f, 0, 0, 0}, {0, -2.0f, 0, 0, 0}};
    const std::vector<int32_t> offsets = {0, 1, 3, 3};
    const int64_t stride = kOut + 5;
    const std::vector<float> input = normals(10 * stride, 1.0f, dtype);

    const device::Buffer device_modules = upload(modules);
    const device::Buffer device_adapters = upload(
        std::vector<LoraAdapterRef>{{device_modules.as<core::LoraModule>(), 0, 0},
                                    {device_modules.as<core::LoraModule>() + 1, 2 * second, 0}});
    const device::Buffer device_pages = upload(pages), device_slice = upload(slice);
    const device::Buffer y = upload_as(input, dtype);
    LoraEpilogueParams params{};
    params.batch = tables(entries, offsets);
    params.batch.adapters = device_adapters.as<LoraAdapterRef>();
    params.batch.pages = device_pages.as<int32_t>();
    params.y = y.data();
    params.y_stride = stride;
    params.activation_dtype = params.page_dtype = dtype;
    params.num_fused = 1;
    params.out_dim[0] = kOut;
    params.column_offset[0] = 3;
    params.slice = device_slice.data();
    params.page_bytes = kPageElems * elem_bytes;
    ASSERT_EQ(kernels().lora_epilogue(stream(), &params), 0);
    const std::vector<float> out = download(y, dtype);

    LoraEpilogueParams host = params;
    host.batch = host_tables(entries, offsets);
    host.batch.adapters = adapters.data();
    host.batch.pages = pages.data();
    std::vector<float> base = input;
    host.y = base.data();
    host.slice = slice.data();
    EXPECT_LT(relative_error(out, reference::lora_epilogue(host, 10)), tolerance(dtype))
        << name(dtype);
    for (const int64_t row : {0, 3, 9}) {
      EXPECT_EQ(
          std::memcmp(&out[static_cast<size_t>(row * stride)],
                      &input[static_cast<size_t>(row * stride)], static_cast<size_t>(stride) * 4),
          0);
    }
  }
}

// An adapter with an update, one with three rows of its own, one with every row and an update.
class CudaWideTest : public CudaLoraExtrasTest {
 protected:
  static constexpr int32_t kRank = 35;
  static constexpr int64_t kHidden = 300;
  static constexpr int64_t kVocab = 2100;

  struct Wide {
    std::vector<float> a, b;
    std::vector<uint8_t> rows;
    std::vector<int32_t> ids{3, 1024, 2099};
    device::Buffer device_a, device_b, device_rows, device_ids, device_modules, device_refs;
    std::vector<WideModule> modules;
    std::vector<LoraAdapterRef> refs;
  };

  // kind 0: embedding, 1: head.
  Wide make(int32_t kind, DType dtype) {
    Wide wide;
    wide.a = normals(kind == 0 ? kVocab * kRank : kRank * kHidden, 0.1f);
    wide.b = normals(kind == 0 ? kRank * kHidden : kRank * kVocab, 0.1f);
    wide.rows = stored(normals(kVocab * kHidden), dtype);
    wide.device_a = upload(wide.a);
    wide.device_b = upload(wide.b);
    wide.device_rows = upload(wide.rows);
    wide.device_ids = upload(wide.ids);
    const auto modules_of = [&](const float* a, const float* b, const void* rows,
                                const int32_t* ids) {
      std::vector<WideModule> modules(6);
      modules[static_cast<size_t>(kind)] = {kRank, 0.5f, a, b, 0, 0, nullptr, nullptr};
      modules[static_cast<size_t>(2 + kind)] = {0, 0, nullptr, nullptr, 3, 0, ids, rows};
      modules[static_cast<size_t>(4 + kind)] = {
          kRank, 2.0f, a, b, static_cast<int32_t>(kVocab), 0, nullptr, rows};
      return modules;
    };
    wide.modules = modules_of(wide.a.data(), wide.b.data(), wide.rows.data(), wide.ids.data());
    wide.device_modules =
        upload(modules_of(wide.device_a.as<float>(), wide.device_b.as<float>(),
                          wide.device_rows.data(), wide.device_ids.as<int32_t>()));
    std::vector<LoraAdapterRef> device_refs;
    for (size_t adapter = 0; adapter < 3; ++adapter) {
      wide.refs.push_back({nullptr, 0, 0, wide.modules.data() + 2 * adapter});
      device_refs.push_back({nullptr, 0, 0, wide.device_modules.as<WideModule>() + 2 * adapter});
    }
    wide.refs.push_back({nullptr, 0, 0, nullptr});
    device_refs.push_back({nullptr, 0, 0, nullptr});
    wide.device_refs = upload(device_refs);
    return wide;
  }

  const std::vector<LoraEntry> lists_[3] = {
      {{0, 0.75f, 0, 0, 0}, {1, 1.0f, 0, 0, 0}, {0, -1.0f, 0, 0, 0}},
      {{2, 1.0f, 0, 0, 0}, {3, 1.0f, 0, 0, 0}, {0, 0.5f, 0, 0, 0}},
      {{3, 1.0f, 0, 0, 0}, {1, 1.0f, 0, 0, 0}, {1, 1.0f, 0, 0, 0}}};
  const std::vector<int32_t> list_offsets_ = {0, 1, 3, 3};
};

TEST_F(CudaWideTest, EmbedEqualsReference) {
  for (const DType dtype : kAllDTypes) {
    const Wide wide = make(0, dtype);
    for (const std::vector<LoraEntry>& entries : lists_) {
      const std::vector<int32_t> history = {7, 2099, 3, 1024, 3, 11, 0, 2099, 77, 5};
      const std::vector<int32_t> slot(10, 0);
      std::vector<int32_t> position(10);
      std::iota(position.begin(), position.end(), 0);
      const std::vector<float> input = normals(10 * kHidden);
      const device::Buffer device_history = upload(history), device_slot = upload(slot),
                           device_position = upload(position), out = upload(input);
      LoraEmbedParams params{};
      params.batch = tables(entries, list_offsets_);
      params.batch.adapters = wide.device_refs.as<LoraAdapterRef>();
      params.page_dtype = dtype;
      params.history = device_history.as<int32_t>();
      params.history_stride = 10;
      params.token_slot = device_slot.as<int32_t>();
      params.token_position = device_position.as<int32_t>();
      params.hidden_size = kHidden;
      params.scale = 4.0f;
      params.out = out.as<float>();
      ASSERT_EQ(kernels().lora_embed(stream(), &params), 0);
      const std::vector<float> result = download(out, DType::kF32);
      LoraEmbedParams host = params;
      host.batch = host_tables(entries, list_offsets_);
      host.batch.adapters = wide.refs.data();
      host.history = history.data();
      host.token_slot = slot.data();
      host.token_position = position.data();
      std::vector<float> base = input;
      host.out = base.data();
      // The residual is fp32 whatever the rows are.
      EXPECT_LT(relative_error(result, reference::lora_embed(host, 10)), tolerance(DType::kF32))
          << name(dtype);
    }
  }
}

TEST_F(CudaWideTest, HeadEqualsReference) {
  for (const DType dtype : kAllDTypes) {
    const Wide wide = make(1, dtype);
    for (const std::vector<LoraEntry>& entries : lists_) {
      const std::vector<float> x = normals(10 * kHidden, 1.0f, dtype);
      const std::vector<float> input = normals(10 * kVocab);
      const device::Buffer device_x = upload_as(x, dtype), y = upload(input);
      LoraHeadParams params{};
      params.batch = tables(entries, list_offsets_);
      params.batch.adapters = wide.device_refs.as<LoraAdapterRef>();
      params.x = device_x.data();
      params.x_stride = kHidden;
      params.activation_dtype = params.page_dtype = dtype;
      params.hidden_size = kHidden;
      params.vocab_size = kVocab;
      params.y = y.as<float>();
      ASSERT_EQ(kernels().lora_head(stream(), &params), 0);
      const std::vector<float> result = download(y, DType::kF32);
      LoraHeadParams host = params;
      host.batch = host_tables(entries, list_offsets_);
      host.batch.adapters = wide.refs.data();
      host.x = x.data();
      std::vector<float> base = input;
      host.y = base.data();
      // Sums and logits are fp32 whatever the operands are.
      EXPECT_LT(relative_error(result, reference::lora_head(host, 10)), tolerance(DType::kF32))
          << name(dtype);
    }
  }
}

}  // namespace
}  // namespace slora::kernels
