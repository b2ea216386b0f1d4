// What surrounds the collectives on a GPU: shares of the LoRA intermediate, its partial sums
// included, against the plain reference; columns side by side, tokens taken over, parts of random
// weights and of an embedding.
#include <numeric>

#include "cuda_test.hpp"
#include "kernels/exchange.hpp"

namespace slora::kernels {
namespace {

class CudaTensorParallelTest : public CudaTest {
 protected:
  // The tables of `x` on the device; they live as long as the test.
  LoraExchangeParams on_device(const Exchange& x) {
    LoraExchangeParams params = x.params;
    std::vector<LoraAdapterRef> refs = x.refs;
    const device::Buffer& modules = keep(x.modules);
    for (size_t a = 0; a < refs.size(); ++a)
      refs[a].modules = modules.as<core::LoraModule>() + (x.refs[a].modules - x.modules.data());
    params.batch.segment_begin = keep(x.begin).as<int32_t>();
    params.batch.segment_end = keep(x.end).as<int32_t>();
    params.batch.entry_offsets = keep(x.entry_offsets).as<int32_t>();
    params.batch.entries = keep(x.entries).as<LoraEntry>();
    params.batch.adapters = keep(refs).as<LoraAdapterRef>();
    params.page_dtype = DType::kF32;
    return params;
  }
  template <typename T>
  const device::Buffer& keep(const std::vector<T>& values) {
    return *kept_.emplace_back(std::make_unique<device::Buffer>(upload(values)));
  }
  std::vector<std::unique_ptr<device::Buffer>> kept_;
};

TEST_F(CudaTensorParallelTest, SharesOfTheIntermediateMeetTheReference) {
  for (const int32_t parts : {1, 2, 3, 8}) {
    for (const int32_t num_fused : {1, 2, 3}) {
      // in_dim 300 is one partial sum or two, by whether there is room for partial sums.
      for (const bool has_partials : {false, true}) {
        SCOPED_TRACE(std::to_string(parts) + " parts, " + std::to_string(num_fused) + " modules" +
                     (has_partials ? ", partial sums" : ""));
        const Exchange x = make_exchange(parts, num_fused);
        const auto elements = reference::lora_exchange(x.params);
        LoraExchangeParams params = on_device(x);
        params.in_dim = 300;
        params.t_stride = has_partials ? (x.t_floats + 31) / 32 * 32 : 0;
        const int64_t num_partials = has_partials ? 2 : 1;
        const int64_t stride = has_partials ? params.t_stride : x.t_floats;
        const std::vector<float> sums = normals(num_partials * stride);
        const auto whole = [&](int64_t place) {
          float sum = 0;
          for (int64_t i = 0; i < num_partials; ++i)
            sum += sums[static_cast<size_t>(i * stride + place)];
          return sum;
        };
        const device::Buffer packed = poisoned(parts * params.part_stride, DType::kF32);
        params.packed = packed.as<float>();
        for (int32_t part = 0; part < parts; ++part) {
          std::vector<float> own(sums.size(), NAN);
          for (const auto& element : elements) {
            if (element.part != part) continue;
            for (int64_t i = 0; i < num_partials; ++i)
              own[static_cast<size_t>(i * stride + element.t_row + element.r_in_part)] =
                  sums[static_cast<size_t>(i * stride + element.t_row + element.r)];
          }
          const device::Buffer t = upload(own);
          params.t = t.as<float>();
          params.part = part;
          ASSERT_EQ(kernels().lora_pack(stream(), &params), 0);
          stream_->synchronize();
        }
        std::vector<float> expected(static_cast<size_t>(parts * params.part_stride), 0.0f);
        for (const auto& element : elements)
          expected[static_cast<size_t>(element.packed)] = whole(element.t_row + element.r);
        EXPECT_EQ(download(packed, DType::kF32), expected);
        std::vector<float> meant(static_cast<size_t>(x.t_floats), 0.0f);
        for (const auto& element : elements)
          meant[static_cast<size_t>(element.t_row + element.r)] = whole(element.t_row + element.r);
        const device::Buffer t = upload(std::vector<float>(meant.size(), 0.0f));
        params.t = t.as<float>();
        ASSERT_EQ(kernels().lora_unpack(stream(), &params), 0);
        EXPECT_EQ(download(t, DType::kF32), meant);
      }
    }
  }
}

TEST_F(CudaTensorParallelTest, ColumnsOfPartsComeSideBySide) {
  const std::vector<int64_t> offsets = {0, 5, 13, 13 + 700};
  GatherColumnsParams host{};
  host.num_rows = 3;
  host.part_stride = host.num_rows * 700 + 9;
  const std::vector<float> in = normals(3 * host.part_stride);
  host.in = in.data();
  host.offsets = offsets.data();
  host.num_parts = 3;
  host.out_stride = offsets.back();
  const device::Buffer device_in = upload(in), device_offsets = upload(offsets);
  const device::Buffer out = poisoned(host.num_rows * host.out_stride, DType::kF32);
  GatherColumnsParams params = host;
  params.in = device_in.as<float>();
  params.offsets = device_offsets.as<int64_t>();
  params.out = out.as<float>();
  ASSERT_EQ(kernels().gather_columns(stream(), &params), 0);
  EXPECT_EQ(download(out, DType::kF32), reference::gather_columns(host));
}

TEST_F(CudaTensorParallelTest, TokensGoToTheirPlaceInTheHistory) {
  std::vector<SampleRow> rows(300);
  std::vector<int32_t> tokens(rows.size()), history(rows.size() * 4, -7), expected = history;
  for (size_t i = 0; i < rows.size(); ++i) {
    tokens[i] = static_cast<int32_t>(1000 + i);
    rows[i].history_slot = static_cast<int32_t>(i);
    rows[i].history_tokens = static_cast<int32_t>(i % 4);
    rows[i].logits_row = i % 5 == 0 ? -1 : static_cast<int32_t>(i);
    if (i % 5 != 0) expected[i * 4 + i % 4] = tokens[i];
  }
  const device::Buffer device_rows = upload(rows), device_tokens = upload(tokens),
                       device_history = upload(history);
  const AppendTokensParams params{device_rows.as<SampleRow>(), static_cast<int32_t>(rows.size()),
                                  device_tokens.as<int32_t>(), device_history.as<int32_t>(), 4};
  ASSERT_EQ(kernels().append_tokens(stream(), &params), 0);
  const std::vector<uint8_t> bytes = download_bytes(device_history);
  std::memcpy(history.data(), bytes.data(), bytes.size());
  EXPECT_EQ(history, expected);
}

TEST_F(CudaTensorParallelTest, PartsOfRandomWeightsAndEmbeddingsAreThoseOfTheWhole) {
  const int64_t n = 40, k = 24, first_row = 10, num_rows = 17, first_column = 5, columns = 12;
  for (const DType dtype : kAllDTypes) {
    const auto room = [&](int64_t rows, int64_t row_elems) {
      return device_bytes(kernels().weight_bytes(dtype, rows, row_elems));
    };
    const device::Buffer whole = room(n, k), part = room(num_rows, columns);
    const WeightFillParams all{whole.data(), dtype, n, k, 5, 0.1f};
    ASSERT_EQ(kernels().weight_fill(stream(), &all), 0);
    for (const int64_t begin : {int64_t{0}, num_rows / 2}) {
      WeightFillParams fill{part.data(), dtype, num_rows, columns, 5, 0.1f};
      fill.row_offset = begin;
      fill.num_rows = begin == 0 ? num_rows / 2 : num_rows - begin;
      fill.source_row = first_row + begin;
      fill.source_column = first_column;
      fill.source_k = k;
      ASSERT_EQ(kernels().weight_fill(stream(), &fill), 0);
    }
    std::vector<int32_t> ids(static_cast<size_t>(n));
    std::iota(ids.begin(), ids.end(), 0);
    const device::Buffer history = upload(ids), slots = upload(std::vector<int32_t>(ids.size()));
    const auto embed = [&](const device::Buffer& weight, int64_t rows, int64_t row_elems,
                           int64_t vocab_begin, bool is_shard) {
      const device::Buffer out = poisoned(n * row_elems, DType::kF32);
      EmbedParams params{};
      params.weight = weight.data();
      params.weight_dtype = dtype;
      params.vocab_size = rows;
      params.hidden_size = row_elems;
      params.history = history.as<int32_t>();
      params.history_stride = n;
      params.token_slot = slots.as<int32_t>();
      params.token_position = history.as<int32_t>();
      params.num_tokens = static_cast<int32_t>(n);
      params.scale = 2.0f;
      params.out = out.as<float>();
      params.vocab_begin = vocab_begin;
      params.is_shard = is_shard;
      EXPECT_EQ(kernels().embed(stream(), &params), 0);
      return download(out, DType::kF32);
    };
    const std::vector<float> every = embed(whole, n, k, 0, false);
    const std::vector<float> own = embed(part, num_rows, columns, first_row, true);
    for (int64_t t = 0; t < n; ++t) {
      const bool is_own = t >= first_row && t < first_row + num_rows;
      for (int64_t c = 0; c < columns; ++c) {
        EXPECT_EQ(own[static_cast<size_t>(t * columns + c)],
                  is_own ? every[static_cast<size_t>(t * k + first_column + c)] : 0.0f);
      }
    }
  }
}

}  // namespace
}  // namespace slora::kernels
