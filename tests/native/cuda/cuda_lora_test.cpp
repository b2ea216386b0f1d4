// LoRA shrink and expand against their references: dtypes, ranks, segments, weighted lists, fused
// modules, pages shorter than a row; and captured launches over other batches than their own.
#include <algorithm>
#include <cstdlib>
#include <numeric>

#include "cuda_test.hpp"

namespace slora::kernels {
namespace {

constexpr int32_t kLayers = 2;
constexpr int32_t kLayer = 1;

// Modules that share an input of in_dim and have out_dims of their own.
struct Geometry {
  int64_t in_dim;
  std::vector<int64_t> out_dims;
  int64_t page_elems;
};

// ranks[adapter][module]
using Ranks = std::vector<std::vector<int32_t>>;

struct Segment {
  int32_t gap;  // rows before it that belong to no segment
  int32_t rows;
  std::vector<std::pair<int32_t, float>> entries;  // adapter, weight
};

// What launches are shaped by; more than the batch needs where a graph covers others.
struct Bounds {
  int32_t num_segments = 0;
  int32_t num_tokens = 0;
  int32_t max_segment_tokens = 0;
  int32_t max_lora_rank = 0;
};

// The tables of one batch on the host.
struct Tables {
  std::vector<int32_t> begin, end, entry_offsets;
  std::vector<LoraEntry> entries;
  std::vector<LoraPiece> shrink_pieces,
      expand_pieces;  // of short segments, if the batch has pieces
  int32_t num_long_segments = -1, num_long_tokens = 0;
  int32_t num_tokens = 0;
  int64_t t_floats = 0;
  Bounds bounds;
};

class CudaLoraTest : public CudaTest {
 protected:
  // Adapters packed into shuffled pages, on the host and on the device.
  struct Adapters {
    Geometry geometry;
    DType dtype;
    Ranks ranks;
    std::vector<std::vector<core::LoraModule>> modules;
    std::vector<LoraAdapterRef> refs, device_refs;
    std::vector<int32_t> pages;
    std::vector<uint8_t> slice;
    std::vector<device::Buffer> device_modules;
    device::Buffer on_device_refs, device_pages, device_slice;
    int64_t width = 0;
  };

  Adapters make(const Geometry& geometry, const Ranks& ranks, DType dtype) {
    Adapters made;
    made.geometry = geometry;
    made.dtype = dtype;
    made.ranks = ranks;
    std::vector<int32_t> num_pages;
    for (const std::vector<int32_t>& rank : ranks) {
      made.modules.emplace_back();
      num_pages.push_back(layout(geometry, rank, made.modules.back()));
    }
    const int32_t total = std::accumulate(num_pages.begin(), num_pages.end(), 0);
    std::vector<int32_t> ids(static_cast<size_t>(total + 3));
    std::iota(ids.begin(), ids.end(), 0);
    std::shuffle(ids.begin(), ids.end(), random_);
    made.pages.assign(ids.begin(), ids.begin() + total);
    made.slice =
        stored(normals(static_cast<int64_t>(ids.size()) * geometry.page_elems, 0.1f), dtype);
    int32_t offset = 0;
    for (size_t a = 0; a < ranks.size(); ++a) {
      made.device_modules.push_back(upload(made.modules[a]));
      made.refs.push_back({made.modules[a].data(), offset, 0});
      made.device_refs.push_back({made.device_modules[a].as<core::LoraModule>(), offset, 0});
      offset += num_pages[a];
    }
    made.on_device_refs = upload(made.device_refs);
    made.device_pages = upload(made.pages);
    made.device_slice = upload(made.slice);
    for (const int64_t out_dim : geometry.out_dims) made.width += out_dim;
    return made;
  }

  static int32_t layout(const Geometry& geometry, const std::vector<int32_t>& ranks,
                        std::vector<core::LoraModule>& modules) {
    core::PagePosition cursor{0, 0};
    const auto place = [&](int64_t row_elems, int32_t rank) {
      const core::PagePosition begin = core::run_begin(cursor, row_elems, geometry.page_elems);
      cursor = core::run_end(begin, row_elems, rank, geometry.page_elems);
      return begin;
    };
    for (int32_t layer = 0; layer < kLayers; ++layer) {
      for (size_t j = 0; j < geometry.out_dims.size(); ++j) {
        core::LoraModule module{ranks[j], 0.5f + static_cast<float>(j), {0, 0}, {0, 0}};
        if (ranks[j] > 0) {
          module.a = place(geometry.in_dim, ranks[j]);
          module.b = place(geometry.out_dims[j], ranks[j]);
        }
        modules.push_back(module);
      }
    }
    return cursor.page + 1;
  }

