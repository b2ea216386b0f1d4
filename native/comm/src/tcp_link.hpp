// Messages between ranks that are processes: a star of TCP connections with rank 0 in the middle.
#pragma once

#include <memory>
#include <thread>
#include <vector>

#include "message_kind.hpp"
#include "slora/comm/host_link.hpp"
#include "socket.hpp"

namespace slora::comm {

class TcpLink final : public HostLink {
 public:
  // `sockets` as rendezvous() gives them.
  TcpLink(std::vector<Socket> sockets, int32_t tp_rank, int32_t size, int32_t time_limit_ms);
  // Says goodbye; a rank that waits for this one then learns that it left.
  ~TcpLink() override;

  int32_t tp_rank() const override { return tp_rank_; }
  int32_t size() const override { return size_; }
  int32_t time_limit_ms() const override { return time_limit_ms_; }
  std::shared_ptr<Breakage> breakage() const override { return breakage_; }

  void barrier() override;
  void broadcast_message(std::vector<uint8_t>& message, int32_t root) override;
  void await_message(std::vector<uint8_t>& message, int32_t root) override;
  std::vector<std::vector<uint8_t>> all_gather_messages(std::span<const uint8_t> message,
                                                        Patience patience) override;
  int32_t find_silent_rank() override;
  bool leave(int32_t limit_ms) noexcept override;

 private:
  struct Frame;
  struct Peer;
  struct Wires;

  // The connection that leads to `rank`: its own at rank 0, the one to rank 0 elsewhere.
  Peer& way_to(int32_t rank);
  void send(Peer& peer, MessageKind kind, std::span<const uint8_t> payload);
  // The next message from `from`, sent by `root` in an exchange of `kind`.
  std::vector<uint8_t> receive(Peer& from, MessageKind kind, int32_t root, Patience patience);
  // Rank 0's part in a broadcast of another rank.
  void pass_on(std::span<const uint8_t> message, int32_t root);
  std::vector<std::vector<uint8_t>> gather(MessageKind kind, std::span<const uint8_t> message,
                                           Patience patience);

  // The reader: takes what arrives on all connections apart into messages and news.
  void read_all();
  void read_from(Peer& peer);
  void take_frames(Peer& peer);
  // News in a frame of its own; nothing happens if they do not leave at once.
  static void send_news(Peer& peer, uint32_t kind, const std::string& text);
  // Tells the others why the group is broken. Once, by whoever broke it.
  static void spread_breakage(Wires& wires, const std::string& line);

  const int32_t tp_rank_;
  const int32_t size_;
  const int32_t time_limit_ms_;
  const std::shared_ptr<Breakage> breakage_ = std::make_shared<Breakage>();
  const std::shared_ptr<Wires> wires_;
  bool has_said_goodbye_ = false;
  Socket stop_reader_;  // an eventfd
  std::thread reader_;
};

}  // namespace slora::comm
