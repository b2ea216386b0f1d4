// One thread of its own reads all connections, so news of a lost rank arrives also while the rank's
// other threads wait for a device. Writers hold the connection's lock for one frame.
#include "tcp_link.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <condition_variable>
#include <deque>
#include <mutex>

#include "slora/core/check.hpp"
#include "slora/core/log.hpp"
#include "wire.hpp"

namespace slora::comm {
namespace {

using core::Status;
using core::str_cat;
using std::chrono::milliseconds;

constexpr uint32_t kFrameMagic = 0x46524c53;  // "SLRF"
// News travel beside the exchanges, in frames of their own.
constexpr uint32_t kGoodbye = 16;
constexpr uint32_t kBroken = 17;
constexpr uint32_t kAreYouThere = 18;
constexpr uint32_t kHere = 19;
constexpr uint64_t kLongestMessage = 1u << 30;
constexpr auto kSlice = milliseconds(20);
// How long goodbyes and bad news may take to leave: a peer that does not read must not hold us up.
constexpr auto kParting = milliseconds(200);
// For a sign of life.
constexpr auto kPatience = milliseconds(500);

// One frame at a time leaves on a connection. (A std::timed_mutex would do, but ThreadSanitizer of
// gcc 12 does not know its calls.)
class SendTurn {
 public:
  bool take(milliseconds limit) {
    std::unique_lock<std::mutex> lock(mutex_);
    if (!given_back_.wait_for(lock, limit, [&] { return !is_taken_; })) return false;
    is_taken_ = true;
    return true;
  }
  void give_back() {
    const std::lock_guard<std::mutex> lock(mutex_);
    is_taken_ = false;
    given_back_.notify_one();
  }

 private:
  std::mutex mutex_;
  std::condition_variable given_back_;
  bool is_taken_ = false;
};

// A turn taken within a limit, or not.
class HeldTurn {
 public:
  HeldTurn(SendTurn& turn, milliseconds limit) : turn_(turn.take(limit) ? &turn : nullptr) {}
  ~HeldTurn() {
    if (turn_) turn_->give_back();
  }
  HeldTurn(const HeldTurn&) = delete;
  HeldTurn& operator=(const HeldTurn&) = delete;
  explicit operator bool() const { return turn_ != nullptr; }

