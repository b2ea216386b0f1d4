// Polls before every read and write, so that a silent peer costs no more than its deadline.
#include "socket.hpp"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <memory>
#include <thread>

#include "slora/core/status.hpp"

namespace slora::comm {
namespace {

using core::Status;
using std::chrono::milliseconds;

std::string words(int error) { return std::strerror(error); }

int milliseconds_until(Deadline deadline, int64_t at_most) {
  const auto left = std::chrono::duration_cast<milliseconds>(deadline - Clock::now()).count() + 1;
  return static_cast<int>(std::clamp<int64_t>(left, 0, at_most));
}

// True once one of `events` holds; an error on the socket counts.
bool poll_for(int fd, short events, int timeout_ms) {
  pollfd entry{fd, events, 0};
  return ::poll(&entry, 1, timeout_ms) > 0;
}

using AddressList = std::unique_ptr<addrinfo, decltype(&freeaddrinfo)>;

AddressList resolve(const Address& address, int flags) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags | AI_NUMERICSERV;
  addrinfo* list = nullptr;
  const std::string port = std::to_string(address.port);
  const int error = getaddrinfo(address.host.c_str(), port.c_str(), &hints, &list);
  if (error != 0)
    core::fail(Status::kIo, "cannot resolve '", address.host, "': ", gai_strerror(error));
  return {list, freeaddrinfo};
}

Socket open_socket(const addrinfo& entry) {
  return Socket(
      ::socket(entry.ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, entry.ai_protocol));
}

void set_option(int fd, int level, int name, int value) {
  (void)setsockopt(fd, level, name, &value, sizeof value);
}

// Small frames leave at once; a host that vanished without a word is noticed within half a minute.
void tune(int fd) {
  set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, 10);
  set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, 5);
  set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, 4);
}

// 0 or the reason why there is no connection.
int try_connect(Socket& socket, const addrinfo& entry, Deadline deadline) {
  if (!socket) return errno;
  if (::connect(socket.fd(), entry.ai_addr, entry.ai_addrlen) == 0) return 0;
  if (errno != EINPROGRESS) return errno;
  if (!poll_for(socket.fd(), POLLOUT, milliseconds_until(deadline, INT32_MAX))) return ETIMEDOUT;
  int error = 0;
  socklen_t length = sizeof error;
  getsockopt(socket.fd(), SOL_SOCKET, SO_ERROR, &error, &length);
  return error;
}

}  // namespace

Address parse_address(const std::string& text) {
  const size_t colon = text.rfind(':');
  Address address{"", 0, text};
  bool is_good = colon != std::string::npos && colon > 0;
  if (is_good) {
    address.host = text.substr(0, colon);
    if (address.host.front() == '[' && address.host.back() == ']')
      address.host = address.host.substr(1, address.host.size() - 2);
    const char* const end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data() + colon + 1, end, address.port);
    is_good = error == std::errc() && stop == end && address.port != 0 && !address.host.empty();
  }
  if (!is_good) {
    core::fail(Status::kInvalidArgument, "the address '", text,
               "' is not host:port with a port of 1..65535");
  }
  return address;
}

Socket& Socket::operator=(Socket&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

void Socket::close() noexcept {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

void Socket::shut_down() noexcept { ::shutdown(fd_, SHUT_RDWR); }

Socket Socket::listen(const Address& address) {
  const AddressList list = resolve(address, AI_PASSIVE);
  int error = 0;
  for (const addrinfo* entry = list.get(); entry; entry = entry->ai_next) {
    Socket socket = open_socket(*entry);
    if (!socket) {
      error = errno;
      continue;
    }
    set_option(socket.fd(), SOL_SOCKET, SO_REUSEADDR, 1);
    if (::bind(socket.fd(), entry->ai_addr, entry->ai_addrlen) == 0 &&
        ::listen(socket.fd(), SOMAXCONN) == 0) {
      return socket;
    }
    error = errno;
  }
  core::fail(Status::kIo, "cannot listen on ", address.text, ": ", words(error));
}

Socket Socket::connect(const Address& address, Deadline deadline) {
  const AddressList list = resolve(address, 0);
  for (;;) {
    int error = 0;
    for (const addrinfo* entry = list.get(); entry; entry = entry->ai_next) {
      Socket socket = open_socket(*entry);
      error = try_connect(socket, *entry, deadline);
      if (error == 0) {
        tune(socket.fd());
        return socket;
      }
    }
    const bool is_early = error == ECONNREFUSED || error == EHOSTUNREACH || error == ENETUNREACH;
    if (!is_early || Clock::now() + milliseconds(50) >= deadline)
      core::fail(Status::kIo, "cannot reach rank 0 at ", address.text, ": ", words(error));
    std::this_thread::sleep_for(milliseconds(50));
  }
}

Socket Socket::accept(Deadline deadline, std::string& out_peer) {
  while (Clock::now() < deadline) {
    if (!poll_for(fd_, POLLIN, milliseconds_until(deadline, INT32_MAX))) continue;
    sockaddr_storage storage{};
    socklen_t length = sizeof storage;
    auto* const peer = reinterpret_cast<sockaddr*>(&storage);
    Socket socket(::accept4(fd_, peer, &length, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!socket) {
      if (errno == EAGAIN || errno == ECONNABORTED || errno == EINTR) continue;
      core::fail(Status::kIo, "cannot accept a rank: ", words(errno));
    }
    tune(socket.fd());
    char host[256] = "?", port[32] = "?";
    getnameinfo(peer, length, host, sizeof host, port, sizeof port,
                NI_NUMERICHOST | NI_NUMERICSERV);
    out_peer = core::str_cat(host, ":", port);
    return socket;
  }
  return {};
}

size_t Socket::send_some(std::span<const uint8_t> bytes, Deadline deadline) {
  const ssize_t sent = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
  if (sent >= 0) return static_cast<size_t>(sent);
  if (errno == EAGAIN || errno == EINTR) {
    poll_for(fd_, POLLOUT, milliseconds_until(deadline, 100));
    return 0;
  }
  core::fail(Status::kIo, words(errno));
}

int64_t Socket::receive_some(std::span<uint8_t> bytes) {
  const ssize_t received = ::recv(fd_, bytes.data(), bytes.size(), 0);
  if (received > 0) return received;
  if (received == 0) return -1;
  if (errno == EAGAIN || errno == EINTR) return 0;
  core::fail(Status::kIo, words(errno));
}

bool Socket::receive(std::span<uint8_t> bytes, Deadline deadline) {
  size_t received = 0;
  while (received < bytes.size()) {
    const int64_t more = receive_some(bytes.subspan(received));
    if (more < 0) core::fail(Status::kIo, "the connection closed");
    received += static_cast<size_t>(more);
    if (more > 0) continue;
    if (Clock::now() >= deadline) return false;
    poll_for(fd_, POLLIN, milliseconds_until(deadline, INT32_MAX));
  }
  return true;
}

}  // namespace slora::comm
