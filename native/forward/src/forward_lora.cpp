// The LoRA half of the pass: what adapters add to the base's modules, embedding and head, and how
// ranks that share out an update exchange its intermediate.
#include <algorithm>
#include <iterator>

#include "slora/core/check.hpp"
#include "slora/forward/forward_pass.hpp"

namespace slora::forward {

using model::MatrixKind;

void ForwardPass::lora_embed(void* stream, const batch::Batch& batch,
                             const kernels::EmbedParams& base) {
  kernels::LoraEmbedParams params{};
  params.batch = batch.lora;
  params.page_dtype = model_.weights->dtype();
  params.history = base.history;
  params.history_stride = base.history_stride;
  params.token_slot = base.token_slot;
  params.token_position = base.token_position;
  params.hidden_size = base.hidden_size;
  params.scale = base.scale;
  params.out = base.out;
  params.vocab_begin = base.vocab_begin;
  params.vocab_size = base.vocab_size;
  expect_launched(backend_.kernels->lora_embed(stream, &params), "lora_embed");
}

kernels::LoraBatch ForwardPass::lora_batch(const batch::Batch& batch,
                                           const LoraGroup& group) const {
  kernels::LoraBatch lora = batch.lora;
  if (rows_are_found(batch)) {
    lora.a_heads = a_heads_.as<kernels::LoraRowHead>();
    lora.b_heads = b_heads_.as<kernels::LoraRowHead>();
  }
  // What ranks exchange is laid out by segments.
  if (!group.fits_pieces || parallel_.exchanges_lora())
    lora.max_shrink_pieces = lora.max_expand_pieces = 0;
  return lora;
}

bool ForwardPass::rows_are_found(const batch::Batch& batch) const {
  const kernels::KernelApi& api = *backend_.kernels;
  const bool is_decode = batch.num_tokens == batch.num_rows;
  return a_heads_.bytes() > 0 && batch.lora.num_segments > 0 &&
         batch.lora.num_tokens == batch.num_tokens &&
         batch.num_tokens <= (is_decode ? api.most_found_decode_rows : api.most_found_rows);
}

bool ForwardPass::matmuls_take_updates(const batch::Batch& batch) const {
  const kernels::KernelApi& api = *backend_.kernels;
  return api.takes_updates &&
         (batch.num_tokens > batch.num_rows || batch.num_tokens <= api.most_updated_decode_rows);
}

void ForwardPass::make_heads() {
  const int32_t num_modules = model_.modules->num_modules();
  const bool fits = std::all_of(std::begin(groups_), std::end(groups_),
                                [](const LoraGroup& group) { return group.fits_pieces; });
  if (backend_.kernels->most_found_rows == 0 || num_modules > kernels::kMostFoundModules || !fits ||
      parallel_.exchanges_lora()) {
    return;
  }
  const int64_t count =
      int64_t{model_.config->num_layers} * num_modules * backend_.kernels->most_found_rows;
  const uint64_t bytes = sizeof(kernels::LoraRowHead) * static_cast<uint64_t>(count);
  a_heads_ = device::Buffer(backend_.device, device::MemoryKind::kDevice, bytes);
  b_heads_ = device::Buffer(backend_.device, device::MemoryKind::kDevice, bytes);
}

void ForwardPass::lora_find(void* stream, const batch::Batch& batch) {
  int64_t in_dim[kernels::kMostFoundModules], out_dim[kernels::kMostFoundModules];
  for (int32_t i = 0; i < model_.modules->num_modules(); ++i) {
    in_dim[i] = model_.modules->modules[static_cast<size_t>(i)].in_dim;
    out_dim[i] = model_.modules->modules[static_cast<size_t>(i)].out_dim;
  }
  kernels::LoraFindParams params{};
  params.batch = batch.lora;
  params.page_dtype = model_.weights->dtype();
  params.num_layers = model_.config->num_layers;
  params.in_dim = in_dim;
  params.out_dim = out_dim;
  params.slice = arena_.slice(0);
  params.slice_bytes = arena_.geometry().slice_bytes();
  params.page_bytes = arena_.geometry().page_bytes;
  params.a_heads = a_heads_.as<kernels::LoraRowHead>();
  params.b_heads = b_heads_.as<kernels::LoraRowHead>();
  expect_launched(backend_.kernels->lora_find_rows(stream, &params), "lora_find_rows");
}

void ForwardPass::lora_intermediate(void* stream, const batch::Batch& batch, MatrixKind kind,
                                    int32_t layer_idx, const void* x, int64_t x_stride) {
  lora_shrink(stream, batch, group(kind), layer_idx, x, x_stride);
  if (parallel_.exchanges_lora()) lora_exchange(stream, batch, kind, layer_idx);
}

void ForwardPass::lora_shrink(void* stream, const batch::Batch& batch, const LoraGroup& group,
                              int32_t layer_idx, const void* x, int64_t x_stride) {
  kernels::LoraShrinkParams shrink{};
  shrink.batch = lora_batch(batch, group);
  shrink.x = x;
  shrink.x_stride = x_stride;
  shrink.activation_dtype = activation_dtype_;
  shrink.page_dtype = model_.weights->dtype();
  shrink.in_dim = group.in_dim;
  // The shares of A have a table of their own, behind the one of B.
  shrink.layer_idx = layer_idx + (parallel_.exchanges_lora() ? model_.config->num_layers : 0);
  shrink.num_fused = group.count;
  for (int32_t i = 0; i < group.count; ++i) shrink.module_idx[i] = group.module_idx[i];
  shrink.slice = arena_.slice(layer_idx);
  shrink.page_bytes = arena_.geometry().page_bytes;
  shrink.t = lora_t_.as<float>();
  shrink.t_stride = room_.lora_t_floats;
  expect_launched(backend_.kernels->lora_shrink(stream, &shrink), "lora_shrink");
}

// Column-parallel: each rank has made some lora_ranks of the sum, and gets the others'.
// Row-parallel: each has made its inputs' part of every sum, and they are added up.
void ForwardPass::lora_exchange(void* stream, const batch::Batch& batch, MatrixKind kind,
                                int32_t layer_idx) {
  const LoraGroup& adapted = group(kind);
  const bool is_summed = model::is_row_parallel(kind);
  kernels::LoraExchangeParams params{};
  params.batch = lora_batch(batch, adapted);
  params.t = lora_t_.as<float>();
  params.packed = lora_packed_.as<float>();
  params.layer_idx = layer_idx;
  params.parts = is_summed ? 1 : parallel_.shard.tp_size;
  params.part = is_summed ? 0 : parallel_.shard.tp_rank;
  params.part_stride =
      adapted.count * (is_summed ? batch.lora_whole_floats : batch.lora_share_floats);
  params.num_fused = adapted.count;
  for (int32_t i = 0; i < adapted.count; ++i) params.module_idx[i] = adapted.module_idx[i];
  params.page_dtype = model_.weights->dtype();
  params.in_dim = adapted.in_dim;
  params.t_stride = room_.lora_t_floats;
  SLORA_CHECK(params.parts * params.part_stride <= room_.lora_packed_floats);
  expect_launched(backend_.kernels->lora_pack(stream, &params), "lora_pack");
  if (is_summed) {
    parallel_.group->all_reduce(stream, params.packed, params.part_stride, core::DType::kF32);
  } else {
    parallel_.group->all_gather(stream, params.packed + params.part * params.part_stride,
                                params.packed,
                                static_cast<uint64_t>(params.part_stride) * sizeof(float));
  }
  expect_launched(backend_.kernels->lora_unpack(stream, &params), "lora_unpack");
}

void ForwardPass::lora_expand(void* stream, const batch::Batch& batch, const LoraGroup& group,
                              int32_t layer_idx, void* y, int64_t y_stride) {
  const kernels::LoraExpandParams expand = update_of(batch, group, layer_idx, y, y_stride);
  expect_launched(backend_.kernels->lora_expand(stream, &expand), "lora_expand");
  lora_epilogue(stream, batch, group, layer_idx, y, y_stride);
}

kernels::LoraExpandParams ForwardPass::update_of(const batch::Batch& batch, const LoraGroup& group,
                                                 int32_t layer_idx, void* y,
                                                 int64_t y_stride) const {
  kernels::LoraExpandParams expand{};
  expand.batch = lora_batch(batch, group);
  expand.t = lora_t_.as<float>();
  expand.y = y;
  expand.y_stride = y_stride;
  expand.activation_dtype = activation_dtype_;
  expand.page_dtype = model_.weights->dtype();
  expand.layer_idx = layer_idx;
  expand.num_fused = group.count;
  expand.in_dim = group.in_dim;
  // What was exchanged is one sum.
  expand.t_stride = parallel_.exchanges_lora() ? 0 : room_.lora_t_floats;
  expand.slice = arena_.slice(layer_idx);
  expand.page_bytes = arena_.geometry().page_bytes;
  for (int32_t i = 0; i < group.count; ++i) {
    expand.module_idx[i] = group.module_idx[i];
    expand.out_dim[i] = group.expand_dim[i];
    expand.column_offset[i] = group.expand_offset[i];
  }
  return expand;
}

void ForwardPass::lora_epilogue(void* stream, const batch::Batch& batch, const LoraGroup& group,
                                int32_t layer_idx, void* y, int64_t y_stride) {
  if (!batch.has_lora_epilogue) return;
  kernels::LoraEpilogueParams params{};
  params.batch = batch.lora;
  params.y = y;
  params.y_stride = y_stride;
  params.activation_dtype = activation_dtype_;
  params.page_dtype = model_.weights->dtype();
  params.layer_idx = layer_idx;
  params.num_fused = group.count;
  params.slice = arena_.slice(layer_idx);
  params.page_bytes = arena_.geometry().page_bytes;
  for (int32_t i = 0; i < group.count; ++i) {
    params.module_idx[i] = group.module_idx[i];
    params.out_dim[i] = group.out_dim[i];
    params.column_offset[i] = group.column_offset[i];
  }
  expect_launched(backend_.kernels->lora_epilogue(stream, &params), "lora_epilogue");
}

void ForwardPass::lora_head(void* stream, const batch::Batch& batch,
                            const kernels::GemmParams& base) {
  kernels::LoraHeadParams params{};
  params.batch = batch.lora;
  params.batch.segment_begin = batch.segment_output_begin;
  params.batch.segment_end = batch.segment_output_end;
  params.x = base.x;
  params.x_stride = base.x_stride;
  params.activation_dtype = activation_dtype_;
  params.page_dtype = model_.weights->dtype();
  params.hidden_size = base.k;
  params.vocab_size = base.n;
  params.y = static_cast<float*>(base.y);
  expect_launched(backend_.kernels->lora_head(stream, &params), "lora_head");
}

}  // namespace slora::forward
