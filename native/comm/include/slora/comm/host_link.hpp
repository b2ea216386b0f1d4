// Messages between the ranks' hosts and the news that one of them is lost. The collectives on
// device memory are built on top, one set for each way that device memory meets.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "slora/comm/breakage.hpp"

namespace slora::comm {

// How long a rank waits for another's message.
enum class Patience {
  kLimited,     // for the time limit
  kWhileAlive,  // as long as the other's process gives signs of life: for work that may take
                // minutes
  kForEver,     // until the connection breaks: for who may have nothing to say
};

class HostLink {
 public:
  virtual ~HostLink() = default;

  virtual int32_t tp_rank() const = 0;
  virtual int32_t size() const = 0;
  virtual int32_t time_limit_ms() const = 0;
  // Set when any rank is lost; in every process within a moment.
  virtual std::shared_ptr<Breakage> breakage() const = 0;

  // As in Group.
  virtual void barrier() = 0;
  virtual void broadcast_message(std::vector<uint8_t>& message, int32_t root) = 0;
  virtual void await_message(std::vector<uint8_t>& message, int32_t root) = 0;
  virtual std::vector<std::vector<uint8_t>> all_gather_messages(
      std::span<const uint8_t> message, Patience patience = Patience::kLimited) = 0;

  // Asks every rank that this one is connected to for a sign of life and gives the first that is
  // silent, -1 if none is. Takes up to half a second. Any thread.
  virtual int32_t find_silent_rank() { return -1; }

  // Says goodbye, as destruction does, and waits until those that this rank is connected to have
  // said it too: up to the limit, and not at all where the group is broken. True if all have.
  virtual bool leave(int32_t /*limit_ms*/) noexcept { return !breakage()->is_set(); }

  void abort(const std::string& reason) noexcept {
    try {
      breakage()->set(core::str_cat("rank ", tp_rank(), " of ", size(), " gave up: ", reason));
    } catch (const std::exception&) {
      breakage()->set("a rank gave up and has no memory left to say why");
    }
  }
};

}  // namespace slora::comm
