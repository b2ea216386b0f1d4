// What the CUDA tests of LoRA share: adapters packed on host and device, one run of shrink and
// expand over a batch, and its comparison with the reference.
#pragma once

#include <algorithm>
#include <numeric>

#include "cuda_lora_batch.hpp"

namespace slora::kernels {

class CudaLoraTest : public CudaTest {
 protected:
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

  // Everything of one run on the device, of the bounds' size.
  struct Run {
    device::Buffer begin, end, entry_offsets, entries, x, y, t;
    device::Buffer shrink_pieces, expand_pieces, num_pieces, a_heads, b_heads;
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

  bool can_find(const Adapters& adapters, const Run& run) {
    const Geometry& geometry = adapters.geometry;
    const auto fits = [&](int64_t dim) { return dim % 8 == 0 && dim <= geometry.page_elems; };
    return kernels().lora_find_rows && geometry.page_elems % 8 == 0 && fits(geometry.in_dim) &&
           std::all_of(geometry.out_dims.begin(), geometry.out_dims.end(), fits) &&
           run.shrink.batch.num_segments > 0 &&
           run.shrink.batch.num_tokens <= kernels().most_found_rows;
  }

  // Has the rows looked up, and both halves go by that.
  void find_rows(Run& run, const Adapters& adapters) {
    const Geometry& geometry = adapters.geometry;
    LoraBatch& batch = run.shrink.batch;
    const uint64_t bytes = sizeof(LoraRowHead) * kLayers * geometry.out_dims.size() *
                           static_cast<uint64_t>(batch.num_tokens);
    run.a_heads = device_bytes(bytes);
    run.b_heads = device_bytes(bytes);
    overwrite(run.a_heads, std::vector<uint8_t>(bytes, 0xff));
    overwrite(run.b_heads, std::vector<uint8_t>(bytes, 0xff));
    const std::vector<int64_t> in_dims(geometry.out_dims.size(), geometry.in_dim);
    LoraFindParams find{};
    find.batch = batch;
    find.page_dtype = adapters.dtype;
    find.num_layers = kLayers;
    find.in_dim = in_dims.data();
    find.out_dim = geometry.out_dims.data();
    find.slice = run.shrink.slice;
    find.page_bytes = run.shrink.page_bytes;
    find.a_heads = run.a_heads.as<LoraRowHead>();
    find.b_heads = run.b_heads.as<LoraRowHead>();
    ASSERT_EQ(kernels().lora_find_rows(stream(), &find), 0);
    batch.a_heads = run.expand.batch.a_heads = find.a_heads;
    batch.b_heads = run.expand.batch.b_heads = find.b_heads;
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
    Run run = prepare(adapters, tables, std::max<int64_t>(tables.t_floats, 1),
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
    if (!can_find(adapters, run)) return;
    write(run, adapters, tables, x, y);
    find_rows(run, adapters);
    launch(run);
    EXPECT_EQ(std::memcmp(out.data(), result(run, adapters, tables).data(), out.size() * 4), 0)
        << "rows that were looked up differ";
  }

  std::vector<float> result(const Run& run, const Adapters& adapters, const Tables& tables) {
    std::vector<float> out = download(run.y, adapters.dtype);
    out.resize(static_cast<size_t>(tables.num_tokens * adapters.width));
    return out;
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

}  // namespace slora::kernels
