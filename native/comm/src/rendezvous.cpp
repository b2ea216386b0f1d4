// The handshake. Rank 0 sends a challenge (magic, protocol, nonce S). The other rank answers with
// magic, protocol, nonce C, HMAC(secret, "join" S C hello) and its hello. Once every rank has come,
// or one may not, rank 0 sends a verdict: code, HMAC(secret, "verdict" S C code line) and the line.
#include "rendezvous.hpp"

#include <sys/random.h>

#include <algorithm>
#include <cstring>
#include <optional>

#include "group_options.hpp"
#include "sha256.hpp"
#include "slora/core/log.hpp"
#include "wire.hpp"

namespace slora::comm {
namespace {

using core::fail;
using core::Status;
using core::str_cat;
using std::chrono::milliseconds;
using Nonce = std::array<uint8_t, 32>;

// Raised when the handshake or a message between ranks changes.
constexpr uint32_t kProtocol = 2;
constexpr uint32_t kMagic = 0x41524c53;  // "SLRA"
constexpr uint32_t kLongestHello = 8192;
// Whoever connects and says nothing holds up the others for this long.
constexpr auto kPatience = milliseconds(2000);

struct Challenge {
  uint32_t magic;
  uint32_t protocol;
  Nonce nonce;
};

struct Answer {
  uint32_t magic;
  uint32_t protocol;
  Nonce nonce;
  Digest mac;
  uint32_t hello_bytes;
};

enum class Code : uint32_t { kWelcome = 0, kRefused = 1, kOtherProtocol = 2, kOtherSecret = 3 };

struct Verdict {
  Code code;
  uint32_t line_bytes;
  Digest mac;
};

template <typename T>
std::span<uint8_t> bytes_of(T& value) {
  return {reinterpret_cast<uint8_t*>(&value), sizeof value};
}

Nonce fresh_nonce() {
  Nonce nonce;
  size_t filled = 0;
  while (filled < nonce.size()) {
    const ssize_t got = getrandom(nonce.data() + filled, nonce.size() - filled, 0);
    if (got > 0) filled += static_cast<size_t>(got);
  }
  return nonce;
}

Digest sign(const std::string& secret, const char* purpose, const Nonce& s, const Nonce& c,
            std::span<const uint8_t> content) {
  WireWriter signed_text;
  signed_text.text(purpose);
  signed_text.raw(s);
  signed_text.raw(c);
  signed_text.raw(content);
  const auto* key = reinterpret_cast<const uint8_t*>(secret.data());
  return hmac_sha256({key, secret.size()}, signed_text.bytes());
}

std::vector<uint8_t> verdict_content(Code code, const std::string& line) {
  WireWriter content;
  content.number(code);
  content.text(line);
  return content.bytes();
}

std::vector<uint8_t> hello_of(const JoinOptions& options) {
  WireWriter hello;
  hello.number(options.tp_rank);
  hello.number(options.size);
  hello.text(options.version);
  hello.text(options.fingerprint);
  return hello.bytes();
}

void check_options(const JoinOptions& options) {
  const bool takes_any = options.size == 0 && options.tp_rank != 0;
  checked(options.group, takes_any ? 1 : options.size);
  const int32_t limit = takes_any ? kMaxGroupSize : options.size;
  if (options.tp_rank < 0 || options.tp_rank >= limit) {
    fail(Status::kInvalidArgument, "the tensor-parallel rank is ", options.tp_rank,
         ", the limit is 0..", limit - 1);
  }
  if (options.secret.empty() || options.secret.size() > 4096) {
    fail(Status::kInvalidArgument, "the group's secret has ", options.secret.size(),
         " bytes, the limit is 1..4096");
  }
  if (options.fingerprint.size() > 256 || options.version.size() > 256) {
    fail(Status::kInvalidArgument, "fingerprint and version have ", options.fingerprint.size(),
         " and ", options.version.size(), " bytes, the limit is 256");
  }
  if (options.join_limit_ms < 1 || options.join_limit_ms > 86'400'000) {
    fail(Status::kInvalidArgument, "the time limit of joining is ", options.join_limit_ms,
         " ms, the limit is 1..86400000");
  }
}

// Rank 0's side.
class Host {
 public:
  Host(const JoinOptions& options, Deadline deadline)
      : options_(options), deadline_(deadline), guests_(static_cast<size_t>(options.size)) {}

