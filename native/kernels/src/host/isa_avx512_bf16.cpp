// Inner loops for AVX-512 with bf16 dot products.
#include "src/host/simd_avx512.hpp"
//
#include "src/host/micro_table.hpp"

namespace slora::kernels {

const IsaKernels* isa_avx512_bf16() {
  static constexpr IsaKernels kTable = make_table("avx512_bf16");
  return &kTable;
}

}  // namespace slora::kernels
