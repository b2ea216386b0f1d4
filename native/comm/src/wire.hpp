// Numbers and text in messages between ranks: little-endian, text with its length before it.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "slora/core/status.hpp"

namespace slora::comm {

static_assert(std::endian::native == std::endian::little);

class WireWriter {
 public:
  template <typename Number>
  void number(Number value) {
    const auto* raw = reinterpret_cast<const uint8_t*>(&value);
    bytes_.insert(bytes_.end(), raw, raw + sizeof value);
  }
  void raw(std::span<const uint8_t> data) { bytes_.insert(bytes_.end(), data.begin(), data.end()); }
  void text(const std::string& value) {
    number(static_cast<uint64_t>(value.size()));
    bytes_.insert(bytes_.end(), value.begin(), value.end());
  }
  const std::vector<uint8_t>& bytes() const { return bytes_; }

 private:
  std::vector<uint8_t> bytes_;
};

// Throws kFormat where the message is shorter than what is read from it.
class WireReader {
 public:
  explicit WireReader(std::span<const uint8_t> bytes) : bytes_(bytes) {}

  template <typename Number>
  Number number() {
    Number value;
    std::memcpy(&value, take(sizeof value).data(), sizeof value);
    return value;
  }
  std::span<const uint8_t> take(uint64_t count) {
    if (count > bytes_.size()) {
      core::fail(core::Status::kFormat, "a rank's message ends ", count - bytes_.size(),
                 " bytes early");
    }
    const auto taken = bytes_.first(count);
    bytes_ = bytes_.subspan(count);
    return taken;
  }
  std::string text() {
    const auto taken = take(number<uint64_t>());
    return {taken.begin(), taken.end()};
  }

 private:
  std::span<const uint8_t> bytes_;
};

}  // namespace slora::comm
