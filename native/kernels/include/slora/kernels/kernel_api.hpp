// The kernel half of the backend seam: parameters of every operation and the C table that holds
// them. C++17.
//
// Kernels know shapes and spans, no sequences, requests or policy. All pointers are device memory;
// every call enqueues on the caller's stream, allocates nothing and returns a core::Status value.
// Letters: T tokens, S rows of the batch (sequences), H hidden, N heads, D head size, R lora_rank,
// V vocabulary, L layers.
//
// Results of the host backend do not depend on what else is in the batch: each output element is
// one fixed sum, in an order that depends on nothing but its own operands' lengths. That is what
// makes a request's tokens bitwise equal alone and in any mixed batch, however its prompt is
// chunked.
#pragma once

#include <cstdint>

#include "slora/core/dtype.hpp"
#include "slora/core/page_layout.hpp"
#include "slora/core/wide_module.hpp"

namespace slora::kernels {

inline constexpr uint32_t kKernelApiVersion = 5;

using core::DType;
using core::WideModule;

// Most modules that share one input and so one shrink launch (q, k, v).
inline constexpr int32_t kMaxFusedModules = 3;

// ---- weights
// -----------------------------------------------------------------------------------------------------

// Semantics  dst rows [row_offset, row_offset + num_rows) = convert(src)      src [num_rows, K],
// row stride in elements The packed form is the backend's own; a packed matrix [N, K] takes
// weight_bytes(dtype, N, K) bytes and every row of it must be packed or filled once before use.
struct WeightPackParams {
  void* dst;
  DType dst_dtype;
  DType src_dtype;
  int64_t n_total;
  int64_t k;
  int64_t row_offset;
  int64_t num_rows;
  const void* src;
  int64_t src_row_stride;
  // src is pinned, its rows lie end to end, and it stays as it is until the stream has passed: then
  // nothing is waited for. Otherwise the call may wait for the stream.
  bool src_is_staged = false;
};

// Semantics  dst[row_offset + i, c] ~ N(0, stddev) for i < num_rows, the same numbers for the same
// seed on every backend and dtype (before rounding): a counter-based generator of (seed,
// (source_row
// + i) * source_k + source_column + c), the element's place in a matrix of which dst holds a part.
// num_rows 0: all of dst, which is that matrix itself.
struct WeightFillParams {
  void* dst;
  DType dtype;
  int64_t n_total;
  int64_t k;
  uint64_t seed;
  float stddev;
  int64_t row_offset = 0;
  int64_t num_rows = 0;
  int64_t source_row = 0;
  int64_t source_column = 0;
  int64_t source_k = 0;
};

// ---- base model
// --------------------------------------------------------------------------------------------------

// Semantics  out[t, :] = scale * W[token(t) - vocab_begin, :], token(t) = history[token_slot[t] *
// history_stride + token_position[t]]; zeros if is_shard and W has no such row. Otherwise a token
// id outside [0, V) cannot occur: ids are checked where they enter.
struct EmbedParams {
  const void* weight;  // packed [V, H]
  DType weight_dtype;
  DType activation_dtype;
  int64_t vocab_size;
  int64_t hidden_size;
  const int32_t* history;
  int64_t history_stride;
  const int32_t* token_slot;      // [T]
  const int32_t* token_position;  // [T]
  int32_t num_tokens;
  float scale;
  void* out;                // [T, H]
  int64_t vocab_begin = 0;  // token id of W's first row
  bool is_shard = false;    // W holds a part of the vocabulary
};

// Semantics  if delta: residual[t] += delta[t].  y[i] = residual[row(i)] *
// rsqrt(mean(residual[row(i)]^2) + eps) *
//            (weight_offset + weight), row(i) = row_indices ? row_indices[i] : i
// With row_indices, delta must be null. Without it y may be the residual itself.
struct NormParams {
  void* residual;              // [T, H]
  const void* delta;           // [T, H] or null
  const float* weight;         // [H]
  void* y;                     // [num_rows, H]
  const int32_t* row_indices;  // [num_rows] or null
  DType activation_dtype;
  int32_t num_rows;
  int64_t hidden_size;
  float eps;
  float weight_offset;  // 0, or 1 where the stored weight is the difference from one
};

// Semantics  y[m, n] = sum_k x[m, k] * W[n, k] (+ bias[n])      accumulated in fp32
// With a bf16 W the host rounds x to bf16 first. Row m of y depends on row m of x only.
struct GemmParams {
  const void* x;  // [M, K], row stride x_stride elements
  int64_t x_stride;
  const void* w;  // packed [N, K]
  DType weight_dtype;
  DType activation_dtype;  // of x
  int64_t m;
  int64_t n;
  int64_t k;
  const float* bias;  // [N] or null
  void* y;            // [M, N], row stride y_stride elements
  int64_t y_stride;
  void* workspace;              // gemm_workspace_bytes(weight_dtype, M, K)
  DType y_dtype = DType::kF32;  // fp32 (logits), or activation_dtype
};

// Semantics  each head h of q and k: h[d] *= rsqrt(mean(h^2) + eps) * (weight_offset + weight[d]),
// in place, before the rotation
struct HeadNormParams {
  void* qkv;  // [T, row_stride]: q at column 0, k at num_heads * D
  int64_t row_stride;
  DType activation_dtype;
  int32_t num_tokens;
  int32_t num_heads;
  int32_t num_kv_heads;
  int32_t head_size;
  const float* q_weight;  // [D]
  const float* k_weight;  // [D]
  float eps;
  float weight_offset;
};

// Semantics  y[i] = cap * tanh(y[i] / cap)
struct SoftcapParams {
  float* y;
  int64_t count;
  float cap;  // > 0
};

// Semantics  rotates q and k by their position and writes k and v into their KV page.
//   pair i < rotary_size / 2 of a head: (a, b) = (h[i], h[i + rotary_size / 2]) -> (a cos - b sin,
//   b cos + a sin)
// q is rotated in place; k and v are read from qkv and only written to pages (in page_dtype).
// A KV page of one layer: [2, tokens_per_page, num_kv_heads, head_size], K first.
struct RopeKvParams {
  void* qkv;  // [T, row_stride]: q at column 0, k at num_heads * D, v at (num_heads + num_kv_heads)
              // * D
  int64_t row_stride;
  DType activation_dtype;
  DType page_dtype;
  const float* rope_table;        // [max_context, rotary_size]: cos of pairs, then sin of pairs
  const int32_t* token_position;  // [T]
  const int32_t* token_page;      // [T] page id of the token's KV; < 0: padding, nothing is written
  int32_t num_tokens;
  int32_t num_heads;
  int32_t num_kv_heads;
  int32_t head_size;
  int32_t rotary_size;
  int32_t tokens_per_page;  // slot in page = position % tokens_per_page
  uint8_t* slice;           // this layer's slice of the arena
  int64_t page_bytes;
};

// Semantics  out[t, n] = softmax_j(scale * q[t, n] . k[j, kv(n)]) v[j, kv(n)] over j in (position -
// window, position] Row s of the batch holds tokens [row_offsets[s], row_offsets[s + 1]); its pages
// are page_table[s * page_table_stride
// ...], and the token's own K and V are already in them. window <= 0: none. softcap <= 0: none,
// else scores = softcap * tanh(scores / softcap). A row without tokens is padding.
struct AttentionParams {
  const void* q;  // [T, q_stride]; head n at column n * D
  int64_t q_stride;
  void* out;  // [T, num_heads * D]
  DType activation_dtype;
  DType page_dtype;
  const int32_t* row_offsets;     // [S + 1]
  const int32_t* token_position;  // [T]
  const int32_t* page_table;      // [S, page_table_stride]
  int64_t page_table_stride;
  int32_t num_rows;
  int32_t num_tokens;
  int32_t num_heads;
  int32_t num_kv_heads;
  int32_t head_size;
  int32_t tokens_per_page;
  const uint8_t* slice;
  int64_t page_bytes;
  float scale;
  float softcap;
  int32_t window;
  // Bounds that shape the launch; those of a graph cover every batch that it will run.
  int32_t max_row_tokens = 0;  // tokens of one row of this batch; 0: not known
  int32_t max_context = 0;     // positions of one sequence; 0: page_table_stride pages
  void* workspace = nullptr;   // attention_workspace_bytes(...)
  // Rows of more than one token and their tokens, which shape the launch; -1: not known.
  int32_t num_long_rows = -1;
  int32_t num_long_tokens = 0;
};

enum class Activation : int32_t { kSilu = 0, kGeluTanh = 1 };

// Semantics  out[t, f] = act(x[t, f]) * x[t, F + f]
struct GatedActivationParams {
  const void* x;  // [T, 2F]
  void* out;      // [T, F]
  DType activation_dtype;
  Activation activation;
  int32_t num_tokens;
  int64_t intermediate_size;
};

// ---- LoRA
// --------------------------------------------------------------------------------------------------------

// A list entry of a segment: one adapter with its factor.
struct LoraEntry {
  int32_t adapter_idx;  // into LoraBatch::adapters
  float weight;
  int64_t t_offset;  // floats: the entry's part of the intermediate
  int32_t t_stride;  // floats a row: the adapter's largest lora_rank
  // Floats of one fused module before the entry's in a packed share (LoraExchangeParams).
  int32_t gather_offset;
};

struct LoraAdapterRef {
  const core::LoraModule* modules;  // [L, num_modules]
  int32_t page_offset;              // into LoraBatch::pages: the adapter's pages in order
  int32_t reserved;
  const WideModule* wide = nullptr;  // [2] embedding, head; null: neither
};

// A segment of few rows, or (shrink) at most kPieceRanks ranks of one entry of it, as one unit of
// work that names all it needs: a large decode batch has hundreds, and looking each up through the
// tables would take longer than reading its weights.
inline constexpr int32_t kPieceTokens = 8;  // rows of a segment that goes in pieces
inline constexpr int32_t kPieceRanks = 16;
struct alignas(16) LoraPiece {
  const core::LoraModule* modules;  // of the (first) entry's adapter
  int64_t t_offset;                 // of the (first) entry
  int32_t page_offset;              // of its adapter
  int32_t t_stride;
  float weight;
  int32_t first_token;
  int32_t num_rows;    // of the segment, 1..kPieceTokens
  int32_t rank_begin;  // shrink: ranks [rank_begin, rank_begin + kPieceRanks)
  int32_t entry_begin;
  int32_t entry_end;  // expand: entries after the first are looked up
};

// The adapters of one batch, cut into segments. Rows without an adapter are in no segment and cost
// nothing. The intermediate of entry e, fused module j, row i of its segment (rows_in_segment
// rows):
//   t[t_offset + (j * rows_in_segment + i) * t_stride + r], r < lora_rank
struct LoraBatch {
  int32_t num_segments;
  int32_t num_modules;             // modules a layer (the model's module table)
  const int32_t* segment_begin;    // [G] first token
  const int32_t* segment_end;      // [G] past the last token
  const int32_t* entry_offsets;    // [G + 1]
  const LoraEntry* entries;        // [E]
  const LoraAdapterRef* adapters;  // [A]
  const int32_t* pages;
  // Bounds that shape the launch; those of a graph cover every batch that it will run, and segments
  // past the batch's own are empty there (begin = end). 0: not known.
  int32_t num_tokens = 0;          // of the whole batch, rows without adapters included
  int32_t max_segment_tokens = 0;  // tokens of one segment
  int32_t max_lora_rank = 0;       // of any module of any adapter in the batch
  // Segments of at most kPieceTokens rows, once more, in pieces and most bytes first; a backend may
  // take them instead. They are given only where every dimension and the page are a multiple of
  // 8 elements, and no row of A or B is longer than a page. max_..: bounds as above; 0: there are
  // none. Then segments of more rows, which come first, are num_long_segments with num_long_tokens
  // rows, or unknown (-1).
  const LoraPiece* shrink_pieces = nullptr;
  const LoraPiece* expand_pieces = nullptr;
  const int32_t* num_pieces = nullptr;  // [2] shrink, expand
  int32_t max_shrink_pieces = 0;
  int32_t max_expand_pieces = 0;
  int32_t num_long_segments = -1;
  int32_t num_long_tokens = 0;
  int32_t min_segment_tokens = 0;  // segments of fewer rows are passed over
};

// MBGMV / MBGMM, first half.
// Semantics  t[e, j, i, r] = sum_h x[segment_begin + i, h] * A_j[r, h]        fp32, of each entry
// and fused module
struct LoraShrinkParams {
  LoraBatch batch;
  const void* x;  // [T, x_stride]
  int64_t x_stride;
  DType activation_dtype;
  DType page_dtype;
  int64_t in_dim;
  int32_t layer_idx;
  int32_t num_fused;  // <= kMaxFusedModules
  int32_t module_idx[kMaxFusedModules];
  const uint8_t* slice;
  int64_t page_bytes;
  float* t;
  // With lora_partials(num_tokens) > 1 a backend may write that many partial sums, `t_stride`
  // floats apart, which its own expand adds up in order.
  int64_t t_stride = 0;
};

// MBGMV / MBGMM, second half.
// Semantics  y[row, column_offset_j + o] += weight * scale_j * sum_r t[e, j, i, r] * Bt_j[r, o]
// entries in order
struct LoraExpandParams {
  LoraBatch batch;
  const float* t;
  void* y;  // [T, y_stride]
  int64_t y_stride;
  DType activation_dtype;
  DType page_dtype;
  int32_t layer_idx;
  int32_t num_fused;
  int32_t module_idx[kMaxFusedModules];
  int64_t out_dim[kMaxFusedModules];
  int64_t column_offset[kMaxFusedModules];
  const uint8_t* slice;
  int64_t page_bytes;
  int64_t t_stride = 0;  // as the shrink's
  int64_t in_dim = 0;    // the shrink's: both halves cut the sum alike
};

// Semantics  y[row, column_offset_j + o] = y[...] * factor_j[o] + weight * offset_j[o]; entries in
// order, parts that a module lacks are 1 and 0. After expand: a factor scales base and update alike
// (DoRA), an offset is not scaled (biases).
struct LoraEpilogueParams {
  LoraBatch batch;
  void* y;  // [T, y_stride]
  int64_t y_stride;
  DType activation_dtype;
  DType page_dtype;
  int32_t layer_idx;
  int32_t num_fused;
  int32_t module_idx[kMaxFusedModules];
  int64_t out_dim[kMaxFusedModules];
  int64_t column_offset[kMaxFusedModules];
  const uint8_t* slice;
  int64_t page_bytes;
};

// Semantics  merged[n, k] = original[n, k] + scale_j * sum_r Bt_j[r, n - column_offset_j] * A_j[r,
// k] for the columns n of fused module j, rounded once to weight_dtype; A and B are those of
// batch.adapters[0]. Every n belongs to one fused module.
struct LoraMergeParams {
  LoraBatch batch;
  const void* original;  // packed [N, K]
  void* merged;          // packed [N, K], another one
  DType weight_dtype;
  DType page_dtype;
  int64_t n;
  int64_t k;
  int32_t layer_idx;
  int32_t num_fused;
  int32_t module_idx[kMaxFusedModules];
  int64_t out_dim[kMaxFusedModules];
  int64_t column_offset[kMaxFusedModules];
  const uint8_t* slice;
  int64_t page_bytes;
};

// Semantics  for each token of a segment, entries in order, with the entry's WideModule m =
// wide[0]:
//   if m has a row for the token: out[t] = scale * row
//   out[t] += scale * weight * m.scale * sum_r m.a[token, r] * m.b[r, :]
// A part of the vocabulary counts its tokens from vocab_begin and passes over those of others.
struct LoraEmbedParams {
  LoraBatch batch;
  DType activation_dtype;
  DType page_dtype;  // of the rows
  const int32_t* history;
  int64_t history_stride;
  const int32_t* token_slot;      // [T]
  const int32_t* token_position;  // [T]
  int64_t hidden_size;
  float scale;  // EmbedParams::scale
  void* out;    // [T, H]
  int64_t vocab_begin = 0;
  int64_t vocab_size = INT64_MAX;  // of the part
};

// Semantics  for each row of a segment, entries in order, with the entry's WideModule m = wide[1]:
//   y[i, id(k)] = x[i] . m.rows[k]
//   y[i, v] += weight * m.scale * sum_r (x[i] . m.a[r]) * m.b[r, v]
// The batch's segments are ranges of output rows here, not of tokens.
struct LoraHeadParams {
  LoraBatch batch;
  const void* x;  // [num outputs, x_stride]
  int64_t x_stride;
  DType activation_dtype;
  DType page_dtype;
  int64_t hidden_size;
  int64_t vocab_size;
  float* y;  // [num outputs, V]
};

// ---- sampling
// ----------------------------------------------------------------------------------------------------

// One token to sample. Ranges are those of slora_sampling_options.
struct SampleRow {
  int32_t logits_row;  // < 0: padding, nothing is written
  int32_t history_slot;
  int32_t prompt_tokens;
  int32_t history_tokens;  // before this sample; also where the token is written and the
                           // generator's counter
  float temperature;
  int32_t top_k;
  float top_p;
  float min_p;
  float typical_p;
  float repetition_penalty;
  float presence_penalty;
  float frequency_penalty;
  uint64_t seed;
  int32_t bias_offset;
  int32_t num_bias;
  int32_t num_logprobs;
  int32_t reserved;
};

// Semantics  logit bias, penalties and truncation in the order of slora_sampling_options; then the
// first largest (temperature 0), or the inverse of the distribution's sum in vocabulary order at
// the Philox4x32-10 uniform of (seed, history_tokens). Log-probabilities are of the raw logits. The
// token goes to out_tokens and to history[history_slot, history_tokens].
struct SampleParams {
  const float* logits;  // [num logits rows, V]
  int64_t vocab_size;
  const SampleRow* rows;  // [num_rows]
  int32_t num_rows;
  int32_t max_logprobs;
  int32_t* history;
  int64_t history_stride;
  const int32_t* bias_tokens;
  const float* bias_values;
  int32_t* out_tokens;      // [num_rows]
  float* out_logprobs;      // [num_rows]
  int32_t* out_top_tokens;  // [num_rows, max_logprobs]
  float* out_top_logprobs;  // [num_rows, max_logprobs]
  void* workspace;          // sample_workspace_bytes(num_rows, V)
};

// ---- tensor parallel
// --------------------------------------------------------------------------------------------------

// The collectives themselves are comm's; these bring what they carry into one run and out of it.

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

struct KernelApi {
  uint32_t struct_size;
  uint32_t api_version;

