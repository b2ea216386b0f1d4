// The packed weights of a model on one backend. Filled once by a walk over the checkpoint,
// read-only afterwards.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "slora/forward/backend.hpp"
#include "slora/forward/upload_pipeline.hpp"
#include "slora/model/weights.hpp"

namespace slora::forward {

struct Matrix {
  device::Buffer packed;
  int64_t n = 0;
  int64_t k = 0;
};

class ModelWeights final : public model::WeightSink {
 public:
  // `staging`: pieces go to the device through a pipeline of these sizes, which ends with the walk.
  // Without, each is packed from where it lies, as suits a backend whose memory is the host's.
  ModelWeights(Backend backend, core::DType dtype, int32_t num_layers,
               std::optional<PipelineOptions> staging = std::nullopt);

  core::DType dtype() const { return dtype_; }
  const Matrix& matrix(model::MatrixKind kind, int32_t layer_idx) const;
  // Null if the model has no such vector. fp32.
  const float* vector(model::VectorKind kind, int32_t layer_idx) const;
  // Bytes that a decode step reads: every matrix once, of the embedding only if it is also the
  // head.
  uint64_t step_bytes(bool is_tied) const;

  void allocate(model::MatrixId id, int64_t n, int64_t k) override;
  void pack(model::MatrixId id, int64_t row_offset, const model::TensorRef& rows) override;
  void take(model::MatrixId id, int64_t row_offset, const model::WeightPiece& piece) override;
  void finish() override;
  void abandon() noexcept override { pipeline_.reset(); }
  void fill(model::MatrixId id, uint64_t seed, float stddev, const model::FillPart& part) override;
  void set_vector(model::VectorId id, std::span<const float> values) override;

 private:
  Matrix& slot(model::MatrixId id);
  kernels::WeightPackParams pack_params(const Matrix& matrix, core::DType source_dtype,
                                        int64_t row_offset, int64_t num_rows) const;

  Backend backend_;
  core::DType dtype_;
  // Packing is waited for piece by piece: sources are mapped files that the walk may unmap once it
  // returns.
  device::Stream stream_;
  // [layer + 1][kind]: row 0 holds what belongs to the whole model (layer -1).
  std::vector<std::vector<Matrix>> matrices_;
  std::vector<std::vector<device::Buffer>> vectors_;
  std::optional<PipelineOptions> staging_;
  std::unique_ptr<UploadPipeline> pipeline_;  // during a walk; last, for it writes to the matrices
};

}  // namespace slora::forward
