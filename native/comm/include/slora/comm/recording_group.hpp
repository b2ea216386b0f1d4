// A group that counts what goes through it: for tests, for `slora bench tp`, for telling a cost
// model from a measurement.
#pragma once

#include <atomic>
#include <memory>

#include "slora/comm/group.hpp"

namespace slora::comm {

// Of one kind of collective, as enqueued by this rank (a recorded graph counts once).
struct Traffic {
  uint64_t calls = 0;
  uint64_t elements = 0;  // of the operand of one rank; of an all_gather or broadcast: its bytes
  uint64_t bytes = 0;     // the same in bytes
  // What a rank sends in a ring of N: all_reduce 2 (N-1)/N of its operand, all_gather N-1 times its
  // part, broadcast (N-1)/N of it on average.
  uint64_t sent_bytes = 0;
};

struct GroupTraffic {
  Traffic all_reduce;
  Traffic all_gather;
  Traffic broadcast;
  Traffic messages;  // broadcasts, gathers and barriers between hosts; bytes are this rank's own
};

class RecordingGroup final : public Group {
 public:
  explicit RecordingGroup(std::shared_ptr<Group> inner) : inner_(std::move(inner)) {}

  // Since the beginning or the last reset. Any thread.
  GroupTraffic traffic() const;
  void reset();

  int32_t tp_rank() const override { return inner_->tp_rank(); }
  int32_t size() const override { return inner_->size(); }
  void all_reduce(void* stream, void* data, int64_t count, core::DType dtype) override;
  void all_gather(void* stream, const void* send, void* recv, uint64_t bytes) override;
  void broadcast(void* stream, void* data, uint64_t bytes, int32_t root) override;
  void synchronize(device::Event& event) override { inner_->synchronize(event); }
  void begin_work() noexcept override { inner_->begin_work(); }
  void end_work() noexcept override { inner_->end_work(); }
  void barrier() override;
  void broadcast_message(std::vector<uint8_t>& message, int32_t root) override;
  void await_message(std::vector<uint8_t>& message, int32_t root) override;
  std::vector<std::vector<uint8_t>> all_gather_messages(std::span<const uint8_t> message) override;
  void abort(const std::string& reason) noexcept override { inner_->abort(reason); }
  void check() override { inner_->check(); }

 private:
  struct Counter {
    std::atomic<uint64_t> calls{0}, elements{0}, bytes{0}, sent_bytes{0};
    void add(uint64_t num_elements, uint64_t num_bytes, uint64_t num_sent);
    Traffic read() const;
    void reset();
  };

  std::shared_ptr<Group> inner_;
  Counter all_reduce_, all_gather_, broadcast_, messages_;
};

}  // namespace slora::comm
