// Packing through the backend's own kernels, so that the packed form is known to the backend alone.
#include "slora/forward/model_weights.hpp"

#include <algorithm>
#include <cstring>

#include "slora/core/check.hpp"

namespace slora::forward {
namespace {

constexpr size_t kNumMatrixKinds = 6;
constexpr size_t kNumVectorKinds = 11;

}  // namespace

void expect_launched(int32_t status, const char* name) {
  if (status != 0)
    core::fail(static_cast<core::Status>(status), "the backend refused the kernel '", name,
               "' with status ", status);
}

ModelWeights::ModelWeights(Backend backend, core::DType dtype, int32_t num_layers,
                           std::optional<PipelineOptions> staging)
    : backend_(std::move(backend)),
      dtype_(dtype),
      stream_(backend_.device, device::StreamKind::kCompute),
      staging_(staging) {
  for (int32_t i = 0; i <= num_layers; ++i) {
    matrices_.emplace_back(kNumMatrixKinds);
    vectors_.emplace_back(kNumVectorKinds);
  }
}

Matrix& ModelWeights::slot(model::MatrixId id) {
  return matrices_.at(static_cast<size_t>(id.layer_idx + 1)).at(static_cast<size_t>(id.kind));
}

const Matrix& ModelWeights::matrix(model::MatrixKind kind, int32_t layer_idx) const {
  return matrices_[static_cast<size_t>(layer_idx + 1)][static_cast<size_t>(kind)];
}

const float* ModelWeights::vector(model::VectorKind kind, int32_t layer_idx) const {
  return vectors_[static_cast<size_t>(layer_idx + 1)][static_cast<size_t>(kind)].as<float>();
}

uint64_t ModelWeights::step_bytes(bool is_tied) const {
  uint64_t bytes = 0;
  for (const auto& kinds : matrices_) {
    for (size_t kind = 0; kind < kinds.size(); ++kind) {
      if (static_cast<model::MatrixKind>(kind) == model::MatrixKind::kEmbedding && !is_tied)
        continue;
      bytes += kinds[kind].packed.bytes();
    }
  }
  return bytes;
}

void ModelWeights::allocate(model::MatrixId id, int64_t n, int64_t k) {
  Matrix& matrix = slot(id);
  matrix.n = n;
  matrix.k = k;
  matrix.packed = device::Buffer(backend_.device, device::MemoryKind::kDevice,
                                 backend_.kernels->weight_bytes(dtype_, n, k));
}

kernels::WeightPackParams ModelWeights::pack_params(const Matrix& matrix, core::DType source_dtype,
                                                    int64_t row_offset, int64_t num_rows) const {
  SLORA_CHECK(row_offset + num_rows <= matrix.n);
  kernels::WeightPackParams params{};
  params.dst = matrix.packed.data();
  params.dst_dtype = dtype_;
  params.src_dtype = source_dtype;
  params.n_total = matrix.n;
  params.k = params.src_row_stride = matrix.k;
  params.row_offset = row_offset;
  params.num_rows = num_rows;
  return params;
}

void ModelWeights::pack(model::MatrixId id, int64_t row_offset, const model::TensorRef& rows) {
  const Matrix& matrix = slot(id);
  SLORA_CHECK(rows.shape.size() == 2 && rows.shape[1] == matrix.k);
  kernels::WeightPackParams params = pack_params(matrix, rows.dtype, row_offset, rows.shape[0]);
  params.src = rows.data;
  expect_launched(backend_.kernels->weight_pack(stream_.handle(), &params), "weight_pack");
  stream_.synchronize();
}

void ModelWeights::take(model::MatrixId id, int64_t row_offset, const model::WeightPiece& piece) {
  if (!staging_) return WeightSink::take(id, row_offset, piece);
  if (!pipeline_) pipeline_ = std::make_unique<UploadPipeline>(backend_.device, *staging_);
  const Matrix& matrix = slot(id);
  SLORA_CHECK(piece.num_columns == matrix.k);
  const auto rows_a_job =
      static_cast<int64_t>(std::max<uint64_t>(staging_->buffer_bytes / piece.row_bytes(), 1));
  for (int64_t row = 0; row < piece.num_rows; row += rows_a_job) {
    const model::WeightPiece part = piece.rows(row, std::min(rows_a_job, piece.num_rows - row));
    kernels::WeightPackParams params =
        pack_params(matrix, part.tensor.dtype, row_offset + row, part.num_rows);
    params.src_is_staged = true;
    const kernels::KernelApi* kernels = backend_.kernels;
    pipeline_->add({part.bytes(), [part](uint8_t* out) { model::read_piece(part, out); },
                    [params, kernels](void* stream, const uint8_t* staged) mutable {
                      params.src = staged;
                      expect_launched(kernels->weight_pack(stream, &params), "weight_pack");
                    }});
  }
}

void ModelWeights::finish() {
  if (!pipeline_) return;
  pipeline_->finish();
  pipeline_.reset();
}

void ModelWeights::fill(model::MatrixId id, uint64_t seed, float stddev,
                        const model::FillPart& part) {
  const Matrix& matrix = slot(id);
  kernels::WeightFillParams params{matrix.packed.data(), dtype_, matrix.n, matrix.k, seed, stddev};
  params.row_offset = part.row_offset;
  params.num_rows = part.num_rows;
  params.source_row = part.whole_row;
  params.source_column = part.whole_column;
  params.source_k = part.whole_k;
  expect_launched(backend_.kernels->weight_fill(stream_.handle(), &params), "weight_fill");
  stream_.synchronize();
}

void ModelWeights::set_vector(model::VectorId id, std::span<const float> values) {
  device::Buffer& target =
      vectors_.at(static_cast<size_t>(id.layer_idx + 1)).at(static_cast<size_t>(id.kind));
  device::Buffer staging(backend_.device, device::MemoryKind::kPinned, values.size_bytes());
  std::memcpy(staging.data(), values.data(), values.size_bytes());
  target = device::Buffer(backend_.device, device::MemoryKind::kDevice, values.size_bytes());
  stream_.copy(target.data(), staging.data(), values.size_bytes());
  stream_.synchronize();
}

}  // namespace slora::forward
