// The walk over a checkpoint. A tensor is either taken by a place of the architecture's row, or
// known to be harmless, or refused: nothing in the file is passed over silently.
#include "slora/model/weights.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <set>
#include <string>

#include "slora/core/check.hpp"
#include "slora/core/status.hpp"
#include "slora/model/module_table.hpp"
#include "slora/model/quote.hpp"

namespace slora::model {
namespace {

using core::fail;
using core::Status;

constexpr int32_t kWholeModel = -1;
constexpr uint64_t kPieceBytes = uint64_t{32} << 20;
// Pieces begin at multiples of this, so that a backend that packs rows in tiles meets few torn
// ones.
constexpr int64_t kPieceRows = 64;

// Buffers that old checkpoints carry and that are recomputed from config.json.
constexpr std::string_view kHarmlessSuffixes[] = {".rotary_emb.inv_freq", ".rotary_emb.cos_cached",
                                                  ".rotary_emb.sin_cached", ".masked_bias"};

// Elements [range.begin, range.end()) of a vector.
TensorRef slice(TensorRef vector, IndexRange range) {
  const int64_t element_bytes = core::dtype_bytes(vector.dtype);
  vector.shape = {range.count};
  vector.data += range.begin * element_bytes;
  vector.bytes = static_cast<uint64_t>(range.count * element_bytes);
  return vector;
}

// Builds the plan of one rank's part, from tensors or (tensors null) without.
class Planner {
 public:
  Planner(const ModelConfig& config, const TensorSet* tensors, const ShardSpec& shard)
      : config_(config), tensors_(tensors), shard_(shard) {}

  WeightPlan plan() {
    const Architecture& row = *config_.architecture;
    plan_.is_tied = config_.tie_word_embeddings;
    plan_.synthetic_stddev = static_cast<float>(config_.initializer_range);
    add_matrix({MatrixKind::kEmbedding, kWholeModel}, std::string(row.embedding), Dim::kVocab,
               Dim::kHidden);
    for (int32_t layer_idx = 0; layer_idx < config_.num_layers; ++layer_idx) add_layer(layer_idx);
    add_norm({VectorKind::kFinalNorm, kWholeModel}, std::string(row.final_norm), Dim::kHidden);
    add_head();
    count();
    if (tensors_) {
      refuse_leftovers();
      plan_.tensors = *tensors_;
    }
    return std::move(plan_);
  }

 private:
  void add_layer(int32_t layer_idx) {
    const Architecture& row = *config_.architecture;
    const std::string prefix = core::str_cat(row.layer_prefix, layer_idx, ".");
    for (const NormRow& norm : row.norms) {
      add_norm({norm.kind, layer_idx}, core::str_cat(prefix, norm.name, ".weight"), norm.size);
    }
    for (const LinearRow& linear : row.linears) {
      add_matrix({linear.group, layer_idx}, core::str_cat(prefix, linear.name, ".weight"),
                 linear.out_dim, linear.in_dim);
    }
    for (const LinearRow& linear : row.linears) {
      if (has_bias(linear.bias, config_))
        add_bias(layer_idx, linear, core::str_cat(prefix, linear.name, ".bias"));
    }
  }

  void add_head() {
    const std::string name(config_.architecture->head);
    if (!plan_.is_tied)
      return add_matrix({MatrixKind::kHead, kWholeModel}, name, Dim::kVocab, Dim::kHidden);
    if (tensors_ && tensors_->contains(name)) check_tied_head(name);
  }

  // Some checkpoints store the tied matrix twice. Equal copies are one matrix; of others we cannot
  // know which is meant.
  void check_tied_head(const std::string& name) {
    const IndexRange own = ranges_of(Dim::kVocab).front();
    const TensorRef head = take(name, Dim::kVocab, Dim::kHidden).rows(own.begin, own.count);
    const TensorRef& embedding = plan_.matrices.front().sources.front().tensor;
    const bool is_same =
        head.dtype == embedding.dtype && std::memcmp(head.data, embedding.data, head.bytes) == 0;
    if (is_same) return;
    fail(Status::kFormat, path_text(head.file), ": tensor ", quote(name), " differs from ",
         quote(embedding.name), ", but tie_word_embeddings is true");
  }

