// Inner loops for AVX2 with FMA.
#include "src/host/simd_avx2.hpp"
//
#include "src/host/micro_table.hpp"

namespace slora::kernels {

const IsaKernels* isa_avx2() {
  static constexpr IsaKernels kTable = make_table("avx2");
  return &kTable;
}

}  // namespace slora::kernels
