// SHA-256 (FIPS 180-4) and HMAC over it (RFC 2104): what proves that two ranks know one secret.
#pragma once

#include <array>
#include <cstdint>
#include <span>

namespace slora::comm {

using Digest = std::array<uint8_t, 32>;

Digest sha256(std::span<const uint8_t> data);
Digest hmac_sha256(std::span<const uint8_t> key, std::span<const uint8_t> data);

// In time that does not depend on where they differ.
bool is_equal(const Digest& a, const Digest& b);

}  // namespace slora::comm
