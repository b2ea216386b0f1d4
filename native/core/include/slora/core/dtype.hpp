// Numeric formats and their conversions. C++17: .cu files reach this header.
#pragma once

#include <cstdint>
#include <cstring>

namespace slora::core {

// The values are those of enum slora_dtype.
enum class DType : int32_t { kF32 = 0, kBF16 = 1, kF16 = 2 };

inline constexpr int64_t dtype_bytes(DType dtype) { return dtype == DType::kF32 ? 4 : 2; }

inline const char* dtype_name(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return "f32";
    case DType::kBF16:
      return "bf16";
    case DType::kF16:
      return "f16";
  }
  return "?";
}

inline float float_from_bits(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

inline uint32_t bits_from_float(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

inline float bf16_to_float(uint16_t value) { return float_from_bits(uint32_t{value} << 16); }

// Rounds to nearest, ties to even, as hardware and torch do; NaN stays NaN (quiet).
inline uint16_t float_to_bf16(float value) {
  const uint32_t bits = bits_from_float(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((bits >> 16) | 0x40u);
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

// IEEE binary16 to binary32, exact, subnormals included.
inline float f16_to_float(uint16_t value) {
  const uint32_t sign = uint32_t{value & 0x8000u} << 16;
  const uint32_t exponent = (value >> 10) & 0x1fu;
  const uint32_t mantissa = value & 0x3ffu;
  if (exponent == 0x1fu) return float_from_bits(sign | 0x7f800000u | (mantissa << 13));
  if (exponent != 0) return float_from_bits(sign | ((exponent + 112) << 23) | (mantissa << 13));
  // Subnormal: mantissa * 2^-24, which binary32 holds exactly.
  const float magnitude = static_cast<float>(mantissa) * 5.9604644775390625e-8f;
  return float_from_bits(sign | bits_from_float(magnitude));
}

// Nearest even, subnormals included; too large becomes infinity, NaN stays NaN (quiet).
inline uint16_t float_to_f16(float value) {
  const uint32_t bits = bits_from_float(value);
  const auto sign = static_cast<uint16_t>((bits >> 16) & 0x8000u);
  const uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return static_cast<uint16_t>(sign | 0x7e00u);
  if (magnitude >= 0x47800000u) return static_cast<uint16_t>(sign | 0x7c00u);  // 65536 and above
  if (magnitude < 0x38800000u) {  // below 2^-14: a multiple of 2^-24
    // Adding 0.5 puts the value at a binary32 whose last bit is worth 2^-24, and the addition
    // rounds as we need.
    const float shifted = float_from_bits(magnitude) + 0.5f;
    return static_cast<uint16_t>(sign | (bits_from_float(shifted) - 0x3f000000u));
  }
  const uint32_t rebased = magnitude - 0x38000000u;  // exponent bias 127 to 15
  return static_cast<uint16_t>(sign | ((rebased + 0xfffu + ((rebased >> 13) & 1u)) >> 13));
}

inline float load_as_float(const void* data, DType dtype, int64_t idx) {
  switch (dtype) {
    case DType::kF32:
      return static_cast<const float*>(data)[idx];
    case DType::kBF16:
      return bf16_to_float(static_cast<const uint16_t*>(data)[idx]);
    case DType::kF16:
      return f16_to_float(static_cast<const uint16_t*>(data)[idx]);
  }
  return 0.0f;
}

}  // namespace slora::core
