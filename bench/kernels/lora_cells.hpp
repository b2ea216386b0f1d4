// The cells of the LoRA benchmark: those of kernel-peers.csv and some of our own, and what ranks
// and rows their adapters have.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "slora/core/status.hpp"

namespace slora::kernels {

inline constexpr int64_t kDim = 4096;
inline constexpr int64_t kElemBytes = 2;

struct Cell {
  std::string kind, rank, mix;
  int32_t tokens = 0;
  int32_t slices = 0;
  int32_t adapters = 0;
  double min_bytes = 0;
  double best_public_us = 0;  // 0: not measured
  std::string best_public;
};

inline std::vector<Cell> read_peers(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw core::Error(core::Status::kInvalidArgument, "cannot read " + path);
  std::vector<Cell> cells;
  std::string line;
  std::getline(file, line);  // names
  while (std::getline(file, line)) {
    std::istringstream fields(line);
    std::vector<std::string> field;
    for (std::string one; std::getline(fields, one, ',');) field.push_back(one);
    if (field.size() < 10) continue;
    Cell cell;
    cell.kind = field[0];
    cell.tokens = std::stoi(field[1]);
    cell.slices = std::stoi(field[2]);
    cell.rank = field[3];
    cell.mix = field[4];
    cell.adapters = std::stoi(field[5]);
    cell.min_bytes = std::stod(field[6]);
    cell.best_public_us = std::stod(field[8]);
    cell.best_public = field[9];
    cells.push_back(cell);
  }
  return cells;
}

inline std::vector<int32_t> ranks_of(const Cell& cell) {
  std::vector<int32_t> ranks(static_cast<size_t>(cell.adapters));
  for (size_t a = 0; a < ranks.size(); ++a)
    ranks[a] = cell.rank == "het" ? 8 << a % 4 : std::stoi(cell.rank);
  return ranks;
}

// Rows of each adapter: evenly, or by Zipf's law with the adapter's number.
inline std::vector<int32_t> rows_of(const Cell& cell) {
  std::vector<int32_t> rows(static_cast<size_t>(cell.adapters), 0);
  if (cell.mix != "zipf") {
    for (int32_t t = 0; t < cell.tokens; ++t) ++rows[static_cast<size_t>(t % cell.adapters)];
    return rows;
  }
  double sum = 0;
  for (int32_t a = 1; a <= cell.adapters; ++a) sum += 1.0 / a;
  int32_t left = cell.tokens - cell.adapters;  // one each, the rest by the law
  for (int32_t a = cell.adapters; a > 0; --a) {
    const int32_t more =
        a == 1 ? left : std::min(left, static_cast<int32_t>(cell.tokens / (a * sum)));
    rows[static_cast<size_t>(a - 1)] = 1 + more;
    left -= more;
  }
  return rows;
}

inline double min_bytes_of(const Cell& cell) {
  double weights = 0;
  for (const int32_t rank : ranks_of(cell)) weights += 2.0 * rank * kDim * kElemBytes * cell.slices;
  // x once, y read and written.
  return weights + static_cast<double>(cell.tokens) * kDim * kElemBytes * (1 + 2 * cell.slices);
}

inline std::vector<Cell> own_cells() {
  std::vector<Cell> cells;
  const auto add = [&](const char* kind, int32_t tokens, int32_t slices, const char* rank,
                       const char* mix, int32_t adapters) {
    Cell cell{kind, rank, mix, tokens, slices, adapters, 0, 0, "-"};
    cell.min_bytes = min_bytes_of(cell);
    cells.push_back(cell);
  };
  for (const int32_t tokens : {4, 8, 16, 256}) add("decode", tokens, 3, "16", "distinct", tokens);
  for (const char* rank : {"4", "32", "128"}) {
    add("decode", 32, 3, rank, "distinct", 32);
    add("decode", 32, 3, rank, "one", 1);
  }
  add("decode", 64, 3, "16", "zipf", 20);
  add("decode", 128, 3, "het", "zipf", 40);
  add("prefill", 4096, 3, "16", "a1", 1);
  add("prefill", 2048, 3, "het", "zipf", 24);
  return cells;
}

}  // namespace slora::kernels
