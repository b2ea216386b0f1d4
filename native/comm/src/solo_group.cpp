// A group of one: sums and broadcasts of one rank change nothing.
#include "slora/comm/breakage.hpp"
#include "slora/comm/thread_group.hpp"
#include "slora/core/check.hpp"

namespace slora::comm {
namespace {

class SoloGroup final : public Group {
 public:
  explicit SoloGroup(const device::DeviceApi& api) : api_(api) {}

  int32_t tp_rank() const override { return 0; }
  int32_t size() const override { return 1; }

  void all_reduce(void*, void*, int64_t, core::DType) override { check(); }
  void all_gather(void* stream, const void* send, void* recv, uint64_t bytes) override {
    check();
    if (send == recv || bytes == 0) return;
    device::ApiError error{};
    const int32_t status = api_.copy_async(stream, recv, send, bytes, &error);
    if (status != 0) throw core::Error(static_cast<core::Status>(status), error.message);
  }
  void broadcast(void*, void*, uint64_t, int32_t root) override {
    SLORA_CHECK(root == 0);
    check();
  }

  void barrier() override { check(); }
  void broadcast_message(std::vector<uint8_t>&, int32_t root) override {
    SLORA_CHECK(root == 0);
    check();
  }
  void await_message(std::vector<uint8_t>&, int32_t) override {
    core::fail(core::Status::kInternal, "a group of one has nobody to wait for");
  }
  std::vector<std::vector<uint8_t>> all_gather_messages(std::span<const uint8_t> message) override {
    check();
    return {std::vector<uint8_t>(message.begin(), message.end())};
  }

  void abort(const std::string& reason) noexcept override {
    breakage_.set("rank 0 of 1 gave up: " + reason);
  }
  void check() override { breakage_.check(); }

 private:
  const device::DeviceApi& api_;
  Breakage breakage_;
};

}  // namespace

std::unique_ptr<Group> make_solo_group(const device::DeviceApi& api) {
  return std::make_unique<SoloGroup>(api);
}

}  // namespace slora::comm
