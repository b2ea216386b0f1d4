#include "graph_cache.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "slora/core/log.hpp"

namespace slora::engine {
namespace {

// A graph of a 32-layer model holds about 400 kernels and a few hundred KiB; the shapes that one
// server meets are some tens.
constexpr size_t kMaxGraphs = 96;

}  // namespace

GraphCache::GraphCache(const device::Device& device) {
  const char* asked = std::getenv("SLORA_GRAPHS");
  is_enabled_ = device::has_graphs(device) && !(asked && std::strcmp(asked, "0") == 0);
}

void GraphCache::run(const batch::DecodeShape& shape, device::Stream& stream,
                     const std::function<void()>& enqueue) {
  const auto found = std::find_if(entries_.begin(), entries_.end(),
                                  [&](const Entry& entry) { return entry.shape == shape; });
  if (found == entries_.end()) {
    if (entries_.size() == kMaxGraphs) {
      if (entries_.back().graph) {
        stream.synchronize();
        --num_graphs_;
      }
      entries_.pop_back();
    }
    entries_.push_front({shape, nullptr});
    enqueue();
    return;
  }
  entries_.splice(entries_.begin(), entries_, found);
  Entry& entry = entries_.front();
  if (!entry.graph) {
    stream.begin_recording();
    enqueue();
    entry.graph = stream.end_recording();
    ++num_graphs_;
    core::log(core::LogLevel::kDebug, "recorded a decode step of ", shape.rows, " rows, ",
              shape.table_stride, " pages a sequence, lora_rank up to ", shape.max_lora_rank, "; ",
              num_graphs_, " recordings of at most ", kMaxGraphs);
  }
  stream.launch(*entry.graph);
}

void GraphCache::clear() {
  entries_.clear();
  num_graphs_ = 0;
}

}  // namespace slora::engine
