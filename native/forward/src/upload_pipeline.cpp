// One queue of jobs, and readers that take them in turn; the first failure stops them all.
#include "slora/forward/upload_pipeline.hpp"

#include <algorithm>
#include <utility>

#include "slora/core/check.hpp"

namespace slora::forward {
namespace {

constexpr size_t kBuffersAReader = 2;
// One that is read and one that waits.
constexpr size_t kJobsAReader = 2;

}  // namespace

struct UploadPipeline::Slot {
  explicit Slot(const std::shared_ptr<device::Device>& device) : copied(device) {}
  device::Buffer buffer;
  device::Event copied;
};

UploadPipeline::UploadPipeline(std::shared_ptr<device::Device> device,
                               const PipelineOptions& options)
    : device_(std::move(device)), options_(options), stream_(device_, device::StreamKind::kCopy) {
  SLORA_CHECK(options_.num_readers > 0 && options_.buffer_bytes > 0);
  for (int32_t i = 0; i < options_.num_readers; ++i) readers_.emplace_back([this] { run(); });
}

UploadPipeline::~UploadPipeline() { join(true); }

void UploadPipeline::add(Job job) {
  std::unique_lock<std::mutex> lock(mutex_);
  SLORA_CHECK(!is_closed_);
  const size_t most = kJobsAReader * readers_.size();
  changed_.wait(lock, [&] { return jobs_.size() < most || failure_; });
  if (failure_) std::rethrow_exception(failure_);
  jobs_.push_back(std::move(job));
  changed_.notify_all();
}

void UploadPipeline::finish() {
  join(false);
  if (failure_) std::rethrow_exception(failure_);
}

uint64_t UploadPipeline::staging_bytes() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return staging_bytes_;
}

void UploadPipeline::join(bool drops_jobs) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    is_closed_ = true;
    if (drops_jobs) jobs_.clear();
  }
  changed_.notify_all();
  for (std::thread& reader : readers_) reader.join();
  readers_.clear();
}

bool UploadPipeline::take(Job& out_job) {
  std::unique_lock<std::mutex> lock(mutex_);
  changed_.wait(lock, [&] { return !jobs_.empty() || is_closed_; });
  if (jobs_.empty()) return false;
  out_job = std::move(jobs_.front());
  jobs_.pop_front();
  changed_.notify_all();
  return true;
}

void UploadPipeline::fail(std::exception_ptr failure) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!failure_) failure_ = std::move(failure);
  jobs_.clear();
  changed_.notify_all();
}

void UploadPipeline::carry_out(const Job& job, Slot& slot) {
  slot.copied.synchronize();  // the buffer's last tenant is on the device
  if (slot.buffer.bytes() < job.bytes) {
    const uint64_t bytes = std::max(options_.buffer_bytes, job.bytes);
    const uint64_t before = slot.buffer.bytes();
    slot.buffer = {};
    slot.buffer = device::Buffer(device_, device::MemoryKind::kPinned, bytes);
    const std::lock_guard<std::mutex> lock(mutex_);
    staging_bytes_ += bytes - before;
  }
  job.read(slot.buffer.data());
  job.enqueue(stream_.handle(), slot.buffer.data());
  slot.copied.record(stream_);
}

void UploadPipeline::run() {
  std::vector<std::unique_ptr<Slot>> slots;
  try {
    for (size_t i = 0; i < kBuffersAReader; ++i) slots.push_back(std::make_unique<Slot>(device_));
    Job job;
    for (size_t i = 0; take(job); ++i) carry_out(job, *slots[i % kBuffersAReader]);
  } catch (...) {
    fail(std::current_exception());
  }
  try {
    // Also after a failure: copies of what was filled before it still read the buffers.
    stream_.synchronize();
  } catch (...) {
    fail(std::current_exception());
  }
}

}  // namespace slora::forward
