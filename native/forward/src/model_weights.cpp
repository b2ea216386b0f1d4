// Packing through the backend's own kernels, so that the packed form is known to the backend alone.
#include "slora/forward/model_weights.hpp"

#include <cstring>

#include "slora/core/check.hpp"

namespace slora::forward {
namespace {

constexpr size_t kNumMatrixKinds = 6;
constexpr size_t kNumVectorKinds = 11;

}  // namespace

void expect_launched(int32_t status, const char* name) {
  if (status != 0)
    core::fail(static_cast<core::Status>(status), "the backend refused the kernel '", name, "'");
}

ModelWeights::ModelWeights(Backend backend, core::DType dtype, int32_t num_layers)
    : backend_(std::move(backend)),
      dtype_(dtype),
      stream_(backend_.device, device::StreamKind::kCompute) {
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

void ModelWeights::pack(model::MatrixId id, int64_t row_offset, const model::TensorRef& rows) {
  const Matrix& matrix = slot(id);
  SLORA_CHECK(rows.shape.size() == 2 && rows.shape[1] == matrix.k &&
              row_offset + rows.shape[0] <= matrix.n);
  kernels::WeightPackParams params{};
  params.dst = matrix.packed.data();
  params.dst_dtype = dtype_;
  params.src_dtype = rows.dtype;
  params.n_total = matrix.n;
  params.k = matrix.k;
  params.row_offset = row_offset;
  params.num_rows = rows.shape[0];
  params.src = rows.data;
  params.src_row_stride = matrix.k;
  expect_launched(backend_.kernels->weight_pack(stream_.handle(), &params), "weight_pack");
  stream_.synchronize();
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
