// What happens to q, k and v between the qkv matmul and attention: norms of heads, rotation, and
// the write into KV pages.
#include "common.cuh"
#include "cuda_kernels.hpp"

namespace slora::kernels::cuda {
namespace {

constexpr int kThreads = 128;

template <typename T, int kVec>
struct alignas(sizeof(T) * kVec) Piece {
  T v[kVec];
};

template <typename T, int kVec>
__device__ __forceinline__ Piece<T, kVec> load_piece(const T* from) {
  return *reinterpret_cast<const Piece<T, kVec>*>(from);
}
template <typename T, int kVec>
__device__ __forceinline__ void store_piece(T* to, const Piece<T, kVec>& value) {
  *reinterpret_cast<Piece<T, kVec>*>(to) = value;
}

template <int kCount>
__device__ __forceinline__ void load_floats(const float* from, float (&to)[kCount]) {
  if constexpr (kCount % 4 == 0) {
#pragma unroll
    for (int i = 0; i < kCount; i += 4) {
      const float4 v = __ldg(reinterpret_cast<const float4*>(from + i));
      to[i] = v.x, to[i + 1] = v.y, to[i + 2] = v.z, to[i + 3] = v.w;
    }
  } else {
#pragma unroll
    for (int i = 0; i < kCount; ++i) to[i] = __ldg(from + i);
  }
}

// Pieces of kVec elements: of a rotated half, of what a head keeps as it is, of a whole head.
struct RopePieces {
  int32_t half;
  int32_t rest;
  int32_t head;
};

// Semantics  RopeKvParams
// Cost       q, k and v once; a block takes kThreads pieces of one token
template <typename T, int kVec>
__global__ void __launch_bounds__(kThreads)
    rope_kv_kernel(const RopeKvParams params, const RopePieces pieces) {
  allow_next();
  const int64_t token = blockIdx.x;
  const int32_t position = params.token_position[token];
  const int32_t page = params.token_page[token];

  // ---- the thread's work: a pair of pieces to rotate, or one to copy
  int32_t idx = blockIdx.y * kThreads + threadIdx.x;
  const int32_t q_pieces = params.num_heads * pieces.half;
  const int32_t k_head_pieces = pieces.half + pieces.rest;
  const int32_t k_pieces = params.num_kv_heads * k_head_pieces;
  const bool is_q = idx < q_pieces;
  if (!is_q) idx -= q_pieces;
  const bool is_k = !is_q && idx < k_pieces;
  if (!is_q && !is_k) idx -= k_pieces;
  const bool is_v = !is_q && !is_k;
  const bool is_active = page >= 0 && !(is_v && idx >= params.num_kv_heads * pieces.head);
  const int32_t pieces_a_head = is_q ? pieces.half : is_k ? k_head_pieces : pieces.head;
  const int32_t head = idx / pieces_a_head;
  const int32_t piece = idx - head * pieces_a_head;
  const int32_t first_head = is_q   ? 0
                             : is_k ? params.num_heads
                                    : params.num_heads + params.num_kv_heads;
  const int32_t d = params.head_size;
  T* in = static_cast<T*>(params.qkv) + token * params.row_stride +
          static_cast<int64_t>(first_head + head) * d;
  T* out = in;
  if (!is_q) {
    const int32_t slot = position % params.tokens_per_page + (is_v ? params.tokens_per_page : 0);
    out = reinterpret_cast<T*>(params.slice + page * params.page_bytes) +
          (static_cast<int64_t>(slot) * params.num_kv_heads + head) * d;
  }

  // ---- the angles are constants, so they may come before the inputs
  const bool is_rotated = !is_v && piece < pieces.half;
  const int32_t half = params.rotary_size / 2;
  float cosines[kVec], sines[kVec];
  if (is_active && is_rotated) {
    const float* table =
        params.rope_table + static_cast<int64_t>(position) * params.rotary_size + piece * kVec;
    load_floats(table, cosines);
    load_floats(table + half, sines);
  }
  wait_for_inputs();
  if (!is_active) return;
  if (!is_rotated) {
    const int32_t e = is_v ? piece * kVec : params.rotary_size + (piece - pieces.half) * kVec;
    store_piece<T, kVec>(out + e, load_piece<T, kVec>(in + e));
    return;
  }
  // ---- rotate
  const Piece<T, kVec> a = load_piece<T, kVec>(in + piece * kVec);
  const Piece<T, kVec> b = load_piece<T, kVec>(in + half + piece * kVec);
  Piece<T, kVec> low, high;
#pragma unroll
  for (int i = 0; i < kVec; ++i) {
    const float x = to_float(a.v[i]), y = to_float(b.v[i]);
    low.v[i] = from_float<T>(x * cosines[i] - y * sines[i]);
    high.v[i] = from_float<T>(y * cosines[i] + x * sines[i]);
  }
  store_piece<T, kVec>(out + piece * kVec, low);
  store_piece<T, kVec>(out + half + piece * kVec, high);
}

bool is_aligned(const void* pointer, int64_t bytes) {
  return reinterpret_cast<uintptr_t>(pointer) % static_cast<uintptr_t>(bytes) == 0;
}

template <typename T, int kVec>
int32_t launch_rope(void* stream, const RopeKvParams& params) {
  const int32_t half = params.rotary_size / 2;
  const RopePieces pieces = {half / kVec, (params.head_size - 2 * half) / kVec,
                             params.head_size / kVec};
  const int64_t count = int64_t{params.num_heads} * pieces.half +
                        int64_t{params.num_kv_heads} * (pieces.half + pieces.rest + pieces.head);
  const dim3 grid(params.num_tokens, static_cast<unsigned>(ceil_div(count, kThreads)));
  return launch(stream, rope_kv_kernel<T, kVec>, grid, dim3(kThreads), 0, params, pieces);
}

template <typename T>
int32_t launch_rope(void* stream, const RopeKvParams& params) {
  constexpr int kVec = Vec<T>::kCount;
  const bool is_wide = params.rotary_size / 2 % kVec == 0 && params.head_size % kVec == 0 &&
                       params.row_stride % kVec == 0 && params.page_bytes % 16 == 0 &&
                       is_aligned(params.qkv, 16) && is_aligned(params.slice, 16) &&
                       is_aligned(params.rope_table, 16);
  return is_wide ? launch_rope<T, kVec>(stream, params) : launch_rope<T, 1>(stream, params);
}

constexpr int kNormWarps = 4;
constexpr int kNormPieces = 16;  // a lane's, at most: heads of 512 elements one by one

// Semantics  HeadNormParams
// Cost       q and k read and written once; a warp takes one head of one token
template <typename T, int kVec, int kPieces>
__global__ void __launch_bounds__(kNormWarps * 32) head_norm_kernel(const HeadNormParams params) {
  allow_next();
  const int32_t lane = threadIdx.x % 32;
  const int32_t head = blockIdx.y * kNormWarps + threadIdx.x / 32;
  wait_for_inputs();
  if (head >= params.num_heads + params.num_kv_heads) return;
  const int32_t d = params.head_size;
  T* x =
      static_cast<T*>(params.qkv) + blockIdx.x * params.row_stride + static_cast<int64_t>(head) * d;
  const float* weight = head < params.num_heads ? params.q_weight : params.k_weight;
  Piece<T, kVec> pieces[kPieces];
  float squares = 0.0f;
#pragma unroll
  for (int i = 0; i < kPieces; ++i) {
    const int32_t e = (i * 32 + lane) * kVec;
    if (e >= d) continue;
    pieces[i] = load_piece<T, kVec>(x + e);
#pragma unroll
    for (int j = 0; j < kVec; ++j) {
      const float value = to_float(pieces[i].v[j]);
      squares += value * value;
    }
  }
  const float factor = 1.0f / sqrtf(warp_sum(squares) / static_cast<float>(d) + params.eps);
#pragma unroll
  for (int i = 0; i < kPieces; ++i) {
    const int32_t e = (i * 32 + lane) * kVec;
    if (e >= d) continue;
#pragma unroll
    for (int j = 0; j < kVec; ++j) {
      pieces[i].v[j] = from_float<T>(to_float(pieces[i].v[j]) * factor *
                                     (params.weight_offset + __ldg(weight + e + j)));
    }
    store_piece<T, kVec>(x + e, pieces[i]);
  }
}

template <typename T>
int32_t launch_head_norm(void* stream, const HeadNormParams& params) {
  constexpr int kVec = Vec<T>::kCount;
  const bool is_wide = params.head_size % kVec == 0 && params.head_size <= 32 * kVec &&
                       params.row_stride % kVec == 0 && is_aligned(params.qkv, 16);
  const int64_t heads = int64_t{params.num_heads} + params.num_kv_heads;
  const dim3 grid(params.num_tokens, static_cast<unsigned>(ceil_div(heads, kNormWarps)));
  const auto kernel = is_wide ? head_norm_kernel<T, kVec, 1> : head_norm_kernel<T, 1, kNormPieces>;
  return launch(stream, kernel, grid, dim3(kNormWarps * 32), 0, params);
}

}  // namespace

int32_t rope_kv(void* stream, const RopeKvParams* params) {
  if (params->num_tokens <= 0) return kOk;
  if (params->activation_dtype != params->page_dtype || params->rotary_size > params->head_size ||
      params->rotary_size % 2 != 0) {
    return kUnsupported;
  }
  return with_dtype(params->page_dtype,
                    [&](auto element) { return launch_rope<decltype(element)>(stream, *params); });
}

int32_t head_norm(void* stream, const HeadNormParams* params) {
  if (params->num_tokens <= 0) return kOk;
  if (params->head_size > 32 * kNormPieces) return kUnsupported;
  return with_dtype(params->activation_dtype, [&](auto element) {
    return launch_head_norm<decltype(element)>(stream, *params);
  });
}

}  // namespace slora::kernels::cuda
