// A sink that keeps every matrix as plain fp32 rows.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "slora/model/weights.hpp"

namespace slora::model {

using Key = std::pair<int, int>;  // kind, layer

class RecordingSink final : public WeightSink {
 public:
  struct Matrix {
    int64_t n = 0;
    int64_t k = 0;
    std::vector<float> values;
    std::vector<bool> is_set;
  };

  void allocate(MatrixId id, int64_t n, int64_t k) override {
    Matrix& matrix = matrices[key(id)];
    EXPECT_EQ(matrix.n, 0) << "allocated twice";
    matrix = {n, k, std::vector<float>(static_cast<size_t>(n * k)),
              std::vector<bool>(static_cast<size_t>(n))};
  }
  void pack(MatrixId id, int64_t row_offset, const TensorRef& rows) override {
    Matrix& matrix = matrices.at(key(id));
    const std::vector<float> values = to_floats(rows);
    ASSERT_EQ(rows.shape[1], matrix.k);
    for (int64_t r = 0; r < rows.shape[0]; ++r) {
      EXPECT_FALSE(matrix.is_set.at(static_cast<size_t>(row_offset + r))) << "packed twice";
      matrix.is_set[static_cast<size_t>(row_offset + r)] = true;
    }
    std::copy(values.begin(), values.end(), matrix.values.begin() + row_offset * matrix.k);
  }
  void fill(MatrixId id, uint64_t seed, float stddev, const FillPart& part) override {
    const auto [entry, is_new] = seeds.try_emplace(seed, key(id));
    EXPECT_TRUE(is_new || entry->second == key(id)) << "two matrices with one seed";
    EXPECT_EQ(stddev, 0.02f);
    Matrix& matrix = matrices.at(key(id));
    for (int64_t r = 0; r < part.num_rows; ++r) {
      const auto row = static_cast<size_t>(part.row_offset + r);
      EXPECT_FALSE(matrix.is_set.at(row)) << "filled twice";
      matrix.is_set[row] = true;
      // Where the element lies in the whole matrix: exact in fp32 for these small models.
      for (int64_t c = 0; c < matrix.k; ++c) {
        matrix.values[row * static_cast<size_t>(matrix.k) + static_cast<size_t>(c)] =
            static_cast<float>((part.whole_row + r) * part.whole_k + part.whole_column + c);
      }
    }
  }
  void set_vector(VectorId id, std::span<const float> values) override {
    vectors[{static_cast<int>(id.kind), id.layer_idx}] = {values.begin(), values.end()};
  }

  static Key key(MatrixId id) { return {static_cast<int>(id.kind), id.layer_idx}; }
  const Matrix& at(MatrixKind kind, int layer) const {
    return matrices.at({static_cast<int>(kind), layer});
  }

  std::map<Key, Matrix> matrices;
  std::map<Key, std::vector<float>> vectors;
  std::map<uint64_t, Key> seeds;
};

}  // namespace slora::model
