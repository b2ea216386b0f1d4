// Captured decode steps by shape: the second batch of a shape is recorded, later ones replay it.
#pragma once

#include <functional>
#include <list>

#include "slora/batch/batch.hpp"

namespace slora::engine {

class GraphCache {
 public:
  // Off where the backend has no graphs, or by SLORA_GRAPHS=0.
  explicit GraphCache(const device::Device& device);

  bool is_enabled() const { return is_enabled_; }
  size_t num_graphs() const { return num_graphs_; }

  // Runs `enqueue` on `stream`: directly the first time (kernels are loaded then, which a recording
  // does not allow), recorded the second time, from the recording afterwards.
  void run(const batch::DecodeShape& shape, device::Stream& stream,
           const std::function<void()>& enqueue);
  // After a buffer that recordings name was replaced. Nothing may be in flight.
  void clear();

 private:
  struct Entry {
    batch::DecodeShape shape;
    std::unique_ptr<device::Graph> graph;  // null: seen once
  };

  bool is_enabled_;
  size_t num_graphs_ = 0;
  std::list<Entry> entries_;  // most recently used first
};

}  // namespace slora::engine
