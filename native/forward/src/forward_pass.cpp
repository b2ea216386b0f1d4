// A layer is nine kernels for Llama, eleven and more with adapters. The sum into the residual rides
// in the norm that follows it, so a layer's output lives in delta_ until the next norm reads it.
#include "slora/forward/forward_pass.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "chunked_sum.hpp"
#include "slora/core/check.hpp"

namespace slora::forward {

using model::MatrixKind;
using model::VectorKind;

namespace {

// What the kernels of pieces move at once.
constexpr int64_t kPieceElems = 8;

}  // namespace

ForwardPass::ForwardPass(Backend backend, ModelView model, const memory::Arena& arena,
                         int32_t max_context, int32_t max_batch_tokens, int32_t max_outputs,
                         TensorParallel parallel)
    : backend_(std::move(backend)), model_(model), arena_(arena), parallel_(parallel) {
  const model::ModelConfig& config = *model_.config;
  activation_dtype_ = backend_.kernels->activation_dtype(model_.weights->dtype());

  // Both halves of a LoRA update must be able to take the batch's pieces, or neither takes them.
  const auto fits_pieces = [&](int64_t dim) {
    const int64_t page_elems = arena_.geometry().page_elems;
    return dim % kPieceElems == 0 && dim <= page_elems && page_elems % kPieceElems == 0;
  };
  for (int32_t i = 0; i < model_.modules->num_modules(); ++i) {
    const model::LinearModule& module = model_.modules->modules[static_cast<size_t>(i)];
    LoraGroup& group = groups_[static_cast<size_t>(module.group)];
    SLORA_CHECK(group.count < kernels::kMaxFusedModules);
    group.module_idx[group.count] = i;
    group.module_mask |= 1u << i;
    group.out_dim[group.count] = group.expand_dim[group.count] = module.out_dim;
    group.column_offset[group.count] = group.expand_offset[group.count] = module.column_offset;
    if (parallel_.exchanges_lora() && model::is_row_parallel(module.group)) {
      const model::IndexRange own = model::split_evenly(module.out_dim, parallel_.shard);
      group.expand_dim[group.count] = own.count;
      group.expand_offset[group.count] += own.begin;
    }
    group.in_dim = module.in_dim;
    group.fits_pieces &= fits_pieces(module.in_dim) && fits_pieces(module.out_dim) &&
                         module.column_offset % kPieceElems == 0;
    ++group.count;
  }

  const int64_t t = max_batch_tokens;
  const int64_t query = int64_t{config.num_heads} * config.head_size;
  const int64_t key_value = int64_t{config.num_kv_heads} * config.head_size;
  residual_ = device::Buffer(backend_.device, device::MemoryKind::kDevice,
                             static_cast<uint64_t>(t * config.hidden_size) * sizeof(float));
  normed_ = activations(t, config.hidden_size);
  qkv_ = activations(t, query + 2 * key_value);
  attended_ = activations(t, query);
  gate_up_ = activations(t, 2 * config.intermediate_size);
  activated_ = activations(t, config.intermediate_size);
  delta_ = activations(t, config.hidden_size);
  const int64_t widest = std::max({config.hidden_size, query, config.intermediate_size});
  workspace_ =
      device::Buffer(backend_.device, device::MemoryKind::kDevice,
                     backend_.kernels->gemm_workspace_bytes(model_.weights->dtype(), t, widest));

  attention_workspace_ = device::Buffer(
      backend_.device, device::MemoryKind::kDevice,
      backend_.kernels->attention_workspace_bytes(t, config.num_heads, config.head_size));

  const std::vector<float> table = model::rope_table(config, max_context);
  rope_table_ = upload(table.data(), table.size() * sizeof(float));
  if (parallel_.group) {
    std::vector<int64_t> offsets = {0};
    for (int32_t i = 0; i < parallel_.shard.tp_size; ++i) {
      const model::IndexRange part =
          model::split_evenly(model_.whole_config->vocab_size, {i, parallel_.shard.tp_size});
      widest_vocab_part_ = std::max(widest_vocab_part_, part.count);
      offsets.push_back(part.end());
    }
    vocab_offsets_ = upload(offsets.data(), offsets.size() * sizeof(int64_t));
    if (parallel_.overlap_tokens > 0)
      chunked_sum_ = std::make_unique<ChunkedSum>(backend_.device, *parallel_.group);
  }
  make_heads();
  make_room({max_outputs, 0, 0});
}

ForwardPass::~ForwardPass() = default;

device::Buffer ForwardPass::upload(const void* source, uint64_t bytes) const {
  device::Buffer target(backend_.device, device::MemoryKind::kDevice, bytes);
  device::Buffer staging(backend_.device, device::MemoryKind::kPinned, bytes);
  std::memcpy(staging.data(), source, bytes);
  device::Stream stream(backend_.device, device::StreamKind::kCopy);
  stream.copy(target.data(), staging.data(), bytes);
  stream.synchronize();
  return target;
}

device::Buffer ForwardPass::activations(int64_t rows, int64_t columns) const {
  return device::Buffer(
      backend_.device, device::MemoryKind::kDevice,
      static_cast<uint64_t>(rows * columns * core::dtype_bytes(activation_dtype_)));
}

uint8_t* ForwardPass::rows_of(const device::Buffer& buffer, RowRange rows, int64_t columns) const {
  return buffer.data() + rows.begin * columns * core::dtype_bytes(activation_dtype_);
}

bool ForwardPass::needs_more_room(const Room& room) const {
  return room.outputs > room_.outputs || room.lora_t_floats > room_.lora_t_floats ||
         room.lora_packed_floats > room_.lora_packed_floats;
}

void ForwardPass::make_room(const Room& room) {
  const auto floats = [this](int64_t count) {
    return device::Buffer(backend_.device, device::MemoryKind::kDevice,
                          static_cast<uint64_t>(count) * sizeof(float));
  };
  // Half as much again: adapters of growing rank should not each cost a wait.
  // A multiple of 32 floats, so that partial sums begin on a cache line.
  const auto grown = [](int64_t count) { return (count + count / 2 + 31) / 32 * 32; };
  // All is there before anything is replaced.
  Room made = room_;
  device::Buffer logits, logit_parts, lora_t, lora_packed;
  if (room.outputs > room_.outputs) {
    made.outputs = room.outputs;
    if (parallel_.shard.tp_rank == 0)
      logits = floats(made.outputs * model_.whole_config->vocab_size);
    if (parallel_.group)
      logit_parts = floats(parallel_.shard.tp_size * made.outputs * widest_vocab_part_);
  }
  if (room.lora_t_floats > room_.lora_t_floats) {
    made.lora_t_floats = grown(room.lora_t_floats);
    lora_t = floats(made.lora_t_floats * backend_.kernels->lora_partials(1));
  }
  if (room.lora_packed_floats > room_.lora_packed_floats) {
    made.lora_packed_floats = grown(room.lora_packed_floats);
    lora_packed = floats(made.lora_packed_floats);
  }
  for (const auto& [buffer, larger] :
       {std::pair{&logits_, &logits}, std::pair{&logit_parts_, &logit_parts},
        std::pair{&lora_t_, &lora_t}, std::pair{&lora_packed_, &lora_packed}}) {
    if (larger->bytes() > 0) std::swap(*buffer, *larger);
  }
  room_ = made;
}

void ForwardPass::run(device::Stream& stream, const batch::Batch& batch, const History& history,
                      const LayerHook& before_layer) {
  SLORA_CHECK(!needs_more_room({batch.num_outputs, batch.lora_t_floats, 0}));
  if (rows_are_found(batch)) lora_find(stream.handle(), batch);
  embed(stream, batch, history);
  for (int32_t layer_idx = 0; layer_idx < model_.config->num_layers; ++layer_idx) {
    if (before_layer) before_layer(layer_idx);
    attention_half(stream, batch, layer_idx);
    mlp_half(stream, batch, layer_idx);
  }
  if (batch.num_outputs > 0) head(stream.handle(), batch);
}

void ForwardPass::embed(device::Stream& stream, const batch::Batch& batch, const History& history) {
  const Matrix& embedding = model_.weights->matrix(MatrixKind::kEmbedding, -1);
  kernels::EmbedParams params{};
  params.weight = embedding.packed.data();
  params.weight_dtype = model_.weights->dtype();
  params.vocab_size = embedding.n;
  params.hidden_size = embedding.k;
  params.history = history.tokens;
  params.history_stride = history.stride;
  params.token_slot = batch.token_slot;
  params.token_position = batch.token_position;
  params.num_tokens = batch.num_tokens;
  params.scale = model_.config->architecture->embed_scale == model::EmbedScale::kSqrtHidden
                     ? std::sqrt(static_cast<float>(embedding.k))
                     : 1.0f;
  params.out = residual_.as<float>();
  if (parallel_.group) {
    params.is_shard = true;
    params.vocab_begin =
        model::split_evenly(model_.whole_config->vocab_size, parallel_.shard).begin;
  }
  expect_launched(backend_.kernels->embed(stream.handle(), &params), "embed");
  if (batch.has_wide_lora) lora_embed(stream.handle(), batch, params);
  // One rank has a token's row, the others have zeros.
  sum_in_chunks(stream, batch, residual_, core::DType::kF32);
}

// A decode step's matmuls take as long as reading W once, and chunks would read it several times.
// So decode steps, which alone are recorded, have no chunks: events have no place in a recording.
RowChunks ForwardPass::chunks_of(const batch::Batch& batch) const {
  if (!chunked_sum_ || batch.num_long_tokens == 0) return RowChunks(batch.num_tokens);
  return RowChunks(batch.num_tokens, parallel_.overlap_tokens);
}

void ForwardPass::sum_in_chunks(device::Stream& stream, const batch::Batch& batch,
                                const device::Buffer& x, core::DType dtype) {
  const RowChunks chunks = chunks_of(batch);
  if (!chunks.are_several()) return sum_over_ranks(stream.handle(), batch, x, dtype);
  chunked_sum_->enqueue(stream, chunks, x.data(), model_.config->hidden_size, dtype);
}

void ForwardPass::sum_over_ranks(void* stream, const batch::Batch& batch, const device::Buffer& x,
                                 core::DType dtype) {
  if (!parallel_.group) return;
  parallel_.group->all_reduce(stream, x.data(),
                              int64_t{batch.num_tokens} * model_.config->hidden_size, dtype);
}

void ForwardPass::norm(void* stream, const float* weight, bool adds_delta, RowRange rows,
                       const int32_t* row_indices) {
  const int64_t hidden = model_.config->hidden_size;
  kernels::NormParams params{};
  params.residual = residual_.as<float>() + rows.begin * hidden;
  params.delta = adds_delta ? rows_of(delta_, rows, hidden) : nullptr;
  params.weight = weight;
  params.y = rows_of(normed_, rows, hidden);
  params.row_indices = row_indices;
  params.activation_dtype = activation_dtype_;
  params.num_rows = rows.count;
  params.hidden_size = hidden;
  params.eps = static_cast<float>(model_.config->rms_norm_eps);
  params.weight_offset = model_.config->architecture->norm_weight_offset;
  expect_launched(backend_.kernels->norm(stream, &params), "norm");
}

void ForwardPass::norm_output(void* stream, const float* weight, RowRange rows) {
  if (!weight) return;
  const int64_t hidden = model_.config->hidden_size;
  kernels::NormParams params{};
  params.residual = rows_of(delta_, rows, hidden);
  params.residual_dtype = activation_dtype_;
  params.y = rows_of(delta_, rows, hidden);
  params.weight = weight;
  params.activation_dtype = activation_dtype_;
  params.num_rows = rows.count;
  params.hidden_size = hidden;
  params.eps = static_cast<float>(model_.config->rms_norm_eps);
  params.weight_offset = model_.config->architecture->norm_weight_offset;
  expect_launched(backend_.kernels->norm(stream, &params), "norm");
}

void ForwardPass::norm_heads(void* stream, const batch::Batch& batch, int32_t layer_idx) {
  const model::ModelConfig& config = *model_.config;
  kernels::HeadNormParams params{};
  params.q_weight = model_.weights->vector(VectorKind::kQueryNorm, layer_idx);
  params.k_weight = model_.weights->vector(VectorKind::kKeyNorm, layer_idx);
  if (!params.q_weight || !params.k_weight) return;
  params.qkv = qkv_.data();
  params.row_stride =
      (int64_t{config.num_heads} + 2 * int64_t{config.num_kv_heads}) * config.head_size;
  params.activation_dtype = activation_dtype_;
  params.num_tokens = batch.num_tokens;
  params.num_heads = config.num_heads;
  params.num_kv_heads = config.num_kv_heads;
  params.head_size = config.head_size;
  params.eps = static_cast<float>(config.rms_norm_eps);
  params.weight_offset = config.architecture->norm_weight_offset;
  expect_launched(backend_.kernels->head_norm(stream, &params), "head_norm");
}

kernels::GemmParams ForwardPass::product(const Matrix& matrix, int64_t rows, const void* x,
                                         int64_t x_stride, void* y, core::DType y_dtype) const {
  kernels::GemmParams params{};
  params.x = x;
  params.x_stride = x_stride;
  params.w = matrix.packed.data();
  params.weight_dtype = model_.weights->dtype();
  params.activation_dtype = activation_dtype_;
  params.m = rows;
  params.n = matrix.n;
  params.k = matrix.k;
  params.y = y;
  params.y_stride = matrix.n;
  params.workspace = workspace_.data();
  params.y_dtype = y_dtype;
  return params;
}

void ForwardPass::multiply(void* stream, MatrixKind kind, int32_t layer_idx, RowRange rows,
                           const void* x, int64_t x_stride, void* y,
                           const kernels::LoraExpandParams* update) {
  kernels::GemmParams params = product(model_.weights->matrix(kind, layer_idx), rows.count, x,
                                       x_stride, y, activation_dtype_);
  params.bias = model_.weights->vector(model::bias_kind(kind), layer_idx);
  params.update = update;
  expect_launched(backend_.kernels->gemm(stream, &params), "gemm");
}

const Matrix& ForwardPass::head_matrix() const {
  return model_.weights->matrix(model_.is_tied ? MatrixKind::kEmbedding : MatrixKind::kHead, -1);
}

bool ForwardPass::is_adapted(const batch::Batch& batch, MatrixKind kind) const {
  return batch.lora.num_segments > 0 && (batch.lora_modules & group(kind).module_mask) != 0;
}

void ForwardPass::linear(void* stream, const batch::Batch& batch, MatrixKind kind,
                         int32_t layer_idx, const void* x, int64_t x_stride, void* y) {
  // The shrink needs x and not y: before the matmul it finds the card idle and its adapters' rows
  // arrive beside the norm.
  if (!is_adapted(batch, kind))
    return multiply(stream, kind, layer_idx, {0, batch.num_tokens}, x, x_stride, y);
  const int64_t width = model_.weights->matrix(kind, layer_idx).n;
  const RowRange all = {0, batch.num_tokens};
  lora_intermediate(stream, batch, kind, layer_idx, x, x_stride);
  if (!matmuls_take_updates(batch)) {
    multiply(stream, kind, layer_idx, all, x, x_stride, y);
    return lora_expand(stream, batch, group(kind), layer_idx, y, width);
  }
  const kernels::LoraExpandParams update = update_of(batch, group(kind), layer_idx, y, width);
  multiply(stream, kind, layer_idx, all, x, x_stride, y, &update);
  lora_epilogue(stream, batch, group(kind), layer_idx, y, width);
}

void ForwardPass::norm_and_multiply(device::Stream& stream, const batch::Batch& batch,
                                    MatrixKind kind, int32_t layer_idx, const InputNorm& input,
                                    const device::Buffer& y) {
  const int64_t hidden = model_.config->hidden_size;
  const int64_t width = model_.weights->matrix(kind, layer_idx).n;
  void* const handle = stream.handle();
  const RowChunks chunks = chunks_of(batch);
  for (int32_t i = 0; i < chunks.count(); ++i) {
    const RowRange rows = chunks[i];
    // Orders the chunk's sum before what reads it; the sums of later chunks go on beside that.
    if (chunks.are_several()) chunked_sum_->await(stream, i);
    norm_output(handle, input.output_weight, rows);
    norm(handle, input.weight, input.adds_delta, rows);
    if (chunks.are_several())
      multiply(handle, kind, layer_idx, rows, rows_of(normed_, rows, hidden), hidden,
               rows_of(y, rows, width));
  }
  if (!chunks.are_several())
    return linear(handle, batch, kind, layer_idx, normed_.data(), hidden, y.data());
  // Adapters' tables are those of the whole batch.
  if (!is_adapted(batch, kind)) return;
  lora_intermediate(handle, batch, kind, layer_idx, normed_.data(), hidden);
  lora_expand(handle, batch, group(kind), layer_idx, y.data(), width);
}

void ForwardPass::attention_half(device::Stream& stream, const batch::Batch& batch,
                                 int32_t layer_idx) {
  const model::ModelConfig& config = *model_.config;
  const memory::ArenaGeometry& geometry = arena_.geometry();
  const int64_t query = int64_t{config.num_heads} * config.head_size;
  const int64_t qkv_width = query + 2 * int64_t{config.num_kv_heads} * config.head_size;

  // The first layer's residual is the embedding itself: nothing to add yet.
  const bool adds_delta = layer_idx > 0;
  norm_and_multiply(
      stream, batch, MatrixKind::kQkv, layer_idx,
      {adds_delta ? model_.weights->vector(VectorKind::kMlpOutputNorm, layer_idx - 1) : nullptr,
       model_.weights->vector(VectorKind::kAttentionInputNorm, layer_idx), adds_delta},
      qkv_);
  void* const handle = stream.handle();
  norm_heads(handle, batch, layer_idx);

  kernels::RopeKvParams rope{};
  rope.qkv = qkv_.data();
  rope.row_stride = qkv_width;
  rope.activation_dtype = activation_dtype_;
  rope.page_dtype = model_.weights->dtype();
  rope.rope_table = rope_table_.as<float>();
  rope.token_position = batch.token_position;
  rope.token_page = batch.token_page;
  rope.num_tokens = batch.num_tokens;
  rope.num_heads = config.num_heads;
  rope.num_kv_heads = config.num_kv_heads;
  rope.head_size = config.head_size;
  rope.rotary_size = config.rotary_size;
  rope.tokens_per_page = geometry.tokens_per_page;
  rope.slice = arena_.slice(layer_idx);
  rope.page_bytes = geometry.page_bytes;
  expect_launched(backend_.kernels->rope_kv(handle, &rope), "rope_kv");

  kernels::AttentionParams attention{};
  attention.q = qkv_.data();
  attention.q_stride = qkv_width;
  attention.out = attended_.data();
  attention.activation_dtype = activation_dtype_;
  attention.page_dtype = model_.weights->dtype();
  attention.row_offsets = batch.row_offsets;
  attention.token_position = batch.token_position;
  attention.page_table = batch.page_table;
  attention.page_table_stride = batch.page_table_stride;
  attention.num_rows = batch.num_rows;
  attention.num_tokens = batch.num_tokens;
  attention.num_heads = config.num_heads;
  attention.num_kv_heads = config.num_kv_heads;
  attention.head_size = config.head_size;
  attention.tokens_per_page = geometry.tokens_per_page;
  attention.slice = arena_.slice(layer_idx);
  attention.page_bytes = geometry.page_bytes;
  attention.scale = config.attention_scale;
  attention.softcap = config.attention_softcap;
  attention.window = config.windows[static_cast<size_t>(layer_idx)];
  attention.max_row_tokens = batch.max_row_tokens;
  attention.max_context = batch.max_context;
  attention.num_long_rows = batch.num_long_rows;
  attention.num_long_tokens = batch.num_long_tokens;
  attention.workspace = attention_workspace_.data();
  expect_launched(backend_.kernels->attention(handle, &attention), "attention");

  linear(handle, batch, MatrixKind::kO, layer_idx, attended_.data(), query, delta_.data());
  sum_in_chunks(stream, batch, delta_, activation_dtype_);
}

void ForwardPass::mlp_half(device::Stream& stream, const batch::Batch& batch, int32_t layer_idx) {
  const model::ModelConfig& config = *model_.config;
  void* const handle = stream.handle();
  norm_and_multiply(stream, batch, MatrixKind::kGateUp, layer_idx,
                    {model_.weights->vector(VectorKind::kAttentionOutputNorm, layer_idx),
                     model_.weights->vector(VectorKind::kMlpInputNorm, layer_idx), true},
                    gate_up_);

  kernels::GatedActivationParams activation{};
  activation.x = gate_up_.data();
  activation.out = activated_.data();
  activation.activation_dtype = activation_dtype_;
  activation.activation = config.architecture->activation == model::Activation::kGeluTanh
                              ? kernels::Activation::kGeluTanh
                              : kernels::Activation::kSilu;
  activation.num_tokens = batch.num_tokens;
  activation.intermediate_size = config.intermediate_size;
  expect_launched(backend_.kernels->gated_activation(handle, &activation), "gated_activation");

  linear(handle, batch, MatrixKind::kDown, layer_idx, activated_.data(), config.intermediate_size,
         delta_.data());
  // The head reads all of the last sum before its one matmul: nothing to hide it behind.
  if (layer_idx + 1 < config.num_layers)
    return sum_in_chunks(stream, batch, delta_, activation_dtype_);
  sum_over_ranks(handle, batch, delta_, activation_dtype_);
}

void ForwardPass::head(void* stream, const batch::Batch& batch) {
  const float* weight = model_.weights->vector(VectorKind::kFinalNorm, -1);
  const RowRange all = {0, batch.num_tokens};
  norm_output(stream,
              model_.weights->vector(VectorKind::kMlpOutputNorm, model_.config->num_layers - 1),
              all);
  // All tokens take the last delta into their residual; then, if only some have outputs, those are
  // normed again.
  norm(stream, weight, true, all);
  if (!batch.outputs_are_all_tokens)
    norm(stream, weight, false, {0, batch.num_outputs}, batch.output_rows);
  const Matrix& matrix = head_matrix();
  const kernels::GemmParams params = product(matrix, batch.num_outputs, normed_.data(), matrix.k,
                                             own_logits(batch), core::DType::kF32);
  expect_launched(backend_.kernels->gemm(stream, &params), "gemm");
  if (batch.has_wide_lora) lora_head(stream, batch, params);
  if (model_.config->final_softcap > 0) {
    kernels::SoftcapParams cap{};
    cap.y = own_logits(batch);
    cap.count = params.m * params.n;
    cap.cap = model_.config->final_softcap;
    expect_launched(backend_.kernels->softcap(stream, &cap), "softcap");
  }
  gather_logits(stream, batch);
}

// The rank's place among the parts; their stride is that of the widest.
float* ForwardPass::own_logits(const batch::Batch& batch) const {
  if (!parallel_.group) return logits_.as<float>();
  return logit_parts_.as<float>() +
         parallel_.shard.tp_rank * int64_t{batch.num_outputs} * widest_vocab_part_;
}

void ForwardPass::gather_logits(void* stream, const batch::Batch& batch) {
  if (!parallel_.group) return;
  const int64_t part_stride = int64_t{batch.num_outputs} * widest_vocab_part_;
  parallel_.group->all_gather(stream, own_logits(batch), logit_parts_.data(),
                              static_cast<uint64_t>(part_stride) * sizeof(float));
  if (parallel_.shard.tp_rank != 0) return;
  kernels::GatherColumnsParams params{};
  params.in = logit_parts_.as<float>();
  params.part_stride = part_stride;
  params.offsets = vocab_offsets_.as<int64_t>();
  params.num_parts = parallel_.shard.tp_size;
  params.num_rows = batch.num_outputs;
  params.out = logits_.as<float>();
  params.out_stride = model_.whole_config->vocab_size;
  expect_launched(backend_.kernels->gather_columns(stream, &params), "gather_columns");
}

}  // namespace slora::forward
