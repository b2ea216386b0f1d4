// An adapter between packing and registration: on a group, all ranks must have packed it first.
#pragma once

#include <atomic>
#include <string>
#include <utility>

#include "slora/adapter/adapter.hpp"
#include "slora/device/device.hpp"

namespace slora::engine {

// Bytes of the host adapter budget, given back unless the adapter is registered.
class HostBytes {
 public:
  HostBytes() = default;
  // kOutOfMemory if `budget` (0: none) has no room.
  HostBytes(std::atomic<uint64_t>& used, uint64_t budget, uint64_t bytes) : bytes_(bytes) {
    uint64_t before = used.load();
    do {
      if (budget != 0 && before + bytes > budget) {
        core::fail(core::Status::kOutOfMemory, "the adapter's image takes ", bytes, " bytes, ",
                   budget - before, " of the host adapter budget of ", budget, " are left");
      }
    } while (!used.compare_exchange_weak(before, before + bytes));
    used_ = &used;
  }
  HostBytes(HostBytes&& other) noexcept
      : used_(std::exchange(other.used_, nullptr)), bytes_(other.bytes_) {}
  HostBytes& operator=(HostBytes&& other) noexcept {
    if (this == &other) return *this;
    give_back();
    used_ = std::exchange(other.used_, nullptr);
    bytes_ = other.bytes_;
    return *this;
  }
  ~HostBytes() { give_back(); }
  void keep() { used_ = nullptr; }

 private:
  void give_back() {
    if (used_) used_->fetch_sub(bytes_);
  }

  std::atomic<uint64_t>* used_ = nullptr;
  uint64_t bytes_ = 0;
};

struct PackedAdapter {
  HostBytes host_bytes;
  std::shared_ptr<adapter::AdapterContent> content;
  device::Buffer table;
};

}  // namespace slora::engine
