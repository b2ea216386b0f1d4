// The sink is called under the lock that set_log_sink takes, so a sink that has been replaced is
// never entered again.
#include "slora/core/log.hpp"

#include <atomic>
#include <mutex>

namespace slora::core {
namespace {

std::mutex g_mutex;
LogSink g_sink = nullptr;
void* g_user_data = nullptr;
// Read without the lock as a cheap filter; a stale value costs one line more or less around a
// change of sink.
std::atomic<int32_t> g_min_level{INT32_MAX};

}  // namespace

void set_log_sink(LogSink sink, void* user_data, LogLevel min_level) {
  const std::lock_guard<std::mutex> lock(g_mutex);
  g_sink = sink;
  g_user_data = user_data;
  g_min_level.store(sink ? static_cast<int32_t>(min_level) : INT32_MAX, std::memory_order_relaxed);
}

bool is_log_enabled(LogLevel level) {
  return static_cast<int32_t>(level) >= g_min_level.load(std::memory_order_relaxed);
}

void write_log(LogLevel level, const std::string& message) {
  const std::lock_guard<std::mutex> lock(g_mutex);
  if (g_sink) g_sink(g_user_data, static_cast<int32_t>(level), message.data(), message.size());
}

}  // namespace slora::core
