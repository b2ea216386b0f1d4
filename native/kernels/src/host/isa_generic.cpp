// Inner loops for any machine; no -m flags.
#include "src/host/simd_generic.hpp"
//
#include "src/host/micro_table.hpp"

namespace slora::kernels {

const IsaKernels* isa_generic() {
  static constexpr IsaKernels kTable = make_table("generic");
  return &kTable;
}

}  // namespace slora::kernels
