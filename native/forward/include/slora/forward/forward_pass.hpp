// The layer loop: base model and LoRA deltas, from the batch's tokens to logits. Written once for
// every architecture and backend; it enqueues kernels and never waits, but for tune_matmuls.
#pragma once

#include <functional>

#include "slora/batch/batch.hpp"
#include "slora/comm/group.hpp"
#include "slora/forward/backend.hpp"
#include "slora/forward/model_weights.hpp"
#include "slora/forward/row_chunks.hpp"
#include "slora/memory/arena.hpp"
#include "slora/model/module_table.hpp"
#include "slora/model/shard.hpp"

namespace slora::forward {

// A rank's place in its tensor-parallel group. The group outlives the pass.
struct TensorParallel {
  comm::Group* group = nullptr;  // null: the rank is alone and has the whole model
  model::ShardSpec shard;
  // Steps with prompts of twice as many tokens and more sum a layer's output in chunks of at least
  // about so many, while the chunks before are multiplied; 0: never. The same on every rank.
  int32_t overlap_tokens = 0;

  bool exchanges_lora() const { return group && shard.lora_sharding == model::LoraSharding::kFull; }
};

// What a pass reads of a loaded model: the rank's part of it. The model outlives the pass.
struct ModelView {
  const model::ModelConfig* config;
  const model::ModuleTable* modules;
  const ModelWeights* weights;
  bool is_tied;
  const model::ModelConfig* whole_config;
};

// The history of every sequence slot, on the device.
struct History {
  int32_t* tokens;  // [slots, stride]
  int64_t stride;
};

// Called before the kernels of each layer are enqueued, in order.
using LayerHook = std::function<void(int32_t layer_idx)>;

class ChunkedSum;

class ForwardPass {
 public:
  // Takes the activations of max_batch_tokens tokens and the logits of max_outputs rows once.
  ForwardPass(Backend backend, ModelView model, const memory::Arena& arena, int32_t max_context,
              int32_t max_batch_tokens, int32_t max_outputs, TensorParallel parallel = {});
  ~ForwardPass();

  struct Room {
    int32_t outputs = 0;        // logits rows
    int64_t lora_t_floats = 0;  // of the intermediate
    // All ranks' packed shares of the intermediate; 0 unless parallel.exchanges_lora().
    int64_t lora_packed_floats = 0;
  };

  // Only while nothing is in flight on the stream: it may replace the buffers.
  bool needs_more_room(const Room& room) const;
  void make_room(const Room& room);

  // Enqueues the whole pass. Afterwards logits() holds [num_outputs, V] in the order of
  // batch.output_rows, on rank 0 of a group only.
  void run(device::Stream& stream, const batch::Batch& batch, const History& history,
           const LayerHook& before_layer = {});

  // Measures how each of the layers' and the head's matmuls is computed fastest for steps of so
  // many rows and outputs, and has later passes of so many do so (KernelApi::gemm_tune). Waits;
  // while nothing is in flight.
  void tune_matmuls(device::Stream& stream, int32_t rows);

  const float* logits() const { return logits_.as<float>(); }

 private:
  // The modules of one packed matrix that share its input: what one shrink and one expand launch
  // cover.
  struct LoraGroup {
    int32_t count = 0;
    int32_t module_idx[kernels::kMaxFusedModules] = {};
    int64_t out_dim[kernels::kMaxFusedModules] = {};
    int64_t column_offset[kernels::kMaxFusedModules] = {};
    // What the rank's expand adds to, of the output: all of it, but for exchanged row-parallel
    // ones.
    int64_t expand_dim[kernels::kMaxFusedModules] = {};
    int64_t expand_offset[kernels::kMaxFusedModules] = {};
    int64_t in_dim = 0;
    uint32_t module_mask = 0;
    bool fits_pieces = true;  // its dimensions are what kernels::LoraPiece needs
  };