 private:
  SendTurn* turn_;
};

}  // namespace

struct TcpLink::Frame {
  uint32_t magic;
  uint32_t kind;
  uint64_t bytes;
};

struct TcpLink::Peer {
  int32_t rank;
  Socket socket;
  SendTurn send_turn;
  bool is_cut_short = false;     // in a send turn: a frame left in part, nothing may follow it
  bool is_readable = true;       // of the reader alone
  std::vector<uint8_t> arrived;  // of the reader alone: not yet a whole frame
  bool has_left = false;         // under the link's mutex, as is all that follows
  bool has_answered = false;
  std::deque<std::pair<MessageKind, std::vector<uint8_t>>> inbox;
};

// Outlives the link where a late breakage is still being told.
struct TcpLink::Wires {
  std::vector<std::unique_ptr<Peer>> peers;
  std::mutex mutex;  // of all inboxes
  std::condition_variable changed;
};

TcpLink::TcpLink(std::vector<Socket> sockets, int32_t tp_rank, int32_t size, int32_t time_limit_ms)
    : tp_rank_(tp_rank),
      size_(size),
      time_limit_ms_(time_limit_ms),
      wires_(std::make_shared<Wires>()) {
  for (size_t i = 0; i < sockets.size(); ++i) {
    if (!sockets[i]) continue;
    auto peer = std::make_unique<Peer>();
    peer->rank = static_cast<int32_t>(i);
    peer->socket = std::move(sockets[i]);
    wires_->peers.push_back(std::move(peer));
  }
  SLORA_CHECK(wires_->peers.size() == (tp_rank == 0 ? static_cast<size_t>(size) - 1 : 1));
  stop_reader_ = Socket(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!stop_reader_) core::fail(Status::kIo, "no eventfd is left for the ranks' connections");
  breakage_->on_set([weak = std::weak_ptr(wires_), breakage = breakage_.get()] {
    if (const auto wires = weak.lock()) spread_breakage(*wires, breakage->message());
  });
  reader_ = std::thread([this] { read_all(); });
}

TcpLink::~TcpLink() {
  const uint64_t one = 1;
  (void)!::write(stop_reader_.fd(), &one, sizeof one);
  reader_.join();
  leave(0);
}

bool TcpLink::leave(int32_t limit_ms) noexcept {
  if (breakage_->is_set()) return false;
  if (!has_said_goodbye_) {
    for (auto& peer : wires_->peers) send_news(*peer, kGoodbye, "");
  }
  has_said_goodbye_ = true;
  std::unique_lock<std::mutex> lock(wires_->mutex);
  const auto have_all_left = [&] {
    return std::all_of(wires_->peers.begin(), wires_->peers.end(),
                       [](const auto& peer) { return peer->has_left; });
  };
  wires_->changed.wait_for(lock, milliseconds(limit_ms),
                           [&] { return have_all_left() || breakage_->is_set(); });
  return have_all_left();
}

TcpLink::Peer& TcpLink::way_to(int32_t rank) {
  return *wires_->peers[tp_rank_ == 0 ? static_cast<size_t>(rank - 1) : 0];
}

void TcpLink::barrier() { gather(MessageKind::kBarrier, {}, Patience::kLimited); }

std::vector<std::vector<uint8_t>> TcpLink::all_gather_messages(std::span<const uint8_t> message,
                                                               Patience patience) {
  return gather(MessageKind::kAllGather, message, patience);
}

void TcpLink::broadcast_message(std::vector<uint8_t>& message, int32_t root) {
  SLORA_CHECK(root >= 0 && root < size_);
  breakage_->check();
  if (tp_rank_ == 0) {
    if (root != 0)
      message = receive(way_to(root), MessageKind::kBroadcast, root, Patience::kLimited);
    pass_on(message, root);
  } else if (root == tp_rank_) {
    send(way_to(0), MessageKind::kBroadcast, message);
  } else {
    message = receive(way_to(0), MessageKind::kBroadcast, root, Patience::kLimited);
  }
}

void TcpLink::await_message(std::vector<uint8_t>& message, int32_t root) {
  SLORA_CHECK(root >= 0 && root < size_ && root != tp_rank_);
  breakage_->check();
  if (tp_rank_ == 0) {
    message = receive(way_to(root), MessageKind::kBroadcast, root, Patience::kForEver);
    pass_on(message, root);
  } else {
    message = receive(way_to(0), MessageKind::kBroadcast, root, Patience::kForEver);
  }
}

void TcpLink::pass_on(std::span<const uint8_t> message, int32_t root) {
  for (auto& peer : wires_->peers) {
    if (peer->rank != root) send(*peer, MessageKind::kBroadcast, message);
  }
}

std::vector<std::vector<uint8_t>> TcpLink::gather(MessageKind kind,
                                                  std::span<const uint8_t> message,
                                                  Patience patience) {
  breakage_->check();
  std::vector<std::vector<uint8_t>> all(static_cast<size_t>(size_));
  all[static_cast<size_t>(tp_rank_)].assign(message.begin(), message.end());
  if (tp_rank_ == 0) {
    WireWriter joined;
    for (auto& peer : wires_->peers)
      all[static_cast<size_t>(peer->rank)] = receive(*peer, kind, peer->rank, patience);
    for (const auto& one : all) {
      joined.number(uint64_t{one.size()});
      joined.raw(one);
    }
    for (auto& peer : wires_->peers) send(*peer, kind, joined.bytes());
  } else {
    send(way_to(0), kind, message);
    // Rank 0 itself may be waiting for a lost rank, and knows its name: it gets a little longer.
    const std::vector<uint8_t> joined = receive(way_to(0), kind, -1, patience);
    WireReader reader(joined);
    for (auto& one : all) {
      const auto part = reader.take(reader.number<uint64_t>());
      one.assign(part.begin(), part.end());
    }
  }
  return all;
}

void TcpLink::send(Peer& peer, MessageKind kind, std::span<const uint8_t> payload) {
  if (payload.size() > kLongestMessage) {
    core::fail(Status::kInvalidArgument, "a message between ranks has ", payload.size(),
               " bytes, the limit is ", kLongestMessage);
  }
  const Deadline deadline = Clock::now() + milliseconds(time_limit_ms_);
  const Frame frame{kFrameMagic, static_cast<uint32_t>(kind), payload.size()};
  WireWriter bytes;
  bytes.number(frame);
  bytes.raw(payload);
  try {
    const HeldTurn turn(peer.send_turn, milliseconds(time_limit_ms_));
    size_t sent = 0;
    if (turn && peer.socket.send(
                    bytes.bytes(), deadline, [&] { return breakage_->is_set(); }, sent))
      return;
    peer.is_cut_short = sent > 0;
  } catch (const core::Error& failure) {
    breakage_->set(str_cat("rank ", peer.rank, " of ", size_, " is lost: ", failure.what()));
  }
  breakage_->set(str_cat("rank ", peer.rank, " of ", size_, " did not take a message of ",
                         payload.size(), " bytes within the time limit of ", time_limit_ms_,
                         " ms"));
  breakage_->check();
}

std::vector<uint8_t> TcpLink::receive(Peer& from, MessageKind kind, int32_t root,
                                      Patience patience) {
  // What comes by way of rank 0 is late when somebody else is: rank 0 finds out first and says who.
  const bool is_relayed = root != from.rank;
  const milliseconds limit(time_limit_ms_ + (is_relayed ? time_limit_ms_ / 4 + 500 : 0));
  // From the last sign of life, where those count.
  Deadline deadline = Clock::now() + limit;
  Deadline next_question = Clock::now() + limit / 4;
  std::unique_lock<std::mutex> lock(wires_->mutex);
  from.has_answered = false;
  while (from.inbox.empty()) {
    breakage_->check();
    std::string line;
    bool asks = false;
    if (from.has_left) {
      line = str_cat("rank ", from.rank, " of ", size_, " left the group before ",
                     message_kind_name(kind));
    } else if (patience != Patience::kForEver && Clock::now() >= deadline) {
      line = str_cat(
          "rank ", from.rank, " of ", size_,
          patience == Patience::kLimited ? " did not come to " : " gave no sign of life before ",
          message_kind_name(kind), " within the time limit of ", time_limit_ms_, " ms");
    } else if (patience == Patience::kWhileAlive && from.has_answered) {
      from.has_answered = false;
      deadline = Clock::now() + limit;
    } else if (patience == Patience::kWhileAlive && Clock::now() >= next_question) {
      next_question = Clock::now() + limit / 4;
      asks = true;
    } else {
      wires_->changed.wait_for(lock, kSlice);
    }
    if (line.empty() && !asks) continue;
    lock.unlock();
    if (asks) send_news(from, kAreYouThere, "");
    if (!line.empty()) breakage_->set(line);
    lock.lock();
  }
  auto [got, message] = std::move(from.inbox.front());
  from.inbox.pop_front();
  lock.unlock();
  if (got != kind) {
    breakage_->set(str_cat("rank ", from.rank, " of ", size_, " called ", message_kind_name(got),
                           " where rank ", tp_rank_, " called ", message_kind_name(kind)),
                   Status::kInternal);
    breakage_->check();
  }
  return std::move(message);
}

void TcpLink::read_all() {
  std::vector<pollfd> entries;
  for (;;) {
    entries.clear();
    entries.push_back({stop_reader_.fd(), POLLIN, 0});
    for (auto& peer : wires_->peers)
      entries.push_back({peer->is_readable ? peer->socket.fd() : -1, POLLIN, 0});
    if (::poll(entries.data(), entries.size(), -1) < 0) continue;
    if (entries[0].revents != 0) return;
    for (size_t i = 0; i < wires_->peers.size(); ++i) {
      if (entries[i + 1].revents != 0) read_from(*wires_->peers[i]);
    }
  }
}

void TcpLink::read_from(Peer& peer) {
  std::string reason;
  try {
    std::array<uint8_t, 65536> chunk;
    const int64_t received = peer.socket.receive_some(chunk);
    if (received >= 0) {
      peer.arrived.insert(peer.arrived.end(), chunk.begin(), chunk.begin() + received);
      return take_frames(peer);
    }
    reason = "its connection closed";
  } catch (const std::exception& failure) {
    reason = failure.what();
  }
  peer.is_readable = false;
  {
    const std::lock_guard<std::mutex> lock(wires_->mutex);
    if (peer.has_left) return;
  }
  breakage_->set(str_cat("rank ", peer.rank, " of ", size_, " is lost: ", reason));
}

void TcpLink::take_frames(Peer& peer) {
  size_t begin = 0;
  Frame frame{};
  while (peer.arrived.size() - begin >= sizeof frame) {
    std::memcpy(&frame, peer.arrived.data() + begin, sizeof frame);
    if (frame.magic != kFrameMagic || frame.bytes > kLongestMessage)
      core::fail(Status::kFormat, "its messages make no sense");
    if (peer.arrived.size() - begin - sizeof frame < frame.bytes) break;
    const auto payload = peer.arrived.begin() + static_cast<int64_t>(begin + sizeof frame);
    std::vector<uint8_t> message(payload, payload + static_cast<int64_t>(frame.bytes));
    begin += sizeof frame + frame.bytes;
    if (frame.kind == kBroken) {
      breakage_->set(std::string(message.begin(), message.end()));
      continue;
    }
    if (frame.kind == kAreYouThere) {
      send_news(peer, kHere, "");
      continue;
    }
    const std::lock_guard<std::mutex> lock(wires_->mutex);
    if (frame.kind == kHere) {
      peer.has_answered = true;
    } else if (frame.kind == kGoodbye) {
      peer.has_left = true;
    } else {
      peer.inbox.emplace_back(static_cast<MessageKind>(frame.kind), std::move(message));
    }
    wires_->changed.notify_all();
  }
  peer.arrived.erase(peer.arrived.begin(), peer.arrived.begin() + static_cast<int64_t>(begin));
}

void TcpLink::spread_breakage(Wires& wires, const std::string& line) {
  // Without the lock: a sleeper that just misses it looks again a slice later.
  wires.changed.notify_all();
  for (auto& peer : wires.peers) send_news(*peer, kBroken, line);
}

void TcpLink::send_news(Peer& peer, uint32_t kind, const std::string& text) {
  WireWriter news;
  news.number(Frame{kFrameMagic, kind, text.size()});
  news.raw({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
  try {
    const HeldTurn turn(peer.send_turn, kParting);
    if (!turn) return;
    // A connection that carries no news any more is closed, which is news enough.
    if (peer.is_cut_short || !peer.socket.send(news.bytes(), Clock::now() + kParting))
      peer.socket.shut_down();
  } catch (const core::Error&) {
    // It has gone itself.
  }
}

int32_t TcpLink::find_silent_rank() {
  {
    const std::lock_guard<std::mutex> lock(wires_->mutex);
    for (auto& peer : wires_->peers) peer->has_answered = false;
  }
  for (auto& peer : wires_->peers) send_news(*peer, kAreYouThere, "");
  const auto first_silent = [&] {
    for (auto& peer : wires_->peers) {
      if (!peer->has_answered) return peer->rank;
    }
    return -1;
  };
  std::unique_lock<std::mutex> lock(wires_->mutex);
  wires_->changed.wait_for(lock, kPatience, [&] { return first_silent() < 0; });
  return first_silent();
}

}  // namespace slora::comm
