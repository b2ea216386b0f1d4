// Inner loops for AVX-512 (F, BW, DQ, VL).
#include "src/host/simd_avx512.hpp"
//
#include "src/host/micro_table.hpp"

namespace slora::kernels {

const IsaKernels* isa_avx512() {
  static constexpr IsaKernels kTable = make_table("avx512");
  return &kTable;
}

}  // namespace slora::kernels