  const LoraGroup& group(model::MatrixKind kind) const {
    return groups_[static_cast<size_t>(kind)];
  }
  void embed(device::Stream& stream, const batch::Batch& batch, const History& history);
  void attention_half(device::Stream& stream, const batch::Batch& batch, int32_t layer_idx);
  void mlp_half(device::Stream& stream, const batch::Batch& batch, int32_t layer_idx);
  void head(void* stream, const batch::Batch& batch);
  // The chunks in which a layer's output is summed and read.
  RowChunks chunks_of(const batch::Batch& batch) const;
  // x [num_tokens, H] becomes its sum over the group.
  void sum_over_ranks(void* stream, const batch::Batch& batch, const device::Buffer& x,
                      core::DType dtype);
  // The same in the chunks of the batch, for norm_and_multiply to await.
  void sum_in_chunks(device::Stream& stream, const batch::Batch& batch, const device::Buffer& x,
                     core::DType dtype);
  void gather_logits(void* stream, const batch::Batch& batch);
  float* own_logits(const batch::Batch& batch) const;
  // What a half of a layer begins with: delta_ (unless the residual is all there is) into the
  // residual, its norm, the matrix times that into y. output_weight (may be null) norms delta_
  // before.
  struct InputNorm {
    const float* output_weight;
    const float* weight;
    bool adds_delta;
  };
  void norm_and_multiply(device::Stream& stream, const batch::Batch& batch, model::MatrixKind kind,
                         int32_t layer_idx, const InputNorm& input, const device::Buffer& y);
  // normed_[rows] = norm of the residual's rows, into which delta_'s go first. With row_indices:
  // of those rows of the residual.
  void norm(void* stream, const float* weight, bool adds_delta, RowRange rows,
            const int32_t* row_indices = nullptr);
  // Norms rows of delta_ in place. Null weight: the model has no norm there.
  void norm_output(void* stream, const float* weight, RowRange rows);
  void norm_heads(void* stream, const batch::Batch& batch, int32_t layer_idx);
  // y [rows, n] = x W^T, without a bias.
  kernels::GemmParams product(const Matrix& matrix, int64_t rows, const void* x, int64_t x_stride,
                              void* y, core::DType y_dtype) const;
  const Matrix& head_matrix() const;
  // y = x W^T of the rows alone: without adapters.
  void multiply(void* stream, model::MatrixKind kind, int32_t layer_idx, RowRange rows,
                const void* x, int64_t x_stride, void* y,
                const kernels::LoraExpandParams* update = nullptr);
  // y = x W^T and each segment's adapters.
  void linear(void* stream, const batch::Batch& batch, model::MatrixKind kind, int32_t layer_idx,
              const void* x, int64_t x_stride, void* y);
  bool is_adapted(const batch::Batch& batch, model::MatrixKind kind) const;
  // Whether the step has its rows' A and B looked up before all else: one of few rows.
  bool rows_are_found(const batch::Batch& batch) const;
  bool matmuls_take_updates(const batch::Batch& batch) const;
  void make_heads();
  void lora_find(void* stream, const batch::Batch& batch);
  kernels::LoraBatch lora_batch(const batch::Batch& batch, const LoraGroup& group) const;
  // The intermediate that expand reads: this rank's, or all ranks' where they share it out.
  void lora_intermediate(void* stream, const batch::Batch& batch, model::MatrixKind kind,
                         int32_t layer_idx, const void* x, int64_t x_stride);
  void lora_shrink(void* stream, const batch::Batch& batch, const LoraGroup& group,
                   int32_t layer_idx, const void* x, int64_t x_stride);
  // Gives every rank the whole intermediate that its expand reads.
  void lora_exchange(void* stream, const batch::Batch& batch, model::MatrixKind kind,
                     int32_t layer_idx);
  void lora_expand(void* stream, const batch::Batch& batch, const LoraGroup& group,
                   int32_t layer_idx, void* y, int64_t y_stride);
  kernels::LoraExpandParams update_of(const batch::Batch& batch, const LoraGroup& group,
                                      int32_t layer_idx, void* y, int64_t y_stride) const;
  // What DoRA and biases do to y, if an adapter of the batch has some.
  void lora_epilogue(void* stream, const batch::Batch& batch, const LoraGroup& group,
                     int32_t layer_idx, void* y, int64_t y_stride);
  void lora_embed(void* stream, const batch::Batch& batch, const kernels::EmbedParams& base);
  void lora_head(void* stream, const batch::Batch& batch, const kernels::GemmParams& base);
  device::Buffer activations(int64_t rows, int64_t columns) const;
  uint8_t* rows_of(const device::Buffer& buffer, RowRange rows, int64_t columns) const;
  device::Buffer upload(const void* source, uint64_t bytes) const;

  Backend backend_;
  ModelView model_;
  const memory::Arena& arena_;
  TensorParallel parallel_;
  core::DType activation_dtype_;
  LoraGroup groups_[6];
  Room room_;
  int64_t widest_vocab_part_ = 0;  // logits of the rank that has most of them

  device::Buffer rope_table_;
  device::Buffer residual_;   // [T, H] fp32
  device::Buffer normed_;     // [T, H]
  device::Buffer qkv_;        // [T, (N + 2 KV) D]
  device::Buffer attended_;   // [T, N D]
  device::Buffer gate_up_;    // [T, 2 F]
  device::Buffer activated_;  // [T, F]
  device::Buffer
      delta_;  // [T, H] output of o or down, added to the residual by the norm that follows
  device::Buffer lora_t_;
  device::Buffer lora_packed_;
  device::Buffer a_heads_;  // [layers, modules, most_found_rows]; empty: no step's are looked up
  device::Buffer b_heads_;
  device::Buffer logits_;         // [outputs, V] fp32
  device::Buffer logit_parts_;    // [ranks, outputs, part of V] fp32, of a group
  device::Buffer vocab_offsets_;  // int64 [ranks + 1], of a group
  device::Buffer workspace_;
  device::Buffer attention_workspace_;
  std::unique_ptr<ChunkedSum> chunked_sum_;  // of a group that overlaps. Last: it ends before what
                                             // it sums
};

}  // namespace slora::forward
