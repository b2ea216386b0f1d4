// What a backend can do at best: rates measured through its own two tables, with nothing else on
// it.
#pragma once

#include <cstdint>

#include "slora/core/dtype.hpp"
#include "slora/engine/backend_loader.hpp"

namespace slora::engine {

// A size of 0 leaves that measurement out; m, n and k are all 0 or none.
struct CeilingQuery {
  BackendKind backend = BackendKind::kAuto;
  int32_t device_idx = 0;
  int32_t num_threads = 0;
  core::DType dtype = core::DType::kBF16;  // of W
  int32_t num_rounds = 10;
  uint64_t copy_bytes = 0;
  uint64_t upload_bytes = 0;
  int64_t m = 0, n = 0, k = 0;
};

// Medians of the rounds; 0 for what was left out.
struct Ceilings {
  bool is_cuda = false;
  double copy_bytes_per_second = 0;    // read and written
  double upload_bytes_per_second = 0;  // pinned host memory to the device
  double matmul_seconds = 0;           // y [m, n] = x [m, k] W [n, k]^T
};

Ceilings measure_ceilings(const CeilingQuery& query);

}  // namespace slora::engine