  // The dtype of activations between operations for a compute dtype: fp32 on the host, the compute
  // dtype on CUDA.
  DType (*activation_dtype)(DType compute_dtype);
  int32_t (*supports_dtype)(DType compute_dtype);  // 1 or 0

  uint64_t (*weight_bytes)(DType dtype, int64_t n, int64_t k);
  uint64_t (*gemm_workspace_bytes)(DType weight_dtype, int64_t m, int64_t k);
  uint64_t (*sample_workspace_bytes)(int64_t num_rows, int64_t vocab_size);

  int32_t (*weight_pack)(void* stream, const WeightPackParams* params);
  int32_t (*weight_fill)(void* stream, const WeightFillParams* params);
  int32_t (*embed)(void* stream, const EmbedParams* params);
  int32_t (*norm)(void* stream, const NormParams* params);
  int32_t (*gemm)(void* stream, const GemmParams* params);
  int32_t (*rope_kv)(void* stream, const RopeKvParams* params);
  int32_t (*attention)(void* stream, const AttentionParams* params);
  int32_t (*gated_activation)(void* stream, const GatedActivationParams* params);
  int32_t (*lora_shrink)(void* stream, const LoraShrinkParams* params);
  int32_t (*lora_expand)(void* stream, const LoraExpandParams* params);
  int32_t (*sample)(void* stream, const SampleParams* params);

