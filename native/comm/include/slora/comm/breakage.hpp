// Why a group is broken: set once, read by everything that waits.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "slora/core/status.hpp"

namespace slora::comm {

class Breakage {
 public:
  // The first call wins; later ones change nothing. `message` names the rank. Any thread.
  void set(const std::string& message, core::Status status = core::Status::kRankLost) noexcept;
  bool is_set() const noexcept { return is_set_.load(std::memory_order_acquire); }
  // Throws what was set.
  void check() const;
  std::string message() const;

  // Runs once, on the thread that breaks the group, outside any lock of this object; at once where
  // it is broken already. What wakes sleeping ranks and tells other processes.
  void on_set(std::function<void()> react);

 private:
  std::atomic<bool> is_set_{false};
  mutable std::mutex mutex_;
  core::Status status_ = core::Status::kRankLost;
  std::string message_;
  std::vector<std::function<void()>> reactions_;
};

}  // namespace slora::comm