  Meeting gather() {
    if (options_.size > 1) listener_ = Socket::listen(parse_address(options_.address));
    try {
      for (int32_t num_missing = options_.size - 1; num_missing > 0;) {
        if (admit_one()) --num_missing;
      }
    } catch (const core::Error& failure) {
      tell_all(Code::kRefused, failure.what());
      if (failure.status() == Status::kInvalidArgument) refuse_late_comers(failure.what());
      throw;
    }
    tell_all(Code::kWelcome, std::to_string(options_.size));
    Meeting meeting{options_.size, {}};
    for (Guest& guest : guests_) meeting.sockets.push_back(std::move(guest.socket));
    return meeting;
  }

 private:
  struct Guest {
    Socket socket;
    Nonce s{}, c{};
  };

  // True if one more rank has joined, false if somebody else called; throws when a rank may not.
  bool admit_one() {
    std::string peer;
    Guest guest;
    guest.socket = listener_.accept(deadline_, peer);
    if (!guest.socket) fail(Status::kIo, missing_ranks());
    try {
      return admit(guest, peer);
    } catch (const core::Error& failure) {
      if (failure.status() != Status::kIo && failure.status() != Status::kFormat) throw;
      core::log(core::LogLevel::kWarning, "a caller from ", peer,
                " did not join: ", failure.what());
      return false;
    }
  }

  bool admit(Guest& guest, const std::string& peer) {
    const std::vector<uint8_t> hello = hear(guest, peer);
    const int32_t tp_rank = check_hello(guest, hello);
    guests_[static_cast<size_t>(tp_rank)] = std::move(guest);
    return true;
  }

  // The hello of a caller that knows the secret.
  std::vector<uint8_t> hear(Guest& guest, const std::string& peer) {
    const Deadline patience = std::min(deadline_, Clock::now() + kPatience);
    Challenge challenge{kMagic, kProtocol, fresh_nonce()};
    Answer answer{};
    if (!guest.socket.send(bytes_of(challenge), patience) ||
        !guest.socket.receive(bytes_of(answer), patience)) {
      fail(Status::kIo, "it said nothing for ", kPatience.count(), " ms");
    }
    if (answer.magic != kMagic || answer.hello_bytes > kLongestHello)
      fail(Status::kFormat, "it is no rank of a group");
    if (answer.protocol != kProtocol) {
      tell(guest, Code::kOtherProtocol, "");
      fail(Status::kInvalidArgument, "the rank at ", peer, " speaks protocol ", answer.protocol,
           ", rank 0 speaks ", kProtocol);
    }
    std::vector<uint8_t> hello(answer.hello_bytes);
    if (!guest.socket.receive(hello, patience)) fail(Status::kIo, "it did not finish its hello");
    guest.s = challenge.nonce;
    guest.c = answer.nonce;
    if (!is_equal(answer.mac, sign(options_.secret, "join", guest.s, guest.c, hello))) {
      tell(guest, Code::kOtherSecret, "");
      fail(Status::kInvalidArgument, "the rank at ", peer, " has another secret than rank 0");
    }
    return hello;
  }

  // Ranks that are just arriving learn the reason too, not only that nobody is there.
  void refuse_late_comers(const std::string& line) noexcept {
    const Deadline end = std::min(deadline_, Clock::now() + milliseconds(1000));
    std::string peer;
    while (Clock::now() < end) {
      try {
        Guest guest;
        guest.socket = listener_.accept(end, peer);
        if (!guest.socket) return;
        (void)hear(guest, peer);
        tell(guest, Code::kRefused, line);
      } catch (const core::Error&) {
        // Not a rank of this group either.
      }
    }
  }

  int32_t check_hello(Guest& guest, std::span<const uint8_t> hello) {
    WireReader reader(hello);
    const auto tp_rank = reader.number<int32_t>();
    const auto size = reader.number<int32_t>();
    const std::string version = reader.text();
    const std::string fingerprint = reader.text();
    std::string line;
    if (version != options_.version) {
      line =
          str_cat("rank ", tp_rank, " is slora ", version, ", rank 0 is slora ", options_.version);
    } else if (size != 0 && size != options_.size) {
      line = str_cat("rank ", tp_rank, " was started for ", size, " ranks, rank 0 for ",
                     options_.size);
    } else if (tp_rank < 1 || tp_rank >= options_.size) {
      line = str_cat("a rank called itself ", tp_rank, ", the limit is 1..", options_.size - 1);
    } else if (fingerprint != options_.fingerprint) {
      line = str_cat("rank ", tp_rank, " has model and options '", fingerprint, "', rank 0 has '",
                     options_.fingerprint, "'");
    } else if (guests_[static_cast<size_t>(tp_rank)].socket) {
      line = str_cat("two processes called themselves rank ", tp_rank);
    }
    if (line.empty()) return tp_rank;
    tell(guest, Code::kRefused, line);
    fail(Status::kInvalidArgument, line);
  }

