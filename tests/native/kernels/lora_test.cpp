// LoRA shrink and expand over ranks, pages smaller than a row, several entries a segment; and the
// law.
#include <algorithm>

#include "kernel_test.hpp"

namespace slora::kernels {
namespace {

// Modules 0..2 share an input (in_dim) and have out_dims of their own.
struct Geometry {
  int64_t in_dim;
  std::vector<int64_t> out_dims;
  int64_t page_elems;
  DType page_dtype;
};

// Adapters packed into shuffled pages, two layers each; ranks[a][module].
struct Adapters {
  Geometry geometry;
  std::vector<std::vector<int32_t>> ranks;
  std::vector<std::vector<core::LoraModule>> modules;
  std::vector<LoraAdapterRef> refs;
  std::vector<int32_t> pages;
  std::vector<uint8_t> slice;
};

struct Segment {
  int32_t rows;
  std::vector<std::pair<int32_t, float>> entries;  // adapter, weight
  int32_t first_row;                               // in the pool of activation rows
};

class LoraTest : public KernelTest {
 protected:
  static constexpr int32_t kLayers = 2;

  Adapters make(const Geometry& geometry, const std::vector<std::vector<int32_t>>& ranks) {
    Adapters adapters;
    adapters.geometry = geometry;
    adapters.ranks = ranks;
    std::vector<int32_t> num_pages;
    for (const std::vector<int32_t>& rank : ranks) {
      adapters.modules.emplace_back();
      num_pages.push_back(layout(geometry, rank, adapters.modules.back()));
    }
    int32_t total = 0;
    for (const int32_t count : num_pages) total += count;
    std::vector<int32_t> ids(static_cast<size_t>(total + 3));
    for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int32_t>(i);
    std::shuffle(ids.begin(), ids.end(), random_);
    adapters.pages.assign(ids.begin(), ids.begin() + total);
    int32_t offset = 0;
    for (size_t a = 0; a < ranks.size(); ++a) {
      adapters.refs.push_back({adapters.modules[a].data(), offset, 0});
      offset += num_pages[a];
    }
    const int64_t elems = static_cast<int64_t>(ids.size()) * geometry.page_elems;
    adapters.slice.resize(static_cast<size_t>(elems * core::dtype_bytes(geometry.page_dtype)));
    const std::vector<float> values = normals(elems, 0.5f);
    for (int64_t i = 0; i < elems; ++i) {
      store_element(adapters.slice.data(), geometry.page_dtype, i, values[static_cast<size_t>(i)]);
    }
    return adapters;
  }

  // Places both layers' runs one after another; returns the number of pages.
  int32_t layout(const Geometry& geometry, const std::vector<int32_t>& ranks,
                 std::vector<core::LoraModule>& modules) {
    core::PagePosition cursor{0, 0};
    const auto place = [&](int64_t row_elems, int32_t rank) {
      const core::PagePosition begin = core::run_begin(cursor, row_elems, geometry.page_elems);
      cursor = core::run_end(begin, row_elems, rank, geometry.page_elems);
      return begin;
    };
    for (int32_t layer = 0; layer < kLayers; ++layer) {
      for (size_t j = 0; j < geometry.out_dims.size(); ++j) {
        core::LoraModule module{ranks[j], 0.25f + static_cast<float>(j), {0, 0}, {0, 0}};
        if (ranks[j] > 0) {
          module.a = place(geometry.in_dim, ranks[j]);
          module.b = place(geometry.out_dims[j], ranks[j]);
        }
        modules.push_back(module);
      }
    }
    return cursor.page + 1;
  }

