// Norms, rotation with the write of K and V into pages, and gated activations.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "slora/kernels/host_kernels.hpp"
#include "src/host/isa.hpp"

namespace slora::kernels {
namespace {

// Writes one head's K or V into its page.
void write_page_row(const float* x, int64_t n, DType page_dtype, uint8_t* page, int64_t element) {
  if (page_dtype == DType::kBF16) {
    isa().to_bf16(x, n, reinterpret_cast<uint16_t*>(page) + element);
  } else {
    std::memcpy(reinterpret_cast<float*>(page) + element, x,
                static_cast<size_t>(n) * sizeof(float));
  }
}

void rotate_token(const RopeKvParams& params, int32_t t, float* rotated) {
  if (params.token_page[t] < 0) return;  // padding
  const int64_t d = params.head_size;
  const int64_t half = params.rotary_size / 2;
  const int32_t position = params.token_position[t];
  const float* cosines = params.rope_table + static_cast<int64_t>(position) * params.rotary_size;
  const float* sines = cosines + half;
  float* q = static_cast<float*>(params.qkv) + t * params.row_stride;
  for (int32_t n = 0; n < params.num_heads; ++n) {
    float* head = q + n * d;
    isa().rotate(head, head + half, cosines, sines, half, head, head + half);
  }
  const float* k = q + params.num_heads * d;
  const float* v = k + params.num_kv_heads * d;
  uint8_t* page = params.slice + params.token_page[t] * params.page_bytes;
  const int64_t row_elems = params.num_kv_heads * d;
  const int64_t slot = position % params.tokens_per_page;
  for (int32_t n = 0; n < params.num_kv_heads; ++n) {
    const float* head = k + n * d;
    isa().rotate(head, head + half, cosines, sines, half, rotated, rotated + half);
    std::copy(head + params.rotary_size, head + d, rotated + params.rotary_size);
    write_page_row(rotated, d, params.page_dtype, page, slot * row_elems + n * d);
  }
  write_page_row(v, row_elems, params.page_dtype, page,
                 (params.tokens_per_page + slot) * row_elems);
}

}  // namespace

// Cost       reads residual and delta, writes residual and y once; a row is one task
void run_norm(const NormParams& params, device::ThreadTeam& team) {
  const int64_t hidden = params.hidden_size;
  team.parallel_for(params.num_rows, [&](int32_t i, int32_t) {
    const int64_t row = params.row_indices ? params.row_indices[i] : i;
    float* residual = static_cast<float*>(params.residual) + row * hidden;
    const float* delta =
        params.delta ? static_cast<const float*>(params.delta) + row * hidden : nullptr;
    const float sum = isa().add_and_sum_squares(residual, delta, hidden);
    const float factor = 1.0f / std::sqrt(sum / static_cast<float>(hidden) + params.eps);
    isa().scale_by_weight(residual, params.weight, factor, params.weight_offset, hidden,
                          static_cast<float*>(params.y) + i * hidden);
  });
}

// Cost       reads qkv once, writes q, and k and v to pages
void run_rope_kv(const RopeKvParams& params, device::ThreadTeam& team) {
  team.parallel_for(params.num_tokens, [&](int32_t t, int32_t thread) {
    rotate_token(params, t, static_cast<float*>(team.scratch(thread)));
  });
}

// Cost       reads x once, writes out once; about 30 instructions a vector
void run_gated_activation(const GatedActivationParams& params, device::ThreadTeam& team) {
  // Columns a task: a few microseconds of work, so that one token of a wide model uses all threads.
  constexpr int64_t kColumns = 4096;
  const int64_t width = params.intermediate_size;
  const int64_t chunks = (width + kColumns - 1) / kColumns;
  const auto gate = params.activation == Activation::kSilu ? isa().gate_silu : isa().gate_gelu_tanh;
  team.parallel_for(static_cast<int32_t>(params.num_tokens * chunks), [&](int32_t task, int32_t) {
    const int64_t t = task / chunks;
    const int64_t begin = task % chunks * width / chunks;
    const int64_t end = (task % chunks + 1) * width / chunks;
    const float* x = static_cast<const float*>(params.x) + t * 2 * width;
    gate(x + begin, x + width + begin, end - begin,
         static_cast<float*>(params.out) + t * width + begin);
  });
}

}  // namespace slora::kernels
