// POSIX mapping. Windows will need its twin of this file and of nothing else here.
#include "slora/model/mapped_file.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "slora/core/status.hpp"
#include "slora/model/quote.hpp"

namespace slora::model {
namespace {

using core::fail;
using core::Status;

class FileDescriptor {
 public:
  explicit FileDescriptor(int fd) : fd_(fd) {}
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  ~FileDescriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

[[noreturn]] void fail_io(const std::string& path, const char* what) {
  const int code = errno;
  fail(Status::kIo, path_text(path), ": ", what, ": ", std::strerror(code));
}

}  // namespace

MappedFile MappedFile::open(const std::string& path, uint64_t max_bytes) {
  // A zero byte would end the path early, and another file than the one named would be read.
  if (path.find('\0') != std::string::npos)
    fail(Status::kIo, path_text(path), ": path holds a zero byte");
  const FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (file.get() < 0) fail_io(path, "cannot open");
  struct stat info;
  if (::fstat(file.get(), &info) != 0) fail_io(path, "cannot read its size");
  if (!S_ISREG(info.st_mode)) fail(Status::kIo, path_text(path), ": not a regular file");
  const auto bytes = static_cast<uint64_t>(info.st_size);
  if (bytes > max_bytes) {
    fail(Status::kFormat, path_text(path), ": ", bytes, " bytes; the limit is ", max_bytes);
  }
  if (bytes == 0) return MappedFile(path, nullptr, 0);
  void* data = ::mmap(nullptr, bytes, PROT_READ, MAP_PRIVATE, file.get(), 0);
  if (data == MAP_FAILED) fail_io(path, "cannot map");
  return MappedFile(path, static_cast<const uint8_t*>(data), bytes);
}

MappedFile::MappedFile(std::string path, const uint8_t* data, uint64_t bytes)
    : path_(std::move(path)), data_(data), bytes_(bytes) {}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)),
      data_(std::exchange(other.data_, nullptr)),
      bytes_(std::exchange(other.bytes_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_) ::munmap(const_cast<uint8_t*>(data_), bytes_);
}

bool path_exists(const std::string& path) {
  struct stat info;
  return path.find('\0') == std::string::npos && ::stat(path.c_str(), &info) == 0;
}

std::string join_path(const std::string& folder, std::string_view name) {
  std::string path = folder;
  if (!path.empty() && path.back() != '/') path += '/';
  return path.append(name);
}

}  // namespace slora::model
