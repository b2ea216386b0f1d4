// The process-wide log: one sink, set through the C ABI, silent until then.
#pragma once

#include <cstdint>
#include <string>

#include "slora/core/status.hpp"

namespace slora::core {

enum class LogLevel : int32_t { kDebug = 0, kInfo = 1, kWarning = 2, kError = 3 };

using LogSink = void (*)(void* user_data, int32_t level, const char* message,
                         uint64_t message_bytes);

// When this returns no call into the old sink is running.
void set_log_sink(LogSink sink, void* user_data, LogLevel min_level);

bool is_log_enabled(LogLevel level);
void write_log(LogLevel level, const std::string& message);

template <typename... Parts>
void log(LogLevel level, const Parts&... parts) {
  if (is_log_enabled(level)) write_log(level, str_cat(parts...));
}

}  // namespace slora::core
