// The table of one instruction set; included last by each isa_*.cpp.
#pragma once

#include "src/host/micro_attention.hpp"
#include "src/host/micro_elementwise.hpp"
#include "src/host/micro_gemm.hpp"
#include "src/host/micro_lora.hpp"

namespace slora::kernels {
namespace {

constexpr IsaKernels make_table(const char* name) {
  IsaKernels table{};
  table.name = name;
  table.gemm_bf16 = gemm_block<Bf16Steps>;
  table.gemm_f32 = gemm_block<F32Steps>;
  table.to_bf16 = to_bf16;
  table.add_and_sum_squares = add_and_sum_squares;
  table.scale_by_weight = scale_by_weight;
  table.rotate = rotate;
  table.gate_silu = gate_silu;
  table.gate_gelu_tanh = gate_gelu_tanh;
  table.dot_bf16 = dot<uint16_t>;
  table.dot_f32 = dot<float>;
  table.add_scaled_bf16 = add_scaled<uint16_t>;
  table.add_scaled_f32 = add_scaled<float>;
  table.axpy = axpy;
  table.stage_k_bf16 = stage_k<uint16_t>;
  table.stage_k_f32 = stage_k<float>;
  table.stage_v_bf16 = stage_v<uint16_t>;
  table.stage_v_f32 = stage_v<float>;
  table.attention = attend_block;
  table.exp_shifted = exp_shifted;
  table.max = max_of;
  return table;
}

}  // namespace
}  // namespace slora::kernels
