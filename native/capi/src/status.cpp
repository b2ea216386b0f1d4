// Versions, status names, the log sink and the backend probe.
#include <cstdio>

#include "guard.hpp"
#include "slora/core/log.hpp"
#include "slora/engine/backend_loader.hpp"

namespace slora::capi {

void write_error(slora_error* error, Status status, const char* site,
                 const char* message) noexcept {
  if (!error || error->struct_size < 2 * sizeof(uint32_t)) return;
  slora_error record;
  std::memset(&record, 0, sizeof record);
  record.struct_size = error->struct_size;
  record.status = static_cast<int32_t>(status);
  std::snprintf(record.site, sizeof record.site, "%s", site);
  const int length = std::snprintf(record.message, sizeof record.message, "%s", message);
  // A cut must not leave half a UTF-8 character behind.
  if (length >= static_cast<int>(sizeof record.message)) {
    size_t end = sizeof record.message - 1;
    while (end > 0 && (static_cast<unsigned char>(record.message[end - 1]) & 0xc0u) == 0x80u)
      record.message[--end] = 0;
    if (end > 0 && static_cast<unsigned char>(record.message[end - 1]) >= 0xc0u)
      record.message[--end] = 0;
  }
  for (char& c : record.message) {
    if (c == '\n' || c == '\r') c = ' ';
  }
  std::memcpy(error, &record, std::min<size_t>(error->struct_size, sizeof record));
}

namespace {

bool is_utf8(const unsigned char* text, uint64_t bytes) {
  for (uint64_t i = 0; i < bytes;) {
    const unsigned char lead = text[i];
    const int length = lead < 0x80                   ? 1
                       : lead >= 0xc2 && lead < 0xe0 ? 2
                       : (lead & 0xf0) == 0xe0       ? 3
                       : lead >= 0xf0 && lead < 0xf5 ? 4
                                                     : 0;
    if (length == 0 || i + static_cast<uint64_t>(length) > bytes) return false;
    for (int k = 1; k < length; ++k) {
      if ((text[i + static_cast<uint64_t>(k)] & 0xc0u) != 0x80u) return false;
    }
    i += static_cast<uint64_t>(length);
  }
  return true;
}

}  // namespace

std::string read_text(const char* text, uint64_t bytes, const char* name) {
  require(text, name);
  constexpr uint64_t kLongest = 32768;
  if (bytes == 0 || bytes > kLongest) {
    fail(Status::kInvalidArgument, name, " has ", bytes, " bytes, the limit is 1..", kLongest);
  }
  if (std::memchr(text, 0, bytes)) fail(Status::kInvalidArgument, name, " contains a zero byte");
  if (!is_utf8(reinterpret_cast<const unsigned char*>(text), bytes)) {
    fail(Status::kInvalidArgument, name, " is not UTF-8");
  }
  return std::string(text, bytes);
}

}  // namespace slora::capi

using namespace slora;
using capi::guarded;

extern "C" {

uint32_t slora_abi_version(void) { return SLORA_ABI_VERSION; }

const char* slora_build_info(void) {
#if defined(__OPTIMIZE__)
  return "slora 0.1.0 (" __VERSION__ ", optimised)";
#else
  return "slora 0.1.0 (" __VERSION__ ", not optimised)";
#endif
}

const char* slora_status_name(int32_t status) {
  switch (status) {
#define SLORA_NAME(name) \
  case name:             \
    return #name;
    SLORA_NAME(SLORA_OK)
    SLORA_NAME(SLORA_DEFERRED_PAGES)
    SLORA_NAME(SLORA_DEFERRED_ADAPTER)
    SLORA_NAME(SLORA_DEFERRED_SLOTS)
    SLORA_NAME(SLORA_DEFERRED_STEP)
    SLORA_NAME(SLORA_NOTHING_IN_FLIGHT)
    SLORA_NAME(SLORA_ERROR_INVALID_ARGUMENT)
    SLORA_NAME(SLORA_ERROR_STRUCT_SIZE)
    SLORA_NAME(SLORA_ERROR_INVALID_PLAN)
    SLORA_NAME(SLORA_ERROR_NOT_FOUND)
    SLORA_NAME(SLORA_ERROR_ALREADY_EXISTS)
    SLORA_NAME(SLORA_ERROR_UNSUPPORTED)
    SLORA_NAME(SLORA_ERROR_WRONG_STATE)
    SLORA_NAME(SLORA_ERROR_IO)
    SLORA_NAME(SLORA_ERROR_FORMAT)
    SLORA_NAME(SLORA_ERROR_OUT_OF_MEMORY)
    SLORA_NAME(SLORA_ERROR_BACKEND)
    SLORA_NAME(SLORA_ERROR_CANCELLED)
    SLORA_NAME(SLORA_ERROR_DEVICE_LOST)
    SLORA_NAME(SLORA_ERROR_INTERNAL)
    SLORA_NAME(SLORA_ERROR_RANK_LOST)
#undef SLORA_NAME
    default:
      return "SLORA_UNKNOWN_STATUS";
  }
}

int32_t slora_log_set_sink(slora_log_sink sink, void* user_data, int32_t min_level,
                           slora_error* error) {
  return guarded("slora_log_set_sink", error, [&] {
    if (min_level < SLORA_LOG_DEBUG || min_level > SLORA_LOG_ERROR) {
      core::fail(core::Status::kInvalidArgument, "min_level is ", min_level, ", the limit is 0..",
                 SLORA_LOG_ERROR);
    }
    core::set_log_sink(sink, user_data, static_cast<core::LogLevel>(min_level));
    return core::Status::kOk;
  });
}

int32_t slora_backend_probe(int32_t backend, slora_backend_info* out_info, slora_error* error) {
  return guarded("slora_backend_probe", error, [&] {
    if (backend < SLORA_BACKEND_AUTO || backend > SLORA_BACKEND_CUDA) {
      core::fail(core::Status::kInvalidArgument, "backend is ", backend, ", the limit is 0..2");
    }
    const forward::Backend opened =
        engine::open_backend(static_cast<engine::BackendKind>(backend), 0, 0);
    const device::DeviceInfo device = opened.device->describe();
    slora_backend_info info = SLORA_BACKEND_INFO_INIT;
    info.backend = opened.is_cuda ? SLORA_BACKEND_CUDA : SLORA_BACKEND_HOST;
    info.device_count = device.device_count;
    info.num_threads = device.num_threads;
    info.memory_bytes = device.memory_bytes;
    info.free_memory_bytes = device.free_memory_bytes;
    capi::write_text(info.device_name, device.name);
    capi::write_text(info.features, engine::backend_features(opened, device));
    capi::write_struct(out_info, info, "out_info");
    return core::Status::kOk;
  });
}

}  // extern "C"
