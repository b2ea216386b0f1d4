// A batch whose LoRA intermediate ranks exchange, for the host's and the GPU's tests.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "slora/kernels/kernel_api.hpp"

namespace slora::kernels {

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

inline Exchange make_exchange(int32_t parts, int32_t num_fused) {
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

}  // namespace slora::kernels
