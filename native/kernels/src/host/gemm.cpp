// Base matmuls: who computes which columns. The sums themselves are micro_gemm.hpp's.
#include "src/host/gemm.hpp"

#include <algorithm>

#include "slora/kernels/host_kernels.hpp"
#include "src/host/isa.hpp"
#include "src/host/packed_weight.hpp"

namespace slora::kernels {
namespace {

// A thread gets few long runs of blocks, since each block fetches the next: enough runs to even out
// a thread that loses its core for a moment.
constexpr int64_t kTasksPerThread = 4;
constexpr int64_t kMinRowsPerTask = 48;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Rounds x to bf16 in the workspace.
void round_x(const GemmParams& params, device::ThreadTeam& team) {
  const int64_t stride = rounded_x_stride(params.k);
  const auto round_row = [&](int32_t m, int32_t) {
    uint16_t* out = static_cast<uint16_t*>(params.workspace) + m * stride;
    isa().to_bf16(static_cast<const float*>(params.x) + m * params.x_stride, params.k, out);
    out[params.k] = 0;
  };
  // A few rows are done before another thread would have begun.
  if (params.m * params.k <= 32768) {
    for (int32_t m = 0; m < params.m; ++m) round_row(m, 0);
  } else {
    team.parallel_for(static_cast<int32_t>(params.m), round_row);
  }
}

class Gemm {
 public:
  explicit Gemm(const GemmParams& params)
      : params_(params),
        is_bf16_(params.weight_dtype == DType::kBF16),
        block_bytes_(packed_block_elems(params.weight_dtype, params.k) *
                     core::dtype_bytes(params.weight_dtype)) {}

  void run_blocks(int64_t first_block, int64_t end_block, int64_t first_row,
                  int64_t end_row) const {
    for (int64_t block = first_block; block < end_block; ++block)
      run_block(block, first_row, end_row);
  }

 private:
  void run_block(int64_t block_idx, int64_t first_row, int64_t end_row) const {
    const int64_t column = block_idx * kBlockColumns;
    GemmBlock block;
    if (is_bf16_) {
      block.x_stride = rounded_x_stride(params_.k);
      block.x = static_cast<const uint16_t*>(params_.workspace) + first_row * block.x_stride;
    } else {
      block.x_stride = params_.x_stride;
      block.x = static_cast<const float*>(params_.x) + first_row * block.x_stride;
    }
    block.w = static_cast<const uint8_t*>(params_.w) + block_idx * block_bytes_;
    block.m = end_row - first_row;
    block.k = params_.k;
    block.num_columns = static_cast<int32_t>(std::min<int64_t>(kBlockColumns, params_.n - column));
    block.bias = params_.bias ? params_.bias + column : nullptr;
    block.y = static_cast<float*>(params_.y) + first_row * params_.y_stride + column;
    block.y_stride = params_.y_stride;
    is_bf16_ ? isa().gemm_bf16(block) : isa().gemm_f32(block);
  }

  const GemmParams& params_;
  const bool is_bf16_;
  const int64_t block_bytes_;
};

}  // namespace

// Cost       few rows: W once from memory. Many: 2 M N K flops; W once, x once a block of columns
// from cache
void run_gemm(const GemmParams& params, device::ThreadTeam& team) {
  if (params.m <= 0) return;
  if (params.weight_dtype == DType::kBF16) round_x(params, team);
  const Gemm gemm(params);
  const int64_t num_blocks = num_column_blocks(params.n);
  // Rows are cut too where there are too few blocks for the team.
  const int64_t wanted_tasks = kTasksPerThread * team.num_threads();
  const int64_t most_chunks = std::max<int64_t>(1, params.m / kMinRowsPerTask);
  const int64_t num_chunks =
      std::clamp<int64_t>(ceil_div(wanted_tasks, num_blocks), 1, most_chunks);
  const int64_t num_runs = std::min(num_blocks, wanted_tasks);
  team.parallel_for(static_cast<int32_t>(num_runs * num_chunks), [&](int32_t task, int32_t) {
    const int64_t chunk = task % num_chunks;
    const int64_t run = task / num_chunks;
    gemm.run_blocks(run * num_blocks / num_runs, (run + 1) * num_blocks / num_runs,
                    chunk * params.m / num_chunks, (chunk + 1) * params.m / num_chunks);
  });
}

}  // namespace slora::kernels
