// A file seen as read-only memory. Owns the mapping; knows nothing of what the bytes mean.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace slora::model {

// Movable, not copyable. The bytes stay valid until it is destroyed, wherever it has moved to.
// A file that another process truncates meanwhile ends this process with SIGBUS, as with every
// mapping: model and adapter folders must not be rewritten in place (rename a new folder over the
// old one).
class MappedFile {
 public:
  // `path` is UTF-8. kIo with path and reason if it cannot be opened, is no regular file or cannot
  // be mapped; kFormat if it is larger than `max_bytes`.
  static MappedFile open(const std::string& path, uint64_t max_bytes = UINT64_MAX);

  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  const std::string& path() const { return path_; }
  const uint8_t* data() const { return data_; }  // null if the file is empty
  uint64_t bytes() const { return bytes_; }
  std::string_view text() const { return {reinterpret_cast<const char*>(data_), bytes_}; }

 private:
  MappedFile(std::string path, const uint8_t* data, uint64_t bytes);

  std::string path_;
  const uint8_t* data_ = nullptr;
  uint64_t bytes_ = 0;
};

// Whether something lies at `path`, whatever it is.
bool path_exists(const std::string& path);

// `folder` and `name` with one separator between.
std::string join_path(const std::string& folder, std::string_view name);

}  // namespace slora::model