  static int32_t largest_rank(const Adapters& adapters, int32_t adapter) {
    const std::vector<int32_t>& ranks = adapters.ranks[static_cast<size_t>(adapter)];
    return *std::max_element(ranks.begin(), ranks.end());
  }

  static Tables tables_of(const Adapters& adapters, const std::vector<Segment>& segments,
                          int32_t rows_after, Bounds bounds = {}) {
    Tables tables;
    tables.bounds = bounds;
    tables.entry_offsets.push_back(0);
    const auto num_fused = static_cast<int64_t>(adapters.geometry.out_dims.size());
    int32_t row = 0;
    for (const Segment& segment : segments) {
      row += segment.gap;
      tables.begin.push_back(row);
      row += segment.rows;
      tables.end.push_back(row);
      tables.bounds.max_segment_tokens = std::max(tables.bounds.max_segment_tokens, segment.rows);
      for (const auto& [adapter, weight] : segment.entries) {
        const int32_t largest = largest_rank(adapters, adapter);
        tables.entries.push_back({adapter, weight, tables.t_floats, largest, 0});
        tables.t_floats += num_fused * segment.rows * largest;
        tables.bounds.max_lora_rank = std::max(tables.bounds.max_lora_rank, largest);
      }
      tables.entry_offsets.push_back(static_cast<int32_t>(tables.entries.size()));
    }
    tables.num_tokens = row + rows_after;
    tables.bounds.num_tokens = std::max(tables.bounds.num_tokens, tables.num_tokens);
    // Segments past the batch's own are empty.
    while (static_cast<int32_t>(tables.begin.size()) < tables.bounds.num_segments) {
      tables.begin.push_back(tables.num_tokens);
      tables.end.push_back(tables.num_tokens);
      tables.entry_offsets.push_back(tables.entry_offsets.back());
    }
    tables.bounds.num_segments = static_cast<int32_t>(tables.begin.size());
    return tables;
  }

  // Adds the pieces of segments of few rows; knows_long: segments of more rows come first, and how
  // many there are is told.
  static void add_pieces(const Adapters& adapters, Tables& tables, bool knows_long) {
    if (knows_long) tables.num_long_segments = 0;
    for (size_t g = 0; g < tables.begin.size(); ++g) {
      const int32_t rows = tables.end[g] - tables.begin[g];
      if (rows == 0) continue;
      if (rows > kPieceTokens) {
        if (!knows_long) continue;
        ASSERT_EQ(tables.num_long_segments++, static_cast<int32_t>(g));
        tables.num_long_tokens = tables.end[g];
        continue;
      }
      for (int32_t e = tables.entry_offsets[g]; e < tables.entry_offsets[g + 1]; ++e) {
        const LoraEntry& entry = tables.entries[static_cast<size_t>(e)];
        const LoraAdapterRef& ref = adapters.device_refs[static_cast<size_t>(entry.adapter_idx)];
        LoraPiece piece{ref.modules,
                        entry.t_offset,
                        ref.page_offset,
                        entry.t_stride,
                        entry.weight,
                        tables.begin[g],
                        rows,
                        0,
                        e,
                        e + 1};
        for (; piece.rank_begin < entry.t_stride; piece.rank_begin += kPieceRanks)
          tables.shrink_pieces.push_back(piece);
        if (e > tables.entry_offsets[g]) continue;
        piece.rank_begin = 0;
        piece.entry_end = tables.entry_offsets[g + 1];
        tables.expand_pieces.push_back(piece);
      }
    }
  }

  // Everything of one run on the device, of the bounds' size.
  struct Run {
    device::Buffer begin, end, entry_offsets, entries, x, y, t;
    device::Buffer shrink_pieces, expand_pieces, num_pieces;
    LoraShrinkParams shrink{};
    LoraExpandParams expand{};
  };

