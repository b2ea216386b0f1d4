// Status codes and the exception that carries one to the C ABI, where every exception is caught.
#pragma once

#include <cstdint>
#include <exception>
#include <sstream>
#include <string>
#include <utility>

namespace slora::core {

// The values and their meaning are those of enum slora_status in interop/include/slora/types.h.
enum class Status : int32_t {
  kOk = 0,
  kDeferredPages = 1,
  kDeferredAdapter = 2,
  kDeferredSlots = 3,
  kDeferredStep = 4,
  kNothingInFlight = 5,
  kInvalidArgument = -101,
  kStructSize = -102,
  kInvalidPlan = -103,
  kNotFound = -104,
  kAlreadyExists = -105,
  kUnsupported = -106,
  kWrongState = -107,
  kIo = -201,
  kFormat = -202,
  kOutOfMemory = -203,
  kBackend = -204,
  kCancelled = -205,
  kDeviceLost = -301,
  kInternal = -302,
  kRankLost = -303,
};

// One line of text with the value and the limit; never a newline.
class Error : public std::exception {
 public:
  Error(Status status, std::string message) : status_(status), message_(std::move(message)) {}
  const char* what() const noexcept override { return message_.c_str(); }
  Status status() const noexcept { return status_; }

 private:
  Status status_;
  std::string message_;
};

template <typename... Parts>
std::string str_cat(const Parts&... parts) {
  std::ostringstream text;
  (text << ... << parts);
  return text.str();
}

template <typename... Parts>
[[noreturn]] void fail(Status status, const Parts&... parts) {
  throw Error(status, str_cat(parts...));
}

}  // namespace slora::core
