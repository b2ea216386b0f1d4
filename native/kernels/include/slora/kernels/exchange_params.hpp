// Parameters of what surrounds the collectives of tensor-parallel ranks: it brings what they carry
// into one run and out of it. The collectives themselves are comm's. C++17.
#pragma once

#include <cstdint>

#include "slora/core/dtype.hpp"
#include "slora/kernels/lora_params.hpp"
#include "slora/kernels/sample_params.hpp"

namespace slora::kernels {

using core::DType;

// Semantics  out[i, offsets[p] + c] = in[p * part_stride + i * width_p + c], c < width_p =
// offsets[p + 1] - offsets[p]: matrices cut by columns, side by side again. fp32.
struct GatherColumnsParams {
  const float* in;  // [num_parts, part_stride]
  int64_t part_stride;
  const int64_t* offsets;  // [num_parts + 1]
  int32_t num_parts;
  int32_t num_rows;
  float* out;  // [num_rows, out_stride]
  int64_t out_stride;
};

// Semantics  history[rows[i].history_slot, rows[i].history_tokens] = tokens[i], where
// rows[i].logits_row >= 0: what sample() does besides sampling.
struct AppendTokensParams {
  const SampleRow* rows;  // [num_rows]
  int32_t num_rows;
  const int32_t* tokens;  // [num_rows]
  int32_t* history;
  int64_t history_stride;
};

// The intermediate of a batch as a collective carries it: without the holes of fused modules that
// are not there, and `parts` ranks' shares of lora_rank one after another. Entry e, module j of
// num_fused, row i of its segment, r < lora_rank, c = ceil(t_stride / parts):
//   rank p holds r in [R p / parts, R (p + 1) / parts), R the module's lora_rank, and of these r' =
//   r - R p / parts is at
//   packed[p * part_stride + num_fused * first_e + (j * rows_in_segment + i) * c + r'],
// first_e the sum over the entries before e of rows_in_segment * c, kept in
// LoraEntry::gather_offset if parts > 1; with parts 1 it is t_offset / kMaxFusedModules.
struct LoraExchangeParams {
  LoraBatch batch;
  float* t;
  float* packed;
  int64_t part_stride;
  int32_t layer_idx;  // of the module table of expand, which has whole lora_ranks
  int32_t parts;      // tensor-parallel ranks that share a lora_rank; 1: all hold all of it
  int32_t part;       // pack: whose share t holds, at r' of each row
  int32_t num_fused;
  int32_t module_idx[kMaxFusedModules];
  DType page_dtype;  // with in_dim and t_stride, the shrink's: how many partial sums t holds
  int64_t in_dim;
  int64_t t_stride;
};

}  // namespace slora::kernels