  Run prepare(const Adapters& adapters, const Tables& tables, int64_t t_floats, int32_t num_entries,
              int32_t max_pieces = 0) {
    const auto segments = static_cast<uint64_t>(tables.bounds.num_segments);
    const auto tokens = static_cast<uint64_t>(tables.bounds.num_tokens);
    const auto element = static_cast<uint64_t>(core::dtype_bytes(adapters.dtype));
    const Geometry& geometry = adapters.geometry;
    Run run;
    run.begin = device_bytes(segments * 4);
    run.end = device_bytes(segments * 4);
    run.entry_offsets = device_bytes((segments + 1) * 4);
    run.entries = device_bytes(static_cast<uint64_t>(num_entries) * sizeof(LoraEntry));
    run.x = device_bytes(tokens * static_cast<uint64_t>(geometry.in_dim) * element);
    run.y = device_bytes(tokens * static_cast<uint64_t>(adapters.width) * element);
    run.t = poisoned(t_floats * kernels().lora_partials(1), DType::kF32);
    LoraBatch batch{};
    batch.num_segments = tables.bounds.num_segments;
    batch.num_modules = static_cast<int32_t>(geometry.out_dims.size());
    batch.segment_begin = run.begin.as<int32_t>();
    batch.segment_end = run.end.as<int32_t>();
    batch.entry_offsets = run.entry_offsets.as<int32_t>();
    batch.entries = run.entries.as<LoraEntry>();
    batch.adapters = adapters.on_device_refs.as<LoraAdapterRef>();
    batch.pages = adapters.device_pages.as<int32_t>();
    batch.num_tokens = tables.bounds.num_tokens;
    batch.max_segment_tokens = tables.bounds.max_segment_tokens;
    batch.max_lora_rank = tables.bounds.max_lora_rank;
    if (max_pieces > 0) {
      run.shrink_pieces = device_bytes(static_cast<uint64_t>(max_pieces) * sizeof(LoraPiece));
      run.expand_pieces = device_bytes(static_cast<uint64_t>(max_pieces) * sizeof(LoraPiece));
      run.num_pieces = device_bytes(8);
      batch.shrink_pieces = run.shrink_pieces.as<LoraPiece>();
      batch.expand_pieces = run.expand_pieces.as<LoraPiece>();
      batch.num_pieces = run.num_pieces.as<int32_t>();
      batch.max_shrink_pieces = batch.max_expand_pieces = max_pieces;
      batch.num_long_segments = tables.num_long_segments;
      batch.num_long_tokens = tables.num_long_tokens;
    }
    fill(run.shrink, run.expand, adapters, batch, run.x.data(), run.y.data(), run.t.as<float>(),
         adapters.device_slice.data());
    run.shrink.t_stride = run.expand.t_stride = t_floats;
    return run;
  }

  static void fill(LoraShrinkParams& shrink, LoraExpandParams& expand, const Adapters& adapters,
                   const LoraBatch& batch, const void* x, void* y, float* t, const uint8_t* slice) {
    const Geometry& geometry = adapters.geometry;
    shrink.batch = expand.batch = batch;
    shrink.x = x;
    shrink.x_stride = shrink.in_dim = expand.in_dim = geometry.in_dim;
    shrink.activation_dtype = expand.activation_dtype = adapters.dtype;
    shrink.page_dtype = expand.page_dtype = adapters.dtype;
    shrink.layer_idx = expand.layer_idx = kLayer;
    shrink.num_fused = expand.num_fused = static_cast<int32_t>(geometry.out_dims.size());
    shrink.slice = expand.slice = slice;
    shrink.page_bytes = expand.page_bytes = geometry.page_elems * core::dtype_bytes(adapters.dtype);
    shrink.t = t;
    expand.t = t;
    expand.y = y;
    expand.y_stride = adapters.width;
    int64_t column = 0;
    for (size_t j = 0; j < geometry.out_dims.size(); ++j) {
      shrink.module_idx[j] = expand.module_idx[j] = static_cast<int32_t>(j);
      expand.out_dim[j] = geometry.out_dims[j];
      expand.column_offset[j] = column;
      column += geometry.out_dims[j];
    }
  }

