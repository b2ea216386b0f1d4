// What every fuzzer shares: the input as a stream of small values, a scratch folder for readers
// that want files, and the one rule for a refusal: a core::Error of one line. Anything else that
// leaves a reader is a finding.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "slora/core/status.hpp"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace slora::fuzz {

// Stops at a broken property, in release builds too.
#define SLORA_FUZZ_REQUIRE(condition) \
  do {                                \
    if (!(condition)) std::abort();   \
  } while (false)

inline std::string_view as_text(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

// Whether `read` was accepted. A message is one line, as Error promises.
template <typename Read>
bool accepts(const Read& read) {
  try {
    read();
    return true;
  } catch (const core::Error& error) {
    SLORA_FUZZ_REQUIRE(std::strchr(error.what(), '\n') == nullptr);
    return false;
  }
}

// The input from its begin, zeros where it has ended.
class Stream {
 public:
  Stream(const uint8_t* data, size_t size) : data_(data), left_(size) {}

  bool is_empty() const { return left_ == 0; }

  template <typename T>
  T take() {
    T value{};
    const size_t bytes = left_ < sizeof(T) ? left_ : sizeof(T);
    std::memcpy(&value, data_, bytes);
    data_ += bytes;
    left_ -= bytes;
    return value;
  }

  // Small numbers mostly, any number now and then.
  uint32_t count(uint32_t likely) {
    const uint8_t kind = take<uint8_t>();
    return kind == 0xff ? take<uint32_t>() : kind % (likely + 1);
  }

  std::string_view text() {
    const size_t bytes = std::min<size_t>(take<uint8_t>(), left_);
    const std::string_view text = as_text(data_, bytes);
    data_ += bytes;
    left_ -= bytes;
    return text;
  }

 private:
  const uint8_t* data_;
  size_t left_;
};

// One folder a process, in memory where the system has such a place.
class Scratch {
 public:
  Scratch() {
    std::string name = std::filesystem::exists("/dev/shm") ? "/dev/shm/slora-fuzz-XXXXXX"
                                                           : "/tmp/slora-fuzz-XXXXXX";
    SLORA_FUZZ_REQUIRE(mkdtemp(name.data()) != nullptr);
    path_ = name;
  }
  ~Scratch() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  const std::string& path() const { return path_; }

  std::string write(const std::string& name, std::string_view bytes) const {
    const std::string file = path_ + "/" + name;
    std::ofstream(file, std::ios::binary | std::ios::trunc)
        .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    return file;
  }

 private:
  std::string path_;
};

// A safetensors file out of header text: its length before it, and as many zero bytes behind as it
// speaks of, up to 128 KiB. So mutations of the header alone get past the first checks.
std::string safetensors_of(std::string_view header);

}  // namespace slora::fuzz
