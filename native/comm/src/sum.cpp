// Piece by piece in fp32, so that 16-bit numbers are rounded once.
#include "sum.hpp"

#include <algorithm>

namespace slora::comm {
namespace {

// Numbers summed at once: few enough for the fastest cache, many enough for wide instructions.
constexpr int64_t kRun = 512;

template <typename Stored, typename ToFloat, typename FromFloat>
void sum(std::span<const void* const> inputs, void* out, int64_t count, const ToFloat& to_float,
         const FromFloat& from_float) {
  float total[kRun];
  for (int64_t begin = 0; begin < count; begin += kRun) {
    const int64_t run = std::min(kRun, count - begin);
    const Stored* first = static_cast<const Stored*>(inputs[0]) + begin;
    for (int64_t i = 0; i < run; ++i) total[i] = to_float(first[i]);
    for (size_t rank = 1; rank < inputs.size(); ++rank) {
      const Stored* next = static_cast<const Stored*>(inputs[rank]) + begin;
      for (int64_t i = 0; i < run; ++i) total[i] += to_float(next[i]);
    }
    Stored* to = static_cast<Stored*>(out) + begin;
    for (int64_t i = 0; i < run; ++i) to[i] = from_float(total[i]);
  }
}

}  // namespace

void sum_in_order(std::span<const void* const> inputs, void* out, int64_t count,
                  core::DType dtype) {
  switch (dtype) {
    case core::DType::kF32:
      return sum<float>(
          inputs, out, count, [](float x) { return x; }, [](float x) { return x; });
    case core::DType::kBF16:
      return sum<uint16_t>(inputs, out, count, core::bf16_to_float, core::float_to_bf16);
    case core::DType::kF16:
      return sum<uint16_t>(inputs, out, count, core::f16_to_float, core::float_to_f16);
  }
}

}  // namespace slora::comm
