// Packing, filling and row lookup of weights.
#include <algorithm>

#include "slora/kernels/host_kernels.hpp"
#include "slora/kernels/random.hpp"
#include "src/host/packed_weight.hpp"

namespace slora::kernels {
namespace {

// k of a row that are written before the next row's: 64 rows of them stay in the first-level cache.
constexpr int64_t kChunk = 64;

// A bf16 source element: a bf16 matrix takes it as it is.
struct Bf16Bits {
  uint16_t bits;
};

struct Bf16Packed {
  using Element = uint16_t;
  static constexpr DType kDType = DType::kBF16;
  static Element element(float x) { return core::float_to_bf16(x); }
  static Element element(Bf16Bits x) { return x.bits; }
  static float to_float(Element x) { return core::bf16_to_float(x); }
  static int64_t k_offset(int64_t k) { return packed_k_offset_bf16(k); }
};
struct F32Packed {
  using Element = float;
  static constexpr DType kDType = DType::kF32;
  static Element element(float x) { return x; }
  static Element element(Bf16Bits x) { return core::bf16_to_float(x.bits); }
  static float to_float(Element x) { return x; }
  static int64_t k_offset(int64_t k) { return packed_k_offset_f32(k); }
};

// Writes rows [first, last) of one block from value(row, k), and with the matrix's last row the
// columns after it.
template <typename Packed, typename Value>
void write_rows(void* dst, int64_t n_total, int64_t k, int64_t first, int64_t last,
                const Value& value) {
  auto* elements = static_cast<typename Packed::Element*>(dst);
  const int64_t stored_k = packed_k(Packed::kDType, k);
  const int64_t padded_last = last == n_total ? num_column_blocks(n_total) * kBlockColumns : last;
  for (int64_t k_begin = 0; k_begin < stored_k; k_begin += kChunk) {
    const int64_t k_end = std::min(k_begin + kChunk, stored_k);
    for (int64_t row = first; row < padded_last; ++row) {
      auto* out = elements + packed_row_begin(Packed::kDType, k, row);
      const int64_t real_end = row < last ? std::min(k_end, k) : k_begin;
      for (int64_t i = k_begin; i < real_end; ++i)
        out[Packed::k_offset(i)] = Packed::element(value(row, i));
      for (int64_t i = real_end; i < k_end; ++i)
        out[Packed::k_offset(i)] = typename Packed::Element{};
    }
  }
}

// Each task writes whole blocks, so no two threads share a cache line of the result.
template <typename Packed, typename Value>
void write_matrix(void* dst, int64_t n_total, int64_t k, int64_t row_offset, int64_t num_rows,
                  const Value& value, device::ThreadTeam& team) {
  if (num_rows <= 0) return;
  const int64_t first_block = row_offset / kBlockColumns;
  const int64_t end_row = row_offset + num_rows;
  const int64_t num_tasks = num_column_blocks(end_row) - first_block;
  team.parallel_for(static_cast<int32_t>(num_tasks), [&](int32_t task, int32_t) {
    const int64_t block_begin = (first_block + task) * kBlockColumns;
    write_rows<Packed>(dst, n_total, k, std::max(row_offset, block_begin),
                       std::min(end_row, block_begin + kBlockColumns), value);
  });
}

template <typename Value>
void write_matrix(DType dtype, void* dst, int64_t n_total, int64_t k, int64_t row_offset,
                  int64_t num_rows, const Value& value, device::ThreadTeam& team) {
  if (dtype == DType::kBF16) {
    write_matrix<Bf16Packed>(dst, n_total, k, row_offset, num_rows, value, team);
  } else {
    write_matrix<F32Packed>(dst, n_total, k, row_offset, num_rows, value, team);
  }
}

template <typename Packed>
void read_row(const void* weight, int64_t k, int64_t row, float scale, float* out) {
  const auto* in = static_cast<const typename Packed::Element*>(weight) +
                   packed_row_begin(Packed::kDType, k, row);
  for (int64_t i = 0; i < k; ++i) out[i] = scale * Packed::to_float(in[Packed::k_offset(i)]);
}

}  // namespace

// Cost       reads the source once, writes the packed rows once
void run_weight_pack(const WeightPackParams& params, device::ThreadTeam& team) {
  const auto pack = [&](const auto* src, const auto& to_float) {
    write_matrix(
        params.dst_dtype, params.dst, params.n_total, params.k, params.row_offset, params.num_rows,
        [&](int64_t row, int64_t k) {
          return to_float(src[(row - params.row_offset) * params.src_row_stride + k]);
        },
        team);
  };
  switch (params.src_dtype) {
    case DType::kF32:
      return pack(static_cast<const float*>(params.src), [](float x) { return x; });
    case DType::kBF16:
      return pack(static_cast<const uint16_t*>(params.src), [](uint16_t x) { return Bf16Bits{x}; });
    case DType::kF16:
      return pack(static_cast<const uint16_t*>(params.src),
                  [](uint16_t x) { return core::f16_to_float(x); });
  }
}

// Cost       about 3 ns an element and thread
void run_weight_fill(const WeightFillParams& params, device::ThreadTeam& team) {
  const bool is_whole = params.num_rows == 0;
  const int64_t source_k = is_whole ? params.k : params.source_k;
  const int64_t first = params.source_row * source_k + params.source_column;
  write_matrix(
      params.dtype, params.dst, params.n_total, params.k, params.row_offset,
      is_whole ? params.n_total : params.num_rows,
      [&](int64_t row, int64_t k) {
        const int64_t place = first + (row - params.row_offset) * source_k + k;
        return fill_normal(params.seed, static_cast<uint64_t>(place), params.stddev);
      },
      team);
}

// Cost       a cache line a pair of elements (the packed form is made for matmuls): about 10 us a
// token at H = 2048
void run_embed(const EmbedParams& params, device::ThreadTeam& team) {
  team.parallel_for(params.num_tokens, [&](int32_t t, int32_t) {
    const int64_t token =
        params.history[params.token_slot[t] * params.history_stride + params.token_position[t]] -
        params.vocab_begin;
    float* out = params.out + t * params.hidden_size;
    if (params.is_shard && (token < 0 || token >= params.vocab_size)) {
      std::fill(out, out + params.hidden_size, 0.0f);
      return;
    }
    if (params.weight_dtype == DType::kBF16) {
      read_row<Bf16Packed>(params.weight, params.hidden_size, token, params.scale, out);
    } else {
      read_row<F32Packed>(params.weight, params.hidden_size, token, params.scale, out);
    }
  });
}

}  // namespace slora::kernels
