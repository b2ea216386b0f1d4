// Exports of measure.h.
#include "guard.hpp"
#include "slora/engine/ceilings.hpp"

namespace slora::capi {
namespace {

using core::fail;
using core::Status;

void require_within(int64_t value, int64_t smallest, int64_t largest, const char* name) {
  if (value < smallest || value > largest) {
    fail(Status::kInvalidArgument, name, " is ", value, ", the limit is ", smallest, "..", largest);
  }
}

engine::CeilingQuery read_query(const slora_measure_options& in) {
  constexpr int64_t kLargestSide = 1 << 20;
  require_within(in.backend, SLORA_BACKEND_AUTO, SLORA_BACKEND_CUDA, "backend");
  require_within(in.num_threads, 0, 256, "num_threads");
  require_within(in.compute_dtype, SLORA_DTYPE_F32, SLORA_DTYPE_F16, "compute_dtype");
  require_within(in.num_rounds, 0, 1000, "num_rounds");
  if (in.matmul_m != 0 || in.matmul_n != 0 || in.matmul_k != 0) {
    require_within(in.matmul_m, 1, kLargestSide, "matmul_m");
    require_within(in.matmul_n, 1, kLargestSide, "matmul_n");
    require_within(in.matmul_k, 1, kLargestSide, "matmul_k");
  }
  engine::CeilingQuery query;
  query.backend = static_cast<engine::BackendKind>(in.backend);
  query.device_idx = in.device_idx;
  query.num_threads = in.num_threads;
  query.dtype = static_cast<core::DType>(in.compute_dtype);
  if (in.num_rounds != 0) query.num_rounds = static_cast<int32_t>(in.num_rounds);
  query.copy_bytes = in.copy_bytes;
  query.upload_bytes = in.upload_bytes;
  query.m = in.matmul_m;
  query.n = in.matmul_n;
  query.k = in.matmul_k;
  return query;
}

}  // namespace
}  // namespace slora::capi

using namespace slora;

extern "C" {

int32_t slora_backend_measure(const slora_measure_options* options,
                              slora_measurement* out_measurement, slora_error* error) {
  return capi::guarded("slora_backend_measure", error, [&] {
    const slora_measure_options in = capi::read_struct(options, "options");
    capi::require(out_measurement, "out_measurement");
    const engine::Ceilings ceilings = engine::measure_ceilings(capi::read_query(in));
    slora_measurement measured = SLORA_MEASUREMENT_INIT;
    measured.backend = ceilings.is_cuda ? SLORA_BACKEND_CUDA : SLORA_BACKEND_HOST;
    measured.copy_bytes_per_second = ceilings.copy_bytes_per_second;
    measured.upload_bytes_per_second = ceilings.upload_bytes_per_second;
    measured.matmul_seconds = ceilings.matmul_seconds;
    capi::write_struct(out_measurement, measured, "out_measurement");
    return core::Status::kOk;
  });
}

}  // extern "C"
