// From tensors in files to packed matrices: the plan of what goes where, and the walk that carries
// it out. Where the packed matrices live and how they look inside is the sink's affair.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "slora/model/config.hpp"
#include "slora/model/safetensors.hpp"
#include "slora/model/shard.hpp"

namespace slora::model {

struct MatrixId {
  MatrixKind kind;
  int32_t layer_idx;  // -1: of the whole model

  bool operator==(const MatrixId&) const = default;
};

struct VectorId {
  VectorKind kind;
  int32_t layer_idx;  // -1: of the whole model

  bool operator==(const VectorId&) const = default;
};

// Rows [row_offset, row_offset + tensor.shape[0]) of a packed matrix.
struct WeightSource {
  int64_t row_offset;
  TensorRef tensor;  // [rows, K of the whole matrix]
};

// Where rows [row_offset, row_offset + num_rows) of a packed matrix lie in the whole model's: from
// row `whole_row` and column `whole_column` of a matrix of whole_k columns.
struct FillPart {
  int64_t row_offset;
  int64_t num_rows;
  int64_t whole_row;
  int64_t whole_column;
  int64_t whole_k;
};

struct MatrixPlan {
  MatrixId id;
  int64_t n;  // of the rank's part
  int64_t k;
  std::vector<WeightSource>
      sources;               // cover [0, n) without hole or overlap; empty in a synthetic plan
  int64_t column_begin = 0;  // first column of the sources that the rank holds
  int64_t whole_n = 0;       // rows and columns of the whole model's matrix
  int64_t whole_k = 0;
  std::vector<FillPart> parts = {};  // cover [0, n) likewise
};

struct VectorPlan {
  VectorId id;
  int64_t size;
  std::vector<TensorRef> tensors;  // end to end; empty in a synthetic plan
  float synthetic;  // what it is filled with there: norms scale by one, biases are zero
};

struct WeightPlan {
  TensorSet tensors;  // keeps the files mapped that the sources point into
  std::vector<MatrixPlan>
      matrices;  // embedding, then layer by layer, then the head if it is not tied
  std::vector<VectorPlan> vectors;
  uint64_t num_parameters = 0;  // of the whole model, each once: a tied head is the embedding
  uint64_t source_bytes = 0;    // what a load of the rank's part reads; progress counts in these
  bool is_tied = false;         // the head is the embedding matrix; there is no kHead matrix
  float synthetic_stddev = 0;
};

// Rows of a matrix on their way to its owner: of some rows of a tensor the columns that a rank
// holds. Valid as long as the plan.
struct WeightPiece {
  TensorRef tensor;  // [N, K of the whole matrix]
  int64_t first_row;
  int64_t num_rows;
  int64_t first_column;
  int64_t num_columns;

  bool has_all_columns() const { return num_columns == tensor.shape[1]; }
  uint64_t row_bytes() const {
    return static_cast<uint64_t>(num_columns * core::dtype_bytes(tensor.dtype));
  }
  uint64_t bytes() const { return static_cast<uint64_t>(num_rows) * row_bytes(); }
  WeightPiece rows(int64_t begin, int64_t count) const {
    return {tensor, first_row + begin, count, first_column, num_columns};
  }
};

// Writes the piece's rows end to end to `out`, [num_rows, num_columns] in the tensor's dtype.
// kFormat naming tensor and element where one is NaN or infinite. Any thread.
void read_piece(const WeightPiece& piece, uint8_t* out);

// What the walk tells: carried out by whoever owns packed weights. Throw to stop.
class WeightSink {
 public:
  virtual ~WeightSink() = default;
  // Once a matrix [n, k], before its rows come.
  virtual void allocate(MatrixId id, int64_t n, int64_t k) = 0;
  // Rows [row_offset, row_offset + rows.shape[0]). `rows.data` is valid as long as the
  // plan.
  virtual void pack(MatrixId id, int64_t row_offset, const TensorRef& rows) = 0;
  // The same for a piece that is still to be read, which may go on beside the walk until finish().
  // Of its own: reads it, and packs it at once. kFormat as read_piece, here or at a later call.
  virtual void take(MatrixId id, int64_t row_offset, const WeightPiece& piece);
  // Returns when all that was taken is in place.
  virtual void finish() {}
  // Returns when nothing reads the plan's files any more; what was taken may be lost.
  virtual void abandon() noexcept {}
  // Rows of a synthetic matrix: N(0, stddev) by `seed`, which differs for each matrix, and by the
  // elements' places in the whole model's matrix.
  virtual void fill(MatrixId id, uint64_t seed, float stddev, const FillPart& part) = 0;
  // `values` is valid during the call only.
  virtual void set_vector(VectorId id, std::span<const float> values) = 0;

 private:
  std::vector<uint8_t> gathered_;  // columns of a piece, kept for its capacity
};

class LoadProgress {
 public:
  virtual ~LoadProgress() = default;
  // After each piece of at most 32 MiB, which may still be on its way. False: stop.
  virtual bool advance(uint64_t bytes_done, uint64_t bytes_total) = 0;
};

// The vector's values as fp32.
std::vector<float> vector_values(const VectorPlan& vector);

// The vector that holds the biases of a group of linear modules.
VectorKind bias_kind(MatrixKind group);

// Matches the checkpoint with the architecture's row. kFormat naming the tensor that is missing or
// has another shape; kUnsupported naming a tensor that the row has no place for (it would change
// the result); kFormat likewise if two places hold the head of a tied model and differ.
// `config` is the whole model's, the plan that of the rank's part.
WeightPlan plan_weights(const ModelConfig& config, const TensorSet& tensors,
                        const ShardSpec& shard = {});

// The same matrices without files.
WeightPlan plan_synthetic_weights(const ModelConfig& config, const ShardSpec& shard = {});

// Carries a plan out, matrix by matrix. kFormat naming a tensor with NaN or infinity; kCancelled if
// `progress` (may be null) says stop.
void load_weights(const WeightPlan& plan, WeightSink& sink, LoadProgress* progress);
void fill_weights(const WeightPlan& plan, uint64_t seed, WeightSink& sink, LoadProgress* progress);

}  // namespace slora::model
