// What the opaque handles are. A child holds its parent, so any order of destruction is legal.
#pragma once

#include <atomic>
#include <memory>

#include "guard.hpp"
#include "slora/engine/engine.hpp"

struct slora_model {
  std::shared_ptr<slora::engine::Model> model;
};

struct slora_engine {
  std::shared_ptr<slora::engine::Engine> engine;
  slora::engine::StepView view;              // reused by collect, which one thread calls at a time
  std::vector<slora::engine::PlanRow> rows;  // likewise by submit
};

struct slora_adapter {
  std::shared_ptr<slora::engine::Engine> engine;
  std::shared_ptr<slora::adapter::Adapter> adapter;
};

namespace slora::capi {

// Handles alive in the process; debug builds name what is left at exit.
void count_handle(const char* kind, int change);

// Publishes a load's progress in the caller's struct and reads its wish to stop. The fields are
// plain integers in C; std::atomic_ref gives the polling thread whole values.
class CallerProgress final : public model::LoadProgress {
 public:
  explicit CallerProgress(slora_progress* progress) : progress_(progress) {
    if (progress_ && progress_->struct_size < sizeof(slora_progress)) {
      fail(Status::kStructSize, "progress.struct_size is ", progress_->struct_size,
           ", this library knows ", sizeof(slora_progress));
    }
  }

  bool advance(uint64_t bytes_done, uint64_t bytes_total) override {
    if (!progress_) return true;
    std::atomic_ref(progress_->total_bytes).store(bytes_total, std::memory_order_relaxed);
    std::atomic_ref(progress_->done_bytes).store(bytes_done, std::memory_order_relaxed);
    return std::atomic_ref(progress_->cancel).load(std::memory_order_relaxed) == 0;
  }

 private:
  slora_progress* progress_;
};

}  // namespace slora::capi