  std::string missing_ranks() const {
    std::string ranks;
    for (int32_t rank = 1; rank < options_.size; ++rank) {
      if (guests_[static_cast<size_t>(rank)].socket) continue;
      ranks += str_cat(ranks.empty() ? "" : ", ", rank);
    }
    return str_cat("rank ", ranks, " of ", options_.size, " did not join at ", options_.address,
                   " within the time limit of ", options_.join_limit_ms, " ms");
  }

  // Best effort: a guest that has gone is noticed by whoever needs it next.
  void tell(Guest& guest, Code code, const std::string& line) noexcept {
    try {
      Verdict verdict{
          code, static_cast<uint32_t>(line.size()),
          sign(options_.secret, "verdict", guest.s, guest.c, verdict_content(code, line))};
      WireWriter message;
      message.raw(bytes_of(verdict));
      message.raw({reinterpret_cast<const uint8_t*>(line.data()), line.size()});
      (void)guest.socket.send(message.bytes(), Clock::now() + kPatience);
    } catch (const std::exception& failure) {
      core::log(core::LogLevel::kWarning, "a rank did not hear the verdict: ", failure.what());
    }
  }

  void tell_all(Code code, const std::string& line) noexcept {
    for (Guest& guest : guests_) {
      if (guest.socket) tell(guest, code, line);
    }
  }

  const JoinOptions& options_;
  Deadline deadline_;
  Socket listener_;
  std::vector<Guest> guests_;  // by rank
};

// The side of the others.
Meeting join(const JoinOptions& options, Deadline deadline) {
  const auto late = [&]() {
    fail(Status::kIo, "the group at ", options.address,
         " was not complete within the time limit of ", options.join_limit_ms, " ms");
  };
  Meeting meeting;
  Socket socket = Socket::connect(parse_address(options.address), deadline);
  try {
    Challenge challenge{};
    if (!socket.receive(bytes_of(challenge), deadline)) late();
    if (challenge.magic != kMagic)
      fail(Status::kInvalidArgument, options.address, " is not rank 0 of a group");
    const std::vector<uint8_t> hello = hello_of(options);
    Answer answer{kMagic, kProtocol, fresh_nonce(), {}, static_cast<uint32_t>(hello.size())};
    answer.mac = sign(options.secret, "join", challenge.nonce, answer.nonce, hello);
    WireWriter message;
    message.raw(bytes_of(answer));
    message.raw(hello);
    if (!socket.send(message.bytes(), deadline)) late();
    if (challenge.protocol != kProtocol) {
      fail(Status::kInvalidArgument, "rank 0 at ", options.address, " speaks protocol ",
           challenge.protocol, ", rank ", options.tp_rank, " speaks ", kProtocol);
    }
    Verdict verdict{};
    if (!socket.receive(bytes_of(verdict), deadline)) late();
    if (verdict.code == Code::kOtherSecret) {
      fail(Status::kInvalidArgument, "rank 0 at ", options.address,
           " has another secret than rank ", options.tp_rank);
    }
    std::string line(std::min(verdict.line_bytes, kLongestHello), '\0');
    if (!socket.receive({reinterpret_cast<uint8_t*>(line.data()), line.size()}, deadline)) late();
    const Digest mac = sign(options.secret, "verdict", challenge.nonce, answer.nonce,
                            verdict_content(verdict.code, line));
    if (!is_equal(mac, verdict.mac)) {
      fail(Status::kInvalidArgument, "who answers as rank 0 at ", options.address,
           " does not know the secret of rank ", options.tp_rank);
    }
    if (verdict.code != Code::kWelcome)
      fail(Status::kInvalidArgument, "rank 0 at ", options.address, " refused: ", line);
    meeting.size = std::stoi(line);
  } catch (const core::Error& failure) {
    if (failure.status() != Status::kIo || Clock::now() >= deadline) throw;
    fail(Status::kIo, "rank 0 at ", options.address,
         " went away before the group was complete: ", failure.what());
  }
  meeting.sockets.push_back(std::move(socket));
  return meeting;
}

}  // namespace

const char* JoinOptions::library_version() { return SLORA_VERSION; }

Meeting rendezvous(const JoinOptions& options) {
  check_options(options);
  const Deadline deadline = Clock::now() + milliseconds(options.join_limit_ms);
  return options.tp_rank == 0 ? Host(options, deadline).gather() : join(options, deadline);
}

}  // namespace slora::comm