  std::vector<IndexRange> ranges_of(Dim dim) const { return shard_ranges(dim, config_, shard_); }

  // The matrices of a group follow each other in the row, so a group's next module is appended to
  // the last plan.
  void add_matrix(MatrixId id, const std::string& name, Dim rows, Dim columns) {
    const IndexRange own_columns = ranges_of(columns).front();
    if (plan_.matrices.empty() || !(plan_.matrices.back().id == id)) {
      plan_.matrices.push_back({id, 0, own_columns.count, {}});
      plan_.matrices.back().column_begin = own_columns.begin;
      plan_.matrices.back().whole_k = dim_of(columns, config_);
    }
    MatrixPlan& matrix = plan_.matrices.back();
    SLORA_CHECK(matrix.k == own_columns.count);
    TensorRef tensor;
    if (tensors_) tensor = take(name, rows, columns);
    for (const IndexRange& range : ranges_of(rows)) {
      if (tensors_) matrix.sources.push_back({matrix.n, tensor.rows(range.begin, range.count)});
      matrix.parts.push_back(
          {matrix.n, range.count, matrix.whole_n + range.begin, own_columns.begin, matrix.whole_k});
      matrix.n += range.count;
    }
    matrix.whole_n += dim_of(rows, config_);
  }

  void add_norm(VectorId id, const std::string& name, Dim size_dim) {
    plan_.vectors.push_back({id, 0, {}, 1.0f - config_.architecture->norm_weight_offset});
    append(plan_.vectors.back(), name, size_dim);
  }

  // The biases of a group are one vector, in the order of its modules. The outputs of row-parallel
  // modules are summed over the ranks, so only the first adds their biases.
  void add_bias(int32_t layer_idx, const LinearRow& linear, const std::string& name) {
    if (is_row_parallel(linear.group) && shard_.tp_rank != 0) {
      VectorPlan elsewhere{{bias_kind(linear.group), layer_idx}, 0, {}, 0.0f};
      return append(elsewhere, name, linear.out_dim);
    }
    const VectorId id = {bias_kind(linear.group), layer_idx};
    if (!(plan_.vectors.back().id == id)) plan_.vectors.push_back({id, 0, {}, 0.0f});
    append(plan_.vectors.back(), name, linear.out_dim);
  }

  void append(VectorPlan& vector, const std::string& name, Dim size_dim) {
    const int64_t size = dim_of(size_dim, config_);
    plan_.num_parameters += static_cast<uint64_t>(size);
    TensorRef tensor;
    if (tensors_) {
      tensor = tensors_->get(name, std::span(&size, 1));
      check_finite(tensor);
      taken_.insert(name);
    }
    for (const IndexRange& range : ranges_of(size_dim)) {
      vector.size += range.count;
      if (tensors_) vector.tensors.push_back(slice(tensor, range));
    }
  }

  TensorRef take(const std::string& name, Dim rows, Dim columns) {
    const int64_t shape[] = {dim_of(rows, config_), dim_of(columns, config_)};
    taken_.insert(name);
    return tensors_->get(name, shape);
  }

  void count() {
    uint64_t own_parameters = 0;
    for (const MatrixPlan& matrix : plan_.matrices) {
      plan_.num_parameters += static_cast<uint64_t>(matrix.whole_n * matrix.whole_k);
      own_parameters += static_cast<uint64_t>(matrix.n * matrix.k);
      for (const WeightSource& source : matrix.sources) {
        plan_.source_bytes += static_cast<uint64_t>(source.tensor.shape[0] * matrix.k *
                                                    core::dtype_bytes(source.tensor.dtype));
      }
    }
    for (const VectorPlan& vector : plan_.vectors)
      own_parameters += static_cast<uint64_t>(vector.size);
    if (!tensors_) plan_.source_bytes = own_parameters * 2;
  }

