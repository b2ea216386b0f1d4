// Packed host images of adapters: what lies where, and what is refused.
#include "slora/adapter/packed_image.hpp"

#include <cmath>
#include <cstring>

#include "model/test_files.hpp"
#include "slora/adapter/peft_reader.hpp"

namespace slora::adapter {
namespace {

using core::DType;
using core::Status;
using test::expect_refused;

const std::string kAssets = SLORA_ASSETS;

model::ModuleTable demo_table() {
  return model::module_table(model::read_config(kAssets + "/demo-model/base"));
}

float rounded(float value, DType dtype) {
  return dtype == DType::kBF16 ? core::bf16_to_float(core::float_to_bf16(value)) : value;
}

// Reads an element as a kernel does: a row by row_position, and on through the run if it is longer
// than a page.
float element(const PackedImage& image, int32_t layer_idx, core::PagePosition begin,
              int64_t row_elems, int64_t row, int64_t column) {
  const int64_t page_elems = image.geometry().page_elems;
  const core::PagePosition place = core::row_position(begin, row_elems, row, page_elems);
  const int64_t linear = place.offset + column;
  const int64_t page = place.page + linear / page_elems;
  EXPECT_LT(page, image.layout().num_pages);
  const uint8_t* at = image.layer_data(layer_idx) + page * image.geometry().page_bytes();
  return core::load_as_float(at, image.geometry().dtype, linear % page_elems);
}

void expect_round_trip(const AdapterSource& source, const model::ModuleTable& table,
                       PageGeometry geometry) {
  const PackedImage image = pack_image(source, table, geometry);
  const ImageLayout& layout = image.layout();
  int64_t used_elems = 0;
  size_t num_adapted = 0;
  for (const core::LoraModule& module : layout.modules) num_adapted += module.lora_rank > 0;
  EXPECT_EQ(num_adapted, source.modules.size());
  for (const ModuleWeights& weights : source.modules) {
    const core::LoraModule& place = layout.modules[static_cast<size_t>(
        weights.layer_idx * layout.num_modules + weights.module_idx)];
    ASSERT_EQ(place.lora_rank, weights.lora_rank);
    ASSERT_EQ(place.scale, weights.scale);
    const int64_t in_dim = weights.a.shape[1];
    const int64_t out_dim = weights.b.shape[0];
    used_elems += weights.lora_rank * (in_dim + out_dim);
    for (int64_t r = 0; r < weights.lora_rank; ++r) {
      for (int64_t i = 0; i < in_dim; ++i) {
        ASSERT_EQ(element(image, weights.layer_idx, place.a, in_dim, r, i),
                  rounded(core::load_as_float(weights.a.data, weights.a.dtype, r * in_dim + i),
                          geometry.dtype));
      }
      for (int64_t o = 0; o < out_dim; ++o) {
        ASSERT_EQ(
            element(image, weights.layer_idx, place.b, out_dim, r, o),
            rounded(core::load_as_float(weights.b.data, weights.b.dtype, o * weights.lora_rank + r),
                    geometry.dtype));
      }
    }
  }
  const uint64_t used_bytes = static_cast<uint64_t>(used_elems * core::dtype_bytes(geometry.dtype));
  EXPECT_EQ(layout.wasted_bytes, layout.image_bytes - used_bytes);
  EXPECT_EQ(layout.image_bytes, image.layer_bytes() * static_cast<uint64_t>(layout.num_layers));
}

TEST(PackedImage, RoundTripsForManyPageSizes) {
  const model::ModuleTable table = demo_table();
  const AdapterSource json = read_peft_adapter(kAssets + "/demo-model/adapters/json", table);
  // 688 is the longest row: pages of 1 to 687 elements hold less than one.
  for (const int64_t page_elems :
       {7, 64, 100, 255, 256, 257, 512, 687, 688, 689, 1000, 4096, 65536}) {
    expect_round_trip(json, table, {page_elems, DType::kF32});
    expect_round_trip(json, table, {page_elems, DType::kBF16});
  }
}

TEST(PackedImage, RoundTripsAdaptersOfEveryFileDtype) {
  const model::ModuleTable table = demo_table();
  for (const char* name :
       {"roman", "upper", "python", "latin"}) {  // F32, F16, BF16; subsets of modules
    expect_round_trip(read_peft_adapter(kAssets + "/demo-model/adapters/" + name, table), table,
                      {4096, DType::kF32});
  }
}

TEST(PackedImage, RowsNeverStraddleUnlessLongerThanAPage) {
  const model::ModuleTable table = demo_table();
  const PageGeometry geometry{1000, DType::kF32};
  const ImageLayout layout = plan_image(synthetic_adapter(table, 1, 5, 0), table, geometry);
  for (const core::LoraModule& module : layout.modules) {
    const size_t m = static_cast<size_t>(&module - layout.modules.data()) % 7;
    // Kernels walk from the first row, so it must itself lie where it fits and not only its
    // successors.
    EXPECT_LE(module.a.offset + table.modules[m].in_dim, 1000);
    EXPECT_LE(module.b.offset + table.modules[m].out_dim, 1000);
    for (int64_t r = 0; r < module.lora_rank; ++r) {
      EXPECT_LE(core::row_position(module.a, table.modules[m].in_dim, r, 1000).offset +
                    table.modules[m].in_dim,
                1000);
      EXPECT_LE(core::row_position(module.b, table.modules[m].out_dim, r, 1000).offset +
                    table.modules[m].out_dim,
                1000);
    }
  }
}

// The figures of docs/architecture.md for 7B: 16 tokens of K and V a page are 2 * 16 * 4096
// elements.
TEST(PackedImage, WasteAt7BIsWhatTheDesignSays) {
  model::ModelConfig config;
  config.architecture = model::find_architecture("LlamaForCausalLM");
  config.hidden_size = 4096;
  config.intermediate_size = 11008;
  config.num_layers = 1;
  config.num_heads = config.num_kv_heads = 32;
  config.head_size = 128;
  const model::ModuleTable table = model::module_table(config);
  const PageGeometry geometry{2 * 16 * 4096, DType::kBF16};
  for (const int32_t lora_rank : {8, 16, 32, 64}) {
    const ImageLayout attention =
        plan_image(synthetic_adapter(table, 1, lora_rank, 15), table, geometry);
    EXPECT_EQ(attention.wasted_bytes, 0u) << lora_rank;
    EXPECT_EQ(attention.num_pages, lora_rank / 4);
    const ImageLayout all = plan_image(synthetic_adapter(table, 1, lora_rank, 0), table, geometry);
    EXPECT_LE(all.wasted_bytes, all.image_bytes / 20) << lora_rank;
  }
}

TEST(PackedImage, PagesAreTheMostAnyLayerNeeds) {
  const model::ModuleTable table =
      model::module_table(model::read_config(kAssets + "/tiny-models/llama-mha"));
  const AdapterSource source =
      read_peft_adapter(kAssets + "/tiny-models/llama-mha/adapters/one-layer", table);
  const ImageLayout layout = plan_image(source, table, {256, DType::kF32});
  EXPECT_EQ(layout.num_adapted, 2);
  EXPECT_EQ(layout.max_lora_rank, 8);
  EXPECT_EQ(layout.module_mask, 1u | 64u);
  EXPECT_EQ(layout.modules[0].lora_rank, 0);
  // q: 8 rows of 64 twice are 4 pages; down: 8 rows of 80, three a page, and 8 rows of 64 in what
  // is left and after.
  EXPECT_EQ(layout.num_pages, 4 + 3 + 2);
  EXPECT_EQ(layout.image_bytes, 2u * 9u * 1024u);
}

TEST(PackedImage, UnusedBytesAreZero) {
  const model::ModuleTable table = demo_table();
  const PackedImage image =
      pack_image(synthetic_adapter(table, 1, 1, 1), table, {1000, DType::kF32});
  ASSERT_EQ(image.layout().num_pages, 1);
  for (int64_t i = 512; i < 1000; ++i)
    EXPECT_EQ(core::load_as_float(image.layer_data(7), DType::kF32, i), 0.0f);
}

// One module [1 x 4] of hand-made values.
AdapterSource one_module(const std::vector<float>& a, const std::vector<float>& b) {
  const auto tensor = [](const char* name, const std::vector<float>& values,
                         std::vector<int64_t> shape) {
    return model::TensorRef{name,
                            "file",
                            DType::kF32,
                            std::move(shape),
                            reinterpret_cast<const uint8_t*>(values.data()),
                            values.size() * 4};
  };
  AdapterSource source;
  source.modules.push_back({0, 0, 1, 1.0f, tensor("A", a, {1, static_cast<int64_t>(a.size())}),
                            tensor("B", b, {static_cast<int64_t>(b.size()), 1})});
  return source;
}

model::ModuleTable one_module_table(int64_t in_dim, int64_t out_dim) {
  model::ModuleTable table;
  table.num_layers = 1;
  table.modules = {{"m", in_dim, out_dim, model::MatrixKind::kQkv, 0}};
  return table;
}

TEST(PackedImage, ConversionsRoundToNearestEven) {
  const std::vector<float> a = {1.00390625f,        1.01171875f,        -0.1f,
                                1.0f + 1.0f / 2048, 1.0f + 3.0f / 2048, 3e-8f,
                                2.9802322e-8f,      65519.0f,           -6.1e-5f};
  const std::vector<float> b = {1};
  const model::ModuleTable table = one_module_table(9, 1);
  const PackedImage bf16 = pack_image(one_module(a, b), table, {16, DType::kBF16});
  EXPECT_EQ(core::load_as_float(bf16.layer_data(0), DType::kBF16, 0), 1.0f);  // tie to even, down
  EXPECT_EQ(core::load_as_float(bf16.layer_data(0), DType::kBF16, 1),
            1.015625f);  // tie to even, up
  const PackedImage f16 = pack_image(one_module(a, b), table, {16, DType::kF16});
  const auto half = [&](int64_t i) {
    return core::load_as_float(f16.layer_data(0), DType::kF16, i);
  };
  EXPECT_EQ(half(2), -0.0999755859375f);
  EXPECT_EQ(half(3), 1.0f);                    // tie to even, down
  EXPECT_EQ(half(4), 1.0f + 2.0f / 1024);      // tie to even, up
  EXPECT_EQ(half(5), 5.9604644775390625e-8f);  // subnormal
  EXPECT_EQ(half(6), 0.0f);                    // half of the smallest subnormal: tie to zero
  EXPECT_EQ(half(7), 65504.0f);
  EXPECT_EQ(half(8), -6.1e-5f + (half(8) + 6.1e-5f));
  EXPECT_NEAR(half(8), -6.1e-5f, 3e-8f);
}

TEST(PackedImage, ValuesThatDoNotFitThePagesAreRefused) {
  const std::vector<float> a = {70000.0f};
  const std::vector<float> b = {1};
  expect_refused(Status::kUnsupported, {"tensor 'A' holds a value too large for f16 pages"}, [&] {
    pack_image(one_module(a, b), one_module_table(1, 1), {16, DType::kF16});
  });
  const std::vector<float> huge = {3.4e38f};
  expect_refused(Status::kUnsupported, {"tensor 'B'", "bf16"}, [&] {
    pack_image(one_module(b, huge), one_module_table(1, 1), {16, DType::kBF16});
  });
}

class CountingAllocator final : public ImageAllocator {
 public:
  explicit CountingAllocator(uint64_t limit) : limit_(limit) {}
  void* allocate(uint64_t bytes) override {
    if (bytes > limit_) return nullptr;
    held_ += bytes;
    return std::aligned_alloc(64, (bytes + 63) / 64 * 64);
  }
  void release(void* memory, uint64_t bytes) noexcept override {
    held_ -= bytes;
    std::free(memory);
  }
  uint64_t limit_;
  uint64_t held_ = 0;
};

class StopAfter final : public model::LoadProgress {
 public:
  explicit StopAfter(int calls) : calls_(calls) {}
  bool advance(uint64_t done, uint64_t total) override {
    done_ = done;
    total_ = total;
    return calls_-- > 0;
  }
  int calls_;
  uint64_t done_ = 0;
  uint64_t total_ = 0;
};

TEST(PackedImage, MemoryComesFromTheCallerAndGoesBack) {
  const model::ModuleTable table = demo_table();
  const AdapterSource source = synthetic_adapter(table, 1, 4, 0);
  const auto allocator = std::make_shared<CountingAllocator>(uint64_t{1} << 30);
  {
    PackedImage image = pack_image(source, table, {4096, DType::kF32}, allocator);
    EXPECT_EQ(allocator->held_, image.layout().image_bytes);
    const PackedImage moved = std::move(image);
    EXPECT_EQ(allocator->held_, moved.layout().image_bytes);
  }
  EXPECT_EQ(allocator->held_, 0u);
  StopAfter progress(3);
  expect_refused(Status::kCancelled, {"cancelled"}, [&] {
    pack_image(source, table, {4096, DType::kF32}, allocator, &progress);
  });
  EXPECT_EQ(allocator->held_, 0u);
  StopAfter whole(1000);
  pack_image(source, table, {4096, DType::kF32}, allocator, &whole);
  EXPECT_EQ(whole.done_, whole.total_);
  expect_refused(Status::kOutOfMemory, {"no memory for an adapter image of"}, [&] {
    pack_image(source, table, {4096, DType::kF32}, std::make_shared<CountingAllocator>(10));
  });
}

TEST(PackedImage, ImpossiblePagesAreRefused) {
  const model::ModuleTable table = demo_table();
  const AdapterSource source = synthetic_adapter(table, 1, 4, 0);
  expect_refused(Status::kInvalidArgument, {"a page of 0 elements"}, [&] {
    plan_image(source, table, {0, DType::kF32});
  });
}

}  // namespace
}  // namespace slora::adapter
