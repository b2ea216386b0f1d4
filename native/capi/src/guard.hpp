// What every export shares: structs read by their own size, exceptions turned into statuses, text
// checked.
#pragma once

#include <algorithm>
#include <cstring>
#include <exception>
#include <new>
#include <string>

#include "slora/core/status.hpp"
#include "slora/slora.h"

namespace slora::capi {

using core::fail;
using core::Status;

// Fills the caller's record as far as it reaches; `error` may be null.
void write_error(slora_error* error, Status status, const char* site, const char* message) noexcept;

// Runs `body` (returning Status) and turns what it throws into a status and the caller's record. A
// positive status leaves the record alone.
template <typename Body>
int32_t guarded(const char* site, slora_error* error, Body&& body) noexcept {
  try {
    return static_cast<int32_t>(body());
  } catch (const core::Error& failure) {
    write_error(error, failure.status(), site, failure.what());
    return static_cast<int32_t>(failure.status());
  } catch (const std::bad_alloc&) {
    write_error(error, Status::kOutOfMemory, site, "host memory is exhausted");
    return SLORA_ERROR_OUT_OF_MEMORY;
  } catch (const std::exception& failure) {
    write_error(error, Status::kInternal, site, failure.what());
    return SLORA_ERROR_INTERNAL;
  } catch (...) {
    write_error(error, Status::kInternal, site, "an unknown exception");
    return SLORA_ERROR_INTERNAL;
  }
}

// The same for creators: null on failure.
template <typename Handle, typename Body>
Handle* guarded_create(const char* site, slora_error* error, Body&& body) noexcept {
  Handle* handle = nullptr;
  guarded(site, error, [&] {
    handle = body();
    return Status::kOk;
  });
  return handle;
}

inline void require(const void* pointer, const char* name) {
  if (!pointer) fail(Status::kInvalidArgument, name, " is null");
}

// The caller's struct as this library knows it: a missing tail is zero, an unknown tail must be
// zero.
template <typename T>
T read_struct(const T* input, const char* name) {
  require(input, name);
  const uint32_t size = input->struct_size;
  // Past this no future struct is expected; it keeps a garbage size from reading far beyond the
  // caller's memory.
  constexpr uint32_t kLargest = 65536;
  if (size < 2 * sizeof(uint32_t) || size > kLargest) {
    fail(Status::kStructSize, name, ".struct_size is ", size, ", this library knows ", sizeof(T),
         " (set it with the struct's INIT macro)");
  }
  const auto* bytes = reinterpret_cast<const unsigned char*>(input);
  for (uint32_t i = sizeof(T); i < size; ++i) {
    if (bytes[i] != 0) {
      fail(Status::kStructSize, name, ".struct_size is ", size, ", this library knows ", sizeof(T),
           " and byte ", i, " is not zero");
    }
  }
  T output;
  std::memset(static_cast<void*>(&output), 0, sizeof output);
  std::memcpy(static_cast<void*>(&output), input, std::min<size_t>(size, sizeof(T)));
  output.struct_size = size;
  return output;
}

// Writes as much of `value` as the caller's struct holds; a longer tail is left alone. struct_size
// stays the caller's.
template <typename T>
void write_struct(T* output, T value, const char* name) {
  require(output, name);
  const uint32_t size = output->struct_size;
  if (size < 2 * sizeof(uint32_t)) {
    fail(Status::kStructSize, name, ".struct_size is ", size, ", this library knows ", sizeof(T));
  }
  value.struct_size = size;
  std::memcpy(static_cast<void*>(output), &value, std::min<size_t>(size, sizeof(T)));
}

// UTF-8 text without zero bytes, not empty.
std::string read_text(const char* text, uint64_t bytes, const char* name);

template <size_t kCapacity>
void write_text(char (&target)[kCapacity], const std::string& text) {
  const size_t length = std::min(text.size(), kCapacity - 1);
  std::memcpy(target, text.data(), length);
  std::memset(target + length, 0, kCapacity - length);
}

}  // namespace slora::capi