  // x [pool rows, in_dim] and y of the same rows; runs shrink and expand over the segments laid one
  // after another with `gap` rows that belong to none between them. Returns y and, if asked, checks
  // both halves.
  std::vector<float> run(const Adapters& adapters, const std::vector<Segment>& segments,
                         const std::vector<float>& x, const std::vector<float>& y, int32_t gap,
                         device::ThreadTeam& team, bool check = false) {
    const Geometry& geometry = adapters.geometry;
    const int32_t num_fused = static_cast<int32_t>(geometry.out_dims.size());
    int64_t width = 0;
    for (const int64_t out_dim : geometry.out_dims) width += out_dim;
    std::vector<int32_t> begin, end, offsets{0};
    std::vector<LoraEntry> entries;
    std::vector<float> batch_x, batch_y;
    int64_t t_floats = 0;
    const auto add_rows = [&](int32_t first, int32_t count) {
      batch_x.insert(batch_x.end(), x.begin() + first * geometry.in_dim,
                     x.begin() + (first + count) * geometry.in_dim);
      batch_y.insert(batch_y.end(), y.begin() + first * width, y.begin() + (first + count) * width);
    };
    int32_t row = 0;
    for (const Segment& segment : segments) {
      add_rows(0, gap);
      row += gap;
      begin.push_back(row);
      add_rows(segment.first_row, segment.rows);
      row += segment.rows;
      end.push_back(row);
      for (const auto& [adapter, weight] : segment.entries) {
        int32_t largest = 0;
        for (const int32_t rank : adapters.ranks[static_cast<size_t>(adapter)])
          largest = std::max(largest, rank);
        entries.push_back({adapter, weight, t_floats, largest, 0});
        t_floats += int64_t{num_fused} * segment.rows * largest;
      }
      offsets.push_back(static_cast<int32_t>(entries.size()));
    }
    const LoraBatch batch{static_cast<int32_t>(segments.size()),
                          num_fused,
                          begin.data(),
                          end.data(),
                          offsets.data(),
                          entries.data(),
                          adapters.refs.data(),
                          adapters.pages.data()};
    std::vector<float> t(static_cast<size_t>(t_floats));
    const int64_t page_bytes = geometry.page_elems * core::dtype_bytes(geometry.page_dtype);
    const LoraShrinkParams shrink{batch,
                                  batch_x.data(),
                                  geometry.in_dim,
                                  DType::kF32,
                                  geometry.page_dtype,
                                  geometry.in_dim,
                                  1,
                                  num_fused,
                                  {0, 1, 2},
                                  adapters.slice.data(),
                                  page_bytes,
                                  t.data()};
    poison_scratch(team);
    run_lora_shrink(shrink, team);
    // Products of size about 0.5 each, in float.
    if (check) {
      EXPECT_TRUE(
          all_near(t, reference::lora_shrink(shrink, t_floats), sum_tolerance(geometry.in_dim)));
    }
    LoraExpandParams expand{};
    expand.batch = batch;
    expand.t = t.data();
    expand.y = batch_y.data();
    expand.y_stride = width;
    expand.page_dtype = geometry.page_dtype;
    expand.layer_idx = 1;
    expand.num_fused = num_fused;
    expand.slice = adapters.slice.data();
    expand.page_bytes = page_bytes;
    int64_t column = 0;
    for (int32_t j = 0; j < num_fused; ++j) {
      expand.module_idx[j] = j;
      expand.out_dim[j] = geometry.out_dims[static_cast<size_t>(j)];
      expand.column_offset[j] = column;
      column += expand.out_dim[j];
    }
    std::vector<double> expected = reference::lora_expand(expand, row);
    for (size_t i = 0; i < expected.size(); ++i) expected[i] += batch_y[i];
    poison_scratch(team);
    run_lora_expand(expand, team);
    // t is about sqrt(in_dim) / 2, summed over the rank: results reach some hundreds, in float.
    if (check) {
      EXPECT_TRUE(all_near(batch_y, expected, 1e-3));
    }
    return batch_y;
  }
};

TEST_P(LoraTest, EqualsReference) {
  const Geometry geometries[] = {{64, {64, 16, 16}, 4096, DType::kBF16},
                                 {100, {37, 130, 1}, 300, DType::kF32},
                                 {129, {600, 33, 65}, 50, DType::kBF16},  // rows longer than a page
                                 {31, {1100}, 1100, DType::kF32},
                                 {300, {513, 48}, 512, DType::kBF16}};
  for (const Geometry& geometry : geometries) {
    const Adapters adapters =
        make(geometry, {{1, 2, 3}, {16, 0, 5}, {130, 33, 64}, {8, 8, 8}, {0, 0, 0}, {7, 17, 0}});
    const std::vector<float> x = normals(120 * geometry.in_dim);
    int64_t width = 0;
    for (const int64_t out_dim : geometry.out_dims) width += out_dim;
    const std::vector<float> y = normals(120 * width);
    run(adapters, {{1, {{0, 1.0f}}, 3}}, x, y, 0, team_, true);
    run(adapters,
        {{5, {{2, 0.5f}}, 0}, {70, {{1, 1.0f}}, 20}, {1, {{3, 1.0f}, {0, -2.0f}, {5, 0.3f}}, 9}}, x,
        y, 1, team_, true);
    run(adapters, {{3, {{4, 1.0f}}, 0}, {33, {{5, 1.0f}, {4, 1.0f}}, 60}}, x, y, 2, team_, true);
  }
}

// Rows that are in no segment keep their bits.
TEST_P(LoraTest, LeavesOtherRowsAlone) {
  const Geometry geometry{48, {96, 20, 20}, 1000, DType::kBF16};
  const Adapters adapters = make(geometry, {{16, 16, 16}});
  const std::vector<float> x = normals(20 * 48), y = normals(20 * 136);
  const std::vector<float> out =
      run(adapters, {{4, {{0, 1.0f}}, 5}, {2, {{0, 1.0f}}, 9}}, x, y, 3, team_);
  for (const int64_t row : {0, 1, 2, 7, 8, 9}) {
    EXPECT_TRUE(same_bits(out.data() + row * 136, y.data() + row % 7 % 3 * 136, 136)) << row;
  }
}

// The law: a row's delta is bit for bit the same alone and in any segment of any batch, on any
// team.
TEST_P(LoraTest, RowDoesNotDependOnOthers) {
  for (const Geometry& geometry :
       {Geometry{200, {600, 40, 40}, 1024, DType::kBF16}, Geometry{77, {90}, 64, DType::kF32}}) {
    const Adapters adapters = make(geometry, {{16, 8, 3}, {5, 0, 70}, {33, 64, 1}});
    const std::vector<std::vector<std::pair<int32_t, float>>> lists = {
        {{0, 1.0f}}, {{1, 0.7f}, {2, 1.0f}}, {{2, -1.0f}}};
    int64_t width = 0;
    for (const int64_t out_dim : geometry.out_dims) width += out_dim;
    const std::vector<float> x = normals(60 * geometry.in_dim), y = normals(60 * width);
    std::vector<std::vector<std::vector<float>>> alone(lists.size());
    for (size_t list = 0; list < lists.size(); ++list) {
      for (int32_t row = 0; row < 60; ++row)
        alone[list].push_back(run(adapters, {{1, lists[list], row}}, x, y, 0, team_));
    }
    for (int32_t trial = 0; trial < 15; ++trial) {
      device::ThreadTeam team(1 + trial % 3);
      std::vector<Segment> segments;
      std::vector<size_t> used;
      for (int32_t g = between(1, 6); g > 0; --g) {
        used.push_back(static_cast<size_t>(between(0, 2)));
        const int32_t rows = between(1, 40);
        segments.push_back({rows, lists[used.back()], between(0, 60 - rows)});
      }
      const int32_t gap = between(0, 2);
      const std::vector<float> out = run(adapters, segments, x, y, gap, team);
      int64_t row = 0;
      for (size_t g = 0; g < segments.size(); ++g) {
        row += gap;
        for (int32_t i = 0; i < segments[g].rows; ++i, ++row) {
          const std::vector<float>& expected =
              alone[used[g]][static_cast<size_t>(segments[g].first_row + i)];
          ASSERT_TRUE(same_bits(out.data() + row * width, expected.data(), width))
              << "segment " << g << " row " << i;
        }
      }
    }
  }
}

SLORA_KERNEL_TEST_SUITE(LoraTest);

}  // namespace
}  // namespace slora::kernels