  void refuse_leftovers() const {
    for (const std::string& name : tensors_->names()) {
      if (taken_.contains(name)) continue;
      const bool is_harmless =
          std::any_of(std::begin(kHarmlessSuffixes), std::end(kHarmlessSuffixes),
                      [&](std::string_view suffix) { return name.ends_with(suffix); });
      if (is_harmless) continue;
      fail(Status::kUnsupported, path_text(tensors_->source()), ": tensor ", quote(name),
           " has no place in ", config_.architecture->name, " with this config.json");
    }
  }

  const ModelConfig& config_;
  const TensorSet* tensors_;
  ShardSpec shard_;
  WeightPlan plan_;
  std::set<std::string> taken_;
};

class Progress {
 public:
  Progress(LoadProgress* progress, uint64_t total) : progress_(progress), total_(total) {}

  void advance(uint64_t bytes) {
    done_ += bytes;
    if (progress_ && !progress_->advance(done_, total_))
      fail(Status::kCancelled, "loading was cancelled");
  }

 private:
  LoadProgress* progress_;
  uint64_t total_;
  uint64_t done_ = 0;
};

void take_source(const MatrixPlan& matrix, const WeightSource& source, WeightSink& sink,
                 Progress& progress) {
  const int64_t num_rows = source.tensor.shape[0];
  const WeightPiece whole{source.tensor, 0, num_rows, matrix.column_begin, matrix.k};
  const auto row_bytes = static_cast<int64_t>(whole.row_bytes());
  const int64_t rows_a_piece =
      std::max<int64_t>(static_cast<int64_t>(kPieceBytes) / row_bytes / kPieceRows, 1) * kPieceRows;
  for (int64_t row = 0; row < num_rows; row += rows_a_piece) {
    const WeightPiece piece = whole.rows(row, std::min(rows_a_piece, num_rows - row));
    sink.take(matrix.id, source.row_offset + row, piece);
    progress.advance(piece.bytes());
  }
}

// Rows of a piece that are in `data` already.
void check_rows(const WeightPiece& piece, int64_t row, int64_t num_rows, const uint8_t* data) {
  TensorRef read = piece.tensor;
  read.data = data;
  read.bytes = static_cast<uint64_t>(num_rows) * piece.row_bytes();
  const int64_t found = find_not_finite(read);
  if (found < 0) return;
  const int64_t whole_row = piece.first_row + row + found / piece.num_columns;
  refuse_not_finite(
      piece.tensor,
      whole_row * piece.tensor.shape[1] + piece.first_column + found % piece.num_columns,
      core::load_as_float(data, read.dtype, found));
}

// Maps what is about to be read at once, not by a fault every few pages. Only a wish.
void populate([[maybe_unused]] const uint8_t* data, [[maybe_unused]] uint64_t bytes) {
#if defined(MADV_POPULATE_READ)
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<uintptr_t>(data) / page * page;
  const auto end = reinterpret_cast<uintptr_t>(data) + bytes;
  (void)madvise(reinterpret_cast<void*>(begin), end - begin, MADV_POPULATE_READ);
#endif
}

// splitmix64's finaliser (Steele et al. 2014): neighbouring ids give unrelated seeds.
uint64_t matrix_seed(uint64_t seed, MatrixId id) {
  uint64_t x = seed + 0x9e3779b97f4a7c15u * (static_cast<uint64_t>(id.layer_idx + 1) * 16 +
                                             static_cast<uint64_t>(id.kind) + 1);
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

}  // namespace

void read_piece(const WeightPiece& piece, uint8_t* out) {
  // Checked where they have been written, while they are in the cache.
  constexpr uint64_t kBlockBytes = 256 << 10;
  const uint64_t row_bytes = piece.row_bytes();
  const auto element_bytes = static_cast<uint64_t>(core::dtype_bytes(piece.tensor.dtype));
  const uint64_t whole_bytes = static_cast<uint64_t>(piece.tensor.shape[1]) * element_bytes;
  const uint8_t* data = piece.tensor.data + static_cast<uint64_t>(piece.first_row) * whole_bytes +
                        static_cast<uint64_t>(piece.first_column) * element_bytes;
  if (piece.has_all_columns()) populate(data, piece.bytes());
  const auto rows_a_block = static_cast<int64_t>(std::max<uint64_t>(kBlockBytes / row_bytes, 1));
  for (int64_t row = 0; row < piece.num_rows; row += rows_a_block) {
    const int64_t count = std::min(rows_a_block, piece.num_rows - row);
    uint8_t* block = out + static_cast<uint64_t>(row) * row_bytes;
    if (piece.has_all_columns()) {
      std::memcpy(block, data + static_cast<uint64_t>(row) * row_bytes,
                  static_cast<uint64_t>(count) * row_bytes);
    } else {
      for (int64_t i = 0; i < count; ++i)
        std::memcpy(block + static_cast<uint64_t>(i) * row_bytes,
                    data + static_cast<uint64_t>(row + i) * whole_bytes, row_bytes);
    }
    check_rows(piece, row, count, block);
  }
}

void WeightSink::take(MatrixId id, int64_t row_offset, const WeightPiece& piece) {
  TensorRef rows = piece.tensor.rows(piece.first_row, piece.num_rows);
  if (piece.has_all_columns()) {
    check_rows(piece, 0, piece.num_rows, rows.data);
  } else {
    gathered_.resize(piece.bytes());
    read_piece(piece, gathered_.data());
    rows.shape[1] = piece.num_columns;
    rows.data = gathered_.data();
    rows.bytes = piece.bytes();
  }
  pack(id, row_offset, rows);
}

VectorKind bias_kind(MatrixKind group) {
  switch (group) {
    case MatrixKind::kQkv:
      return VectorKind::kQkvBias;
    case MatrixKind::kO:
      return VectorKind::kOBias;
    case MatrixKind::kGateUp:
      return VectorKind::kGateUpBias;
    default:
      SLORA_CHECK(group == MatrixKind::kDown);
      return VectorKind::kDownBias;
  }
}

std::vector<float> vector_values(const VectorPlan& vector) {
  if (vector.tensors.empty())
    return std::vector<float>(static_cast<size_t>(vector.size), vector.synthetic);
  std::vector<float> values;
  for (const TensorRef& tensor : vector.tensors) {
    const std::vector<float> part = to_floats(tensor);
    values.insert(values.end(), part.begin(), part.end());
  }
  return values;
}

WeightPlan plan_weights(const ModelConfig& config, const TensorSet& tensors,
                        const ShardSpec& shard) {
  return Planner(config, &tensors, shard).plan();
}

WeightPlan plan_synthetic_weights(const ModelConfig& config, const ShardSpec& shard) {
  return Planner(config, nullptr, shard).plan();
}

void load_weights(const WeightPlan& plan, WeightSink& sink, LoadProgress* listener) {
  Progress progress(listener, plan.source_bytes);
  progress.advance(0);
  try {
    for (const VectorPlan& vector : plan.vectors) sink.set_vector(vector.id, vector_values(vector));
    for (const MatrixPlan& matrix : plan.matrices) {
      sink.allocate(matrix.id, matrix.n, matrix.k);
      for (const WeightSource& source : matrix.sources) take_source(matrix, source, sink, progress);
    }
    sink.finish();
  } catch (...) {
    sink.abandon();
    throw;
  }
}

void fill_weights(const WeightPlan& plan, uint64_t seed, WeightSink& sink, LoadProgress* listener) {
  Progress progress(listener, plan.source_bytes);
  progress.advance(0);
  for (const VectorPlan& vector : plan.vectors) {
    sink.set_vector(vector.id, vector_values(vector));
    progress.advance(static_cast<uint64_t>(vector.size) * 2);
  }
  for (const MatrixPlan& matrix : plan.matrices) {
    sink.allocate(matrix.id, matrix.n, matrix.k);
    for (const FillPart& part : matrix.parts)
      sink.fill(matrix.id, matrix_seed(seed, matrix.id), plan.synthetic_stddev, part);
    progress.advance(static_cast<uint64_t>(matrix.n * matrix.k) * 2);
  }
}

}  // namespace slora::model
