// Which recording serves a step, when a shape gets its own, and what goes when room runs out.
#include "graph_cache.hpp"

#include <algorithm>
#include <cstdlib>
#include <string_view>

#include "slora/core/log.hpp"

namespace slora::engine {
namespace {

using core::fail;
using core::Status;

constexpr uint32_t kDefaultRecordings = 512;
constexpr uint32_t kMostRecordings = 65536;
constexpr uint64_t kDefaultBytes = uint64_t{512} << 20;

// Shapes that are waited for to come again.
constexpr size_t kMostCandidates = 256;

// A recording takes some ten milliseconds, and a step by a wider one a few percent more than by its
// own: after so many uses the shape has shown that it stays.
constexpr uint32_t kUsesBesideCover = 4;

bool asks(const char* value, const char* name = "SLORA_GRAPHS") {
  const char* asked = std::getenv(name);
  return asked && std::string_view(asked) == value;
}

}  // namespace

GraphLimits graph_limits(const EngineOptions& options, const forward::Backend& backend) {
  if (options.recording < RecordingMode::kDefault || options.recording > RecordingMode::kAtStart) {
    fail(Status::kInvalidArgument, "recording is ", static_cast<int32_t>(options.recording),
         ", the limit is 0..", static_cast<int32_t>(RecordingMode::kAtStart));
  }
  if (options.max_recordings > kMostRecordings) {
    fail(Status::kInvalidArgument, "max_recordings is ", options.max_recordings,
         ", the limit is 1..", kMostRecordings);
  }
  RecordingMode mode = options.recording;
  // A host stream gains nothing by it.
  if (mode == RecordingMode::kDefault)
    mode = backend.is_cuda || asks("1") ? RecordingMode::kAtStart : RecordingMode::kOff;
  GraphLimits limits;
  limits.is_enabled =
      mode != RecordingMode::kOff && device::has_graphs(*backend.device) && !asks("0");
  limits.at_start = mode == RecordingMode::kAtStart;
  limits.max_recordings = options.max_recordings == 0 ? kDefaultRecordings : options.max_recordings;
  limits.max_bytes = options.recording_bytes;
  limits.tunes_matmuls = limits.is_enabled && !asks("0", "SLORA_MATMUL_TUNING");
  // Adapters' tables and larger buffers will want what the pool has left, too.
  if (limits.is_enabled && limits.max_bytes == 0)
    limits.max_bytes = std::min(kDefaultBytes, backend.device->describe().free_memory_bytes / 4);
  return limits;
}

std::list<GraphCache::Recording>::iterator GraphCache::find(const batch::DecodeShape& shape) {
  return std::find_if(recorded_.begin(), recorded_.end(),
                      [&](const Recording& recording) { return recording.shape == shape; });
}

std::list<GraphCache::Recording>::iterator GraphCache::narrowest_cover(
    const batch::DecodeShape& shape) {
  auto best = recorded_.end();
  for (auto each = recorded_.begin(); each != recorded_.end(); ++each) {
    if (!batch::covers(each->shape, shape)) continue;
    if (best == recorded_.end() || batch::is_narrower(each->shape, best->shape)) best = each;
  }
  return best;
}

GraphCache::Candidate& GraphCache::candidate(const batch::DecodeShape& shape) {
  const auto found = std::find_if(candidates_.begin(), candidates_.end(),
                                  [&](const Candidate& each) { return each.shape == shape; });
  if (found == candidates_.end()) {
    if (candidates_.size() == kMostCandidates) candidates_.pop_back();
    candidates_.push_front({shape});
  } else {
    candidates_.splice(candidates_.begin(), candidates_, found);
  }
  return candidates_.front();
}

GraphCache::Turn GraphCache::next(const batch::DecodeShape& shape) {
  const auto own = find(shape);
  if (own != recorded_.end()) {
    recorded_.splice(recorded_.begin(), recorded_, own);
    return {Way::kReplay, shape};
  }
  Candidate& wish = candidate(shape);
  ++wish.uses;
  const auto cover = narrowest_cover(shape);
  if (cover != recorded_.end() && (wish.uses < kUsesBesideCover || limits_.max_recordings == 0)) {
    recorded_.splice(recorded_.begin(), recorded_, cover);
    return {Way::kReplay, recorded_.front().shape};
  }
  if (wish.has_run && limits_.max_recordings > 0) return {Way::kRecord, shape};
  wish.has_run = true;
  return {Way::kPlain, shape};
}

bool GraphCache::make_room(device::Stream& stream) {
  if (limits_.max_recordings == 0) return false;
  if (has_room()) return true;
  stream.synchronize();  // a recording must not go while it runs
  while (!has_room()) {
    recorded_.pop_back();
    ++counters_.dropped;
  }
  return true;
}

bool GraphCache::put(const batch::DecodeShape& shape, std::unique_ptr<device::Graph> graph,
                     uint64_t bytes) {
  if (recorded_.size() == most_recordings_) {
    if (bytes > limits_.max_bytes - bytes_) {
      stop_growing();
      return false;
    }
    bytes_ += bytes;
    ++most_recordings_;
  }
  candidates_.remove_if([&](const Candidate& each) { return each.shape == shape; });
  recorded_.push_front({shape, std::move(graph)});
  ++counters_.made;
  return true;
}

const device::Graph& GraphCache::replay(const batch::DecodeShape& shape) {
  ++counters_.replays;
  return *find(shape)->graph;
}

void GraphCache::clear() {
  counters_.dropped += recorded_.size();
  recorded_.clear();
  for (Candidate& each : candidates_) each.has_run = false;
}

RecordingCounters GraphCache::counters() const {
  RecordingCounters counters = counters_;
  counters.count = static_cast<uint32_t>(recorded_.size());
  // As the mean of those that were counted.
  if (most_recordings_ > 0) counters.bytes = bytes_ / most_recordings_ * recorded_.size();
  return counters;
}

}  // namespace slora::engine
