// Norms of the heads of q and k, and the cap of logits.
#include <algorithm>
#include <cmath>

#include "slora/kernels/host_kernels.hpp"
#include "src/host/isa.hpp"

namespace slora::kernels {
namespace {

void norm_heads(float* heads, int32_t num_heads, const float* weight,
                const HeadNormParams& params) {
  const int64_t d = params.head_size;
  for (int32_t n = 0; n < num_heads; ++n) {
    float* head = heads + n * d;
    const float sum = isa().add_and_sum_squares(head, nullptr, d);
    const float factor = 1.0f / std::sqrt(sum / static_cast<float>(d) + params.eps);
    isa().scale_by_weight(head, weight, factor, params.weight_offset, d, head);
  }
}

}  // namespace

// Cost       reads and writes q and k once; a token is one task
void run_head_norm(const HeadNormParams& params, device::ThreadTeam& team) {
  team.parallel_for(params.num_tokens, [&](int32_t t, int32_t) {
    float* q = static_cast<float*>(params.qkv) + t * params.row_stride;
    float* k = q + static_cast<int64_t>(params.num_heads) * params.head_size;
    norm_heads(q, params.num_heads, params.q_weight, params);
    norm_heads(k, params.num_kv_heads, params.k_weight, params);
  });
}

// Cost       about 10 ns a logit and thread
void run_softcap(const SoftcapParams& params, device::ThreadTeam& team) {
  constexpr int64_t kChunk = 4096;
  const int64_t chunks = (params.count + kChunk - 1) / kChunk;
  team.parallel_for(static_cast<int32_t>(chunks), [&](int32_t chunk, int32_t) {
    const int64_t begin = chunk * kChunk;
    const int64_t end = std::min(begin + kChunk, params.count);
    for (int64_t i = begin; i < end; ++i)
      params.y[i] = params.cap * std::tanh(params.y[i] / params.cap);
  });
}

}  // namespace slora::kernels
