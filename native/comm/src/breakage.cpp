// The first reason wins; whoever waits is woken by it.
#include "slora/comm/breakage.hpp"

namespace slora::comm {

void Breakage::set(const std::string& message, core::Status status) noexcept {
  std::vector<std::function<void()>> reactions;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (is_set_.load(std::memory_order_relaxed)) return;
    try {
      message_ = message;
    } catch (const std::bad_alloc&) {
      message_.clear();
    }
    status_ = status;
    reactions.swap(reactions_);
    is_set_.store(true, std::memory_order_release);
  }
  for (const auto& react : reactions) react();
}

void Breakage::check() const {
  if (!is_set()) return;
  const std::lock_guard<std::mutex> lock(mutex_);
  throw core::Error(status_, message_);
}

std::string Breakage::message() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return message_;
}

void Breakage::on_set(std::function<void()> react) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!is_set_.load(std::memory_order_relaxed)) {
      reactions_.push_back(std::move(react));
      return;
    }
  }
  react();
}

}  // namespace slora::comm