  template <typename T>
  void overwrite(const device::Buffer& to, const std::vector<T>& values) {
    if (values.empty()) return;
    ASSERT_LE(values.size() * sizeof(T), to.bytes());
    device::Buffer staging(backend_.device, device::MemoryKind::kPinned, values.size() * sizeof(T));
    std::memcpy(staging.data(), values.data(), values.size() * sizeof(T));
    stream_->copy(to.data(), staging.data(), values.size() * sizeof(T));
    stream_->synchronize();
  }

  void write(const Run& run, const Adapters& adapters, const Tables& tables,
             const std::vector<float>& x, const std::vector<float>& y) {
    overwrite(run.begin, tables.begin);
    overwrite(run.end, tables.end);
    overwrite(run.entry_offsets, tables.entry_offsets);
    overwrite(run.entries, tables.entries);
    if (run.num_pieces.bytes() > 0) {
      overwrite(run.shrink_pieces, tables.shrink_pieces);
      overwrite(run.expand_pieces, tables.expand_pieces);
      overwrite(run.num_pieces,
                std::vector<int32_t>{static_cast<int32_t>(tables.shrink_pieces.size()),
                                     static_cast<int32_t>(tables.expand_pieces.size())});
    }
    overwrite(run.x, stored(x, adapters.dtype));
    overwrite(run.y, stored(y, adapters.dtype));
    overwrite(run.t, std::vector<uint8_t>(run.t.bytes(), 0xff));
  }

  void launch(const Run& run) {
    ASSERT_EQ(kernels().lora_shrink(stream(), &run.shrink), 0);
    ASSERT_EQ(kernels().lora_expand(stream(), &run.expand), 0);
  }

  std::vector<double> expected(const Adapters& adapters, const Tables& tables,
                               const std::vector<float>& x, const std::vector<float>& y) {
    LoraBatch batch{};
    batch.num_segments = static_cast<int32_t>(tables.begin.size());
    batch.num_modules = static_cast<int32_t>(adapters.geometry.out_dims.size());
    batch.segment_begin = tables.begin.data();
    batch.segment_end = tables.end.data();
    batch.entry_offsets = tables.entry_offsets.data();
    batch.entries = tables.entries.data();
    batch.adapters = adapters.refs.data();
    batch.pages = adapters.pages.data();
    LoraShrinkParams shrink{};
    LoraExpandParams expand{};
    fill(shrink, expand, adapters, batch, x.data(), nullptr, nullptr, adapters.slice.data());
    const std::vector<double> exact_t = reference::lora_shrink(shrink, tables.t_floats);
    const std::vector<float> t(exact_t.begin(), exact_t.end());
    expand.t = t.data();
    std::vector<double> out = reference::lora_expand(expand, tables.num_tokens);
    for (size_t i = 0; i < out.size(); ++i) out[i] += y[i];
    return out;
  }

  // Runs twice and checks: near the reference, the same bits both times, other rows untouched.
  void check(const Adapters& adapters, const std::vector<Segment>& segments, int32_t rows_after,
             Bounds bounds = {}, bool with_pieces = false, bool knows_long = false) {
    Tables tables = tables_of(adapters, segments, rows_after, bounds);
    if (with_pieces) add_pieces(adapters, tables, knows_long);
    const std::vector<float> x =
        normals(tables.num_tokens * adapters.geometry.in_dim, 1.0f, adapters.dtype);
    const std::vector<float> y = normals(tables.num_tokens * adapters.width, 0.3f, adapters.dtype);
    const Run run = prepare(adapters, tables, std::max<int64_t>(tables.t_floats, 1),
                            static_cast<int32_t>(tables.entries.size()),
                            static_cast<int32_t>(tables.shrink_pieces.size()));
    write(run, adapters, tables, x, y);
    launch(run);
    const std::vector<float> out = result(run, adapters, tables);
    write(run, adapters, tables, x, y);
    launch(run);
    EXPECT_EQ(std::memcmp(out.data(), result(run, adapters, tables).data(), out.size() * 4), 0)
        << "two runs differ";
    const std::vector<double> wanted = expected(adapters, tables, x, y);
    EXPECT_LT(relative_error(out, wanted), tolerance(adapters.dtype))
        << name(adapters.dtype) << " in_dim " << adapters.geometry.in_dim << " tokens "
        << tables.num_tokens << " segments " << segments.size();
    for (int32_t row = 0; row < tables.num_tokens; ++row) {
      if (is_in_segment(tables, row)) continue;
      ASSERT_EQ(std::memcmp(out.data() + row * adapters.width, y.data() + row * adapters.width,
                            static_cast<size_t>(adapters.width) * 4),
                0)
          << "row " << row << " is in no segment";
    }
  }

