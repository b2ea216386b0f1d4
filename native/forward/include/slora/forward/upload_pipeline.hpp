// From files to the device with reading, staging and copying at once: readers fill pinned buffers,
// each two of its own in turn, so that one is copied while the next is filled. Owns the readers,
// the buffers and the copy stream; knows neither files nor weights.
#pragma once

#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "slora/device/device.hpp"

namespace slora::forward {

struct PipelineOptions {
  int32_t num_readers = 4;
  uint64_t buffer_bytes = 8u << 20;
};

class UploadPipeline {
 public:
  struct Job {
    uint64_t bytes = 0;
    // Writes `bytes` bytes, on a reader's thread. May throw.
    std::function<void(uint8_t* out)> read;
    // Enqueues what copies them away, on the same thread. May throw.
    std::function<void(void* stream, const uint8_t* staged)> enqueue;
  };

  UploadPipeline(std::shared_ptr<device::Device> device, const PipelineOptions& options);
  // Jobs that no reader has begun are dropped.
  ~UploadPipeline();
  UploadPipeline(const UploadPipeline&) = delete;
  UploadPipeline& operator=(const UploadPipeline&) = delete;

  // Waits while enough jobs are queued. Throws what the first job that failed has thrown; nothing
  // is begun after it. A job larger than a buffer takes a buffer of its size.
  void add(Job job);
  // Returns when all jobs are done and copied, or throws like add(). No job may follow.
  void finish();

  // Pinned memory held, at most num_readers * 2 * max(buffer_bytes, largest job).
  uint64_t staging_bytes() const;

 private:
  struct Slot;
  void run();
  bool take(Job& out_job);
  void carry_out(const Job& job, Slot& slot);
  void fail(std::exception_ptr failure);
  void join(bool drops_jobs);

  std::shared_ptr<device::Device> device_;
  const PipelineOptions options_;
  device::Stream stream_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Job> jobs_;
  bool is_closed_ = false;
  std::exception_ptr failure_;
  uint64_t staging_bytes_ = 0;
  std::vector<std::thread> readers_;
};

}  // namespace slora::forward
