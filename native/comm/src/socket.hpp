// A TCP connection with deadlines: nothing here waits past one.
#pragma once

#include <chrono>
#include <cstdint>
#include <span>
#include <string>

namespace slora::comm {

using Clock = std::chrono::steady_clock;
using Deadline = Clock::time_point;

// "host:port" or "[ipv6]:port"; kInvalidArgument otherwise.
struct Address {
  std::string host;
  uint16_t port = 0;
  std::string text;
};
Address parse_address(const std::string& text);

// Owns a non-blocking socket. Failures are kIo with the system's words.
class Socket {
 public:
  Socket() = default;
  explicit Socket(int fd) : fd_(fd) {}
  ~Socket() { close(); }
  Socket(Socket&& other) noexcept : fd_(other.fd_) { other.fd_ = -1; }
  Socket& operator=(Socket&& other) noexcept;

  static Socket listen(const Address& address);
  // Tries again while nobody listens there.
  static Socket connect(const Address& address, Deadline deadline);
  // An empty socket once the deadline has passed. `out_peer` is the other end in words.
  Socket accept(Deadline deadline, std::string& out_peer);

  explicit operator bool() const { return fd_ >= 0; }
  int fd() const { return fd_; }
  void close() noexcept;
  // The other end sees the connection closed; the descriptor stays.
  void shut_down() noexcept;

  // False if the deadline passed or `is_over` (asked every 100 ms) said so; kIo if the connection
  // broke. `out_sent` counts the bytes that left.
  template <typename IsOver>
  bool send(std::span<const uint8_t> bytes, Deadline deadline, const IsOver& is_over,
            size_t& out_sent) {
    while (out_sent < bytes.size()) {
      if (is_over() || Clock::now() >= deadline) return false;
      out_sent += send_some(bytes.subspan(out_sent), deadline);
    }
    return true;
  }
  bool send(std::span<const uint8_t> bytes, Deadline deadline) {
    size_t sent = 0;
    return send(
        bytes, deadline, [] { return false; }, sent);
  }
  // False if the deadline passed; kIo if the connection broke or closed.
  bool receive(std::span<uint8_t> bytes, Deadline deadline);
  // What has arrived, at most bytes.size(): 0 if nothing, -1 once the other end has closed.
  int64_t receive_some(std::span<uint8_t> bytes);

 private:
  // Waits for room until the deadline, at most 100 ms, and sends what fits.
  size_t send_some(std::span<const uint8_t> bytes, Deadline deadline);

  int fd_ = -1;
};

}  // namespace slora::comm