  std::vector<float> result(const Run& run, const Adapters& adapters, const Tables& tables) {
    std::vector<float> out = download(run.y, adapters.dtype);
    out.resize(static_cast<size_t>(tables.num_tokens * adapters.width));
    return out;
  }

  static bool is_in_segment(const Tables& tables, int32_t row) {
    for (size_t g = 0; g < tables.begin.size(); ++g) {
      if (row >= tables.begin[g] && row < tables.end[g]) return true;
    }
    return false;
  }

  // Segments of random length, gap and adapter.
  std::vector<Segment> random_segments(int32_t count, int32_t longest, int32_t num_adapters) {
    std::vector<Segment> segments;
    for (int32_t g = 0; g < count; ++g) {
      segments.push_back(
          {between(0, 2), between(1, longest), {{between(0, num_adapters - 1), 1.0f}}});
    }
    return segments;
  }
};

const Ranks kMixed = {{1, 3, 8}, {16, 0, 13}, {64, 64, 64}, {128, 33, 5}, {0, 0, 0}, {8, 8, 8}};

std::vector<int64_t> first_of(const std::vector<int64_t>& dims, int32_t count) {
  return {dims.begin(), dims.begin() + count};
}

Ranks first_of(const Ranks& ranks, int32_t count) {
  Ranks cut;
  for (const std::vector<int32_t>& rank : ranks)
    cut.push_back({rank.begin(), rank.begin() + count});
  return cut;
}

TEST_F(CudaLoraTest, DecodeEqualsReference) {
  for (const DType dtype : kAllDTypes) {
    for (int32_t fused = 1; fused <= kMaxFusedModules; ++fused) {
      const Adapters adapters =
          make({512, first_of({640, 256, 128}, fused), 8192}, first_of(kMixed, fused), dtype);
      check(adapters, {{0, 1, {{0, 1.0f}}}}, 0);
      check(adapters, {{0, 1, {{2, 1.0f}}}}, 0);
      check(adapters, random_segments(40, 1, 6), 3);
      check(adapters, random_segments(12, 9, 6), 0);
      check(adapters, {{0, 37, {{2, 1.0f}}}}, 2);
      check(adapters, {{5, 128, {{5, 0.5f}}}}, 0);
    }
  }
}

// Sums cut into as many parts as there are for few tokens.
TEST_F(CudaLoraTest, FewTokensOfAWideModelEqualReference) {
  for (const DType dtype : kAllDTypes) {
    const Adapters adapters = make({4104, {640, 264, 128}, 32768}, kMixed, dtype);
    check(adapters, {{0, 1, {{2, 1.0f}}}}, 0);
    check(adapters, {{1, 2, {{0, 1.0f}}}, {0, 9, {{3, 0.5f}}}, {0, 1, {{5, 1.0f}}}}, 1);
    check(adapters, random_segments(8, 6, 6), 0);
  }
}

// So many pieces of work that blocks have several each.
TEST_F(CudaLoraTest, LargeDecodeBatchesEqualReference) {
  for (const DType dtype : {DType::kBF16, DType::kF16}) {
    const Adapters adapters = make({1544, {640, 72, 136}, 16384}, kMixed, dtype);
    check(adapters, random_segments(300, 2, 6), 2);
    check(adapters, {{0, 300, {{2, 1.0f}}}}, 0, {800, 800, 0, 0});
    std::vector<Segment> lists = random_segments(250, 3, 6);
    for (size_t g = 0; g < lists.size(); g += 3) lists[g].entries.push_back({between(0, 5), -0.5f});
    check(adapters, lists, 0);
    const Adapters small = make({1024, {1024}, 16384}, {{8}, {5}, {1}}, dtype);
    check(small, random_segments(900, 1, 3), 0);
    // Runs at places that 16-byte loads cannot reach.
    const Adapters odd = make({328, {65, 64, 128}, 400}, kMixed, dtype);
    check(odd, random_segments(400, 2, 6), 0);
  }
}

// Segments of few rows in pieces, beside longer ones.
TEST_F(CudaLoraTest, PiecesEqualReference) {
  for (const DType dtype : {DType::kBF16, DType::kF16}) {
    for (const int64_t in_dim : {264, 1544, 4096}) {
      const Adapters adapters = make({in_dim, {640, 72, 1536}, 16384}, kMixed, dtype);
      check(adapters, random_segments(50, 1, 6), 1, {}, true, true);
      check(adapters, random_segments(150, kPieceTokens, 6), 2, {}, true, true);
      check(adapters, random_segments(90, 2 * kPieceTokens, 6), 0, {}, true, false);
      std::vector<Segment> lists = random_segments(120, kPieceTokens, 6);
      for (size_t g = 0; g < lists.size(); g += 3)
        lists[g].entries.push_back({between(0, 5), -0.5f});
      lists.insert(lists.begin(), {{0, 270, {{2, 1.0f}}}, {0, 7, {{3, 1.0f}, {1, 0.5f}}}});
      check(adapters, lists, 3, {}, true, true);
    }
    // A row or two a page.
    const Adapters small = make({328, {64, 64, 128}, 408}, kMixed, dtype);
    check(small, random_segments(400, 2, 6), 0, {}, true, true);
  }
}

TEST_F(CudaLoraTest, EveryRankAlone) {
  for (const DType dtype : kAllDTypes) {
    for (const int32_t rank : {1, 2, 3, 7, 8, 9, 13, 16, 17, 31, 32, 33, 48, 64, 65, 100, 128}) {
      const Adapters adapters = make({256, {256}, 4096}, {{rank}}, dtype);
      check(adapters, {{1, 3, {{0, 1.0f}}}, {0, 1, {{0, 2.0f}}}}, 1);
    }
  }
}

TEST_F(CudaLoraTest, WeightedListsAddUp) {
  for (const DType dtype : kAllDTypes) {
    const Adapters adapters = make({384, {256, 256, 512}, 2048}, kMixed, dtype);
    check(adapters,
          {{1, 2, {{0, 1.0f}, {1, -2.0f}, {3, 0.3f}}},
           {0, 20, {{2, 0.5f}, {4, 1.0f}, {5, 1.0f}}},
           {2, 1, {{4, 1.0f}, {4, 1.0f}, {1, 1.0f}}}},
          1);
  }
}

// Rows of several a page, of odd lengths, longer than a page, at places that 16-byte loads cannot
// reach.
TEST_F(CudaLoraTest, OddShapesEqualReference) {
  const Geometry geometries[] = {{100, {37, 130, 1}, 300},  {129, {600, 33, 65}, 50},
                                 {31, {1100, 8, 16}, 1104}, {304, {513, 48, 64}, 640},
                                 {64, {65, 64, 128}, 400},  {1024, {2048, 64, 64}, 256}};
  for (const DType dtype : kAllDTypes) {
    for (const Geometry& geometry : geometries) {
      const Adapters adapters = make(geometry, kMixed, dtype);
      check(adapters, random_segments(6, 20, 6), 1);
      check(adapters, {{0, 3, {{1, 1.0f}, {3, 0.5f}}}}, 0);
    }
  }
}

TEST_F(CudaLoraTest, PrefillEqualsReference) {
  for (const DType dtype : kAllDTypes) {
    for (int32_t fused = 1; fused <= kMaxFusedModules; fused += 2) {
      const Adapters adapters =
          make({192, first_of({320, 64, 128}, fused), 4096}, first_of(kMixed, fused), dtype);
      check(adapters, {{3, 1100, {{5, 1.0f}}}}, 1);
      check(adapters, {{0, 1024, {{2, 1.0f}}}}, 0);
      // A chunk of a prompt beside rows that decode.
      std::vector<Segment> mixed = random_segments(30, 1, 6);
      mixed.push_back({0, 700, {{1, 1.0f}}});
      mixed.push_back({9, 333, {{3, 1.0f}, {0, 0.5f}}});
      check(adapters, mixed, 0);
    }
  }
}

// Sums in clusters of eight blocks.
TEST_F(CudaLoraTest, ShortPromptsEqualReference) {
  for (const DType dtype : {DType::kBF16, DType::kF16}) {
    const Adapters adapters = make({1032, {328, 64, 136}, 16384}, kMixed, dtype);
    check(adapters, {{1, 300, {{2, 1.0f}}}}, 1);
    check(adapters, {{0, 150, {{3, 0.5f}, {1, 1.0f}}}, {2, 190, {{2, 1.0f}}}}, 0);
  }
}

TEST_F(CudaLoraTest, PrefillOfManyAdaptersEqualsReference) {
  for (const DType dtype : {DType::kBF16, DType::kF16}) {
    const Adapters adapters = make({4096, {256}, 32768}, {{16}, {64}, {8}, {200}}, dtype);
    check(adapters, random_segments(24, 100, 4), 0);
    const Adapters small = make({136, {72, 8, 264}, 1000}, {{4, 4, 4}, {9, 0, 1}}, dtype);
    check(small, random_segments(24, 120, 2), 5);
  }
}

// A captured launch is run again over batches of other segments, lists and ranks.
TEST_F(CudaLoraTest, GraphServesEveryBatchWithinItsBounds) {
  if (!backend_.device->api().graph_begin) GTEST_SKIP() << "no graphs";
  for (const auto& [dtype, has_pieces] : {std::pair{DType::kF32, false},
                                          {DType::kBF16, false},
                                          {DType::kF16, false},
                                          {DType::kBF16, true}}) {
    const Adapters adapters = make({512, {256, 256, 128}, 4096}, kMixed, dtype);
    for (const int32_t tokens : {16, 48}) {
      const Bounds bounds{tokens, tokens, tokens, 128};
      const std::vector<std::vector<Segment>> batches = {
          random_segments(tokens / 3, 1, 6),
          {{0, tokens, {{2, 1.0f}}}},
          {},
          {{2, 3, {{3, 1.0f}, {1, 1.0f}}}, {0, tokens - 5, {{0, 1.0f}}}}};
      const int64_t t_floats = int64_t{tokens} * 3 * 128 * 2;
      const Run run = prepare(adapters, tables_of(adapters, {}, tokens, bounds), t_floats, 64,
                              has_pieces ? 64 * 8 : 0);
      void* graph = nullptr;
      device::ApiError error{};
      const device::DeviceApi& api = backend_.device->api();
      ASSERT_EQ(api.graph_begin(stream(), &error), 0) << error.message;
      launch(run);
      ASSERT_EQ(api.graph_end(stream(), &graph, &error), 0) << error.message;
      for (const std::vector<Segment>& segments : batches) {
        int32_t used = 0;
        for (const Segment& segment : segments) used += segment.gap + segment.rows;
        Tables tables = tables_of(adapters, segments, tokens - used, bounds);
        if (has_pieces) add_pieces(adapters, tables, false);
        const std::vector<float> x = normals(tokens * int64_t{512}, 1.0f, dtype);
        const std::vector<float> y = normals(tokens * adapters.width, 0.3f, dtype);
        write(run, adapters, tables, x, y);
        ASSERT_EQ(api.graph_launch(graph, stream(), &error), 0) << error.message;
        EXPECT_LT(relative_error(result(run, adapters, tables), expected(adapters, tables, x, y)),
                  tolerance(dtype))
            << name(dtype) << " tokens " << tokens << " segments " << segments.size();
      }
      api.graph_destroy(graph);
    }
  }
}

TEST_F(CudaLoraTest, RefusesOtherActivations) {
  const Adapters adapters = make({64, {64}, 4096}, {{8}}, DType::kBF16);
  const Tables tables = tables_of(adapters, {{0, 1, {{0, 1.0f}}}}, 0);
  Run run = prepare(adapters, tables, tables.t_floats, 1);
  run.shrink.activation_dtype = run.expand.activation_dtype = DType::kF32;
  EXPECT_NE(kernels().lora_shrink(stream(), &run.shrink), 0);
  EXPECT_NE(kernels().lora_expand(stream(), &run.expand), 0);
}

}  // namespace
}  // namespace slora::kernels
