// The plan of the splits of attention's decode rows, and the kernel that makes their partial
// results one where no cluster does.
#include "attention_splits.cuh"

#include <algorithm>

namespace slora::kernels::cuda {
namespace {

// Semantics  the splits' partial results of (row, head) made one, in the order of the splits
template <typename T>
__global__ void attention_combine_kernel(const AttentionParams params, const DecodeSplits splits) {
  allow_next();
  const int32_t s = blockIdx.y;
  const SplitContext context(params, s, splits.count, splits.min_chunks);
  const int64_t token = params.row_offsets[s];
  wait_for_inputs();
  if (context.position < 0 || context.num_splits == 1) return;
  const int32_t d = params.head_size;
  const int32_t pieces = d / 4;
  const int32_t i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= params.num_heads * pieces) return;
  const int32_t head = i / pieces, e = i % pieces * 4;
  const int64_t slot = splits.slot(params, s, token, head);
  float most = SLORA_NEGATIVE_INFINITY;
  for (int32_t j = 0; j < context.num_splits; ++j) most = fmaxf(most, splits.stats[slot + j].x);
  float total = 0.0f;
  float4 value = make_float4(0, 0, 0, 0);
#pragma unroll 4
  for (int32_t j = 0; j < context.num_splits; ++j) {
    const float2 stats = splits.stats[slot + j];
    const float4 part = *reinterpret_cast<const float4*>(splits.partial + (slot + j) * d + e);
    const float factor = exp2_fast(stats.x - most);
    total += factor * stats.y;
    value.x += factor * part.x;
    value.y += factor * part.y;
    value.z += factor * part.z;
    value.w += factor * part.w;
  }
  const float inverse = 1.0f / total;
  const uint2 out = make_uint2(pack2<T>(value.x * inverse, value.y * inverse),
                               pack2<T>(value.z * inverse, value.w * inverse));
  *reinterpret_cast<uint2*>(static_cast<T*>(params.out) + (token * params.num_heads + head) * d +
                            e) = out;
}

int64_t max_context_of(const AttentionParams& params) {
  const int64_t context = params.max_context > 0
                              ? params.max_context
                              : params.page_table_stride * params.tokens_per_page;
  return params.window > 0 ? std::min<int64_t>(context, params.window + kChunk) : context;
}

template <typename T>
int32_t launch_combine(void* stream, const AttentionParams& params, const DecodeSplits& splits) {
  constexpr int kThreads = 128;
  const dim3 grid(
      static_cast<unsigned>(ceil_div(int64_t{params.num_heads} * params.head_size / 4, kThreads)),
      params.num_rows);
  return launch(stream, attention_combine_kernel<T>, grid, dim3(kThreads), 0, params, splits);
}

}  // namespace

DecodeSplits plan_splits(void* stream, const AttentionParams& params, int32_t heads_a_block,
                         int64_t blocks, int32_t warps, int32_t blocks_an_sm, bool opens_prefill) {
  const device::cuda::CudaDevice& device = device_of(stream);
  const int64_t slots = int64_t{device.sm_count} * blocks_an_sm;
  const int64_t context = max_context_of(params);
  int64_t count = slots / blocks;
  // Clusters of many blocks find room in a card half full, hardly in a full one.
  if (count > 2) count = std::max<int64_t>(slots / 2 / blocks, 2);
  count = std::min(count, ceil_div(context, kChunk * warps));
  const int64_t heads = int64_t{std::min(params.num_rows, params.num_tokens)} * params.num_heads;
  const bool is_cluster = device.sm_version >= 90;
  const int64_t most = is_cluster          ? kMaxCluster
                       : !params.workspace ? 1
                                           : std::min<int64_t>(kMaxPartials / heads, kMaxSplits);
  count = std::clamp<int64_t>(count, 1, std::max<int64_t>(most, 1));
  DecodeSplits splits;
  splits.count = static_cast<int32_t>(count);
  splits.is_cluster = is_cluster;
  splits.heads_a_block = heads_a_block;
  splits.min_chunks = warps;
  splits.opens_prefill = opens_prefill;
  splits.is_by_token = params.num_tokens < params.num_rows;
  const int64_t partials = heads * count;
  splits.stats = static_cast<float2*>(params.workspace);
  splits.partial = static_cast<float*>(params.workspace) + 2 * ((partials + 1) / 2 * 2);
  return splits;
}

int32_t launch_attention_combine(void* stream, const AttentionParams& params,
                                 const DecodeSplits& splits) {
  if (params.page_dtype == DType::kBF16) return launch_combine<bf16>(stream, params, splits);
  return launch_combine<__half>(stream, params, splits);
}

}  // namespace slora::kernels::cuda