  int32_t (*head_norm)(void* stream, const HeadNormParams* params);
  int32_t (*softcap)(void* stream, const SoftcapParams* params);
  int32_t (*lora_epilogue)(void* stream, const LoraEpilogueParams* params);
  int32_t (*lora_embed)(void* stream, const LoraEmbedParams* params);
  int32_t (*lora_head)(void* stream, const LoraHeadParams* params);

  // Most partial sums of the LoRA intermediate in a batch of num_tokens tokens, the most for the
  // fewest tokens; host: 1.
  int32_t (*lora_partials)(int64_t num_tokens);
  uint64_t (*attention_workspace_bytes)(int64_t num_tokens, int32_t num_heads, int32_t head_size);

  int32_t (*gather_columns)(void* stream, const GatherColumnsParams* params);
  int32_t (*append_tokens)(void* stream, const AppendTokensParams* params);
  // packed's share `part` = t, partial sums added, in order; elements that no rank holds are zero.
  int32_t (*lora_pack)(void* stream, const LoraExchangeParams* params);
  // t = packed's shares, one sum each: an expand after it takes t_stride 0.
  int32_t (*lora_unpack)(void* stream, const LoraExchangeParams* params);

  // ---- of experiments (native/ablation) alone; null where a backend lacks them

  // As lora_shrink and lora_expand, the way of batched matrix products: adapters are gathered into
  // contiguous tensors of the batch's largest rank and tokens into those of its longest segment,
  // zeros between. Of each segment the first entry alone. May allocate.
  int32_t (*lora_shrink_padded)(void* stream, const LoraShrinkParams* params) = nullptr;
  int32_t (*lora_expand_padded)(void* stream, const LoraExpandParams* params) = nullptr;
  int32_t (*lora_merge)(void* stream, const LoraMergeParams* params) = nullptr;
};

// The host backend's table, for the best instruction set of this machine ("generic", "avx2",
// "avx512", "avx512_bf16"); SLORA_HOST_ISA may ask for a lesser one.
const KernelApi* host_kernel_api();
const char* host_kernel_isa();

}  // namespace slora::kernels
