// Bytes of a message between ranks: numbers, texts and arrays one after another. Ranks run one
// version on one kind of machine, so the form is that of memory; what is read is checked against
// the message's end all the same.
#pragma once

#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "slora/core/status.hpp"

namespace slora::engine {

class MessageWriter {
 public:
  template <typename T>
  void put(const T& value) {
    static_assert(std::is_trivially_copyable_v<T>);
    put_bytes(&value, sizeof value);
  }
  void put(const std::string& text) { put_array(std::span<const char>(text)); }
  template <typename T>
  void put_array(std::span<const T> values) {
    put(static_cast<uint64_t>(values.size()));
    if (!values.empty()) put_bytes(values.data(), values.size_bytes());
  }
  template <typename T>
  void put_array(const std::vector<T>& values) {
    put_array(std::span<const T>(values));
  }

  std::vector<uint8_t> take() { return std::move(bytes_); }

 private:
  void put_bytes(const void* from, size_t size) {
    const auto* begin = static_cast<const uint8_t*>(from);
    bytes_.insert(bytes_.end(), begin, begin + size);
  }

  std::vector<uint8_t> bytes_;
};

// kInternal where a message ends too early or too late.
class MessageReader {
 public:
  explicit MessageReader(std::span<const uint8_t> bytes) : bytes_(bytes) {}

  template <typename T>
  void get(T& value) {
    static_assert(std::is_trivially_copyable_v<T>);
    get_bytes(&value, sizeof value);
  }
  template <typename T>
  T get() {
    T value;
    get(value);
    return value;
  }
  void get(bool& value) { value = get<uint8_t>() != 0; }
  void get(std::string& text) {
    text.resize(count(1));
    get_bytes(text.data(), text.size());
  }
  template <typename T>
  void get_array(std::vector<T>& values) {
    values.resize(count(sizeof(T)));
    get_bytes(values.data(), values.size() * sizeof(T));
  }
  // Elements of an array that is read one by one; each takes at least `least_bytes`.
  uint64_t count(size_t least_bytes) {
    const auto count = get<uint64_t>();
    if (count > bytes_.size() / least_bytes) fail_short(count * least_bytes);
    return count;
  }
  void expect_end() const {
    if (!bytes_.empty()) {
      core::fail(core::Status::kInternal, "a message between ranks has ", bytes_.size(),
                 " bytes too many");
    }
  }

 private:
  void get_bytes(void* to, size_t size) {
    if (size > bytes_.size()) fail_short(size);
    if (size > 0) std::memcpy(to, bytes_.data(), size);
    bytes_ = bytes_.subspan(size);
  }
  [[noreturn]] void fail_short(uint64_t wanted) const {
    core::fail(core::Status::kInternal, "a message between ranks has ", bytes_.size(),
               " bytes where ", wanted, " should be");
  }

  std::span<const uint8_t> bytes_;
};

}  // namespace slora::engine
