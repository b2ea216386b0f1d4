// Recorded decode steps by shape, within a limit on their number and on the device memory they
// hold; the one used longest ago goes first. Owns the recordings and the choice of which serves a
// step, not how a step is recorded.
//
// Every rank of a group makes the same choices: they follow from the shapes of the steps and from
// what the ranks have agreed on (put, stop_growing), never from a rank's own clock or memory.
#pragma once

#include <list>

#include "slora/batch/batch.hpp"
#include "slora/engine/engine.hpp"

namespace slora::engine {

struct GraphLimits {
  bool is_enabled = false;
  bool at_start = false;
  size_t max_recordings = 0;
  uint64_t max_bytes = 0;
  bool tunes_matmuls = false;  // of the steps that are recorded, before that
};

// Of an engine that has taken its memory. kInvalidArgument if an option is outside its limits.
// SLORA_GRAPHS=0 in the environment turns recording off, SLORA_GRAPHS=1 makes it the default on the
// host too, for tests.
// SLORA_MATMUL_TUNING=0 leaves the matmuls of recorded steps to the rule, whose choice is the same
// in every run.
GraphLimits graph_limits(const EngineOptions& options, const forward::Backend& backend);

class GraphCache {
 public:
  explicit GraphCache(const GraphLimits& limits) : limits_(limits) {}

  const GraphLimits& limits() const { return limits_; }
  bool is_enabled() const { return limits_.is_enabled; }

  enum class Way { kPlain, kRecord, kReplay };
  // How the next step of a shape runs, and for which shape it is to be packed.
  struct Turn {
    Way way;
    batch::DecodeShape shape;
  };
  // Counts a use of `shape`. Its own recording serves it, else the narrowest that covers it. Its
  // own is made after one plain run (kernels are loaded then, which a recording does not allow),
  // but only once it has been used often if another serves it meanwhile.
  Turn next(const batch::DecodeShape& shape);

  // Whether one more recording can be kept beside all others.
  bool has_room() const { return recorded_.size() < limits_.max_recordings; }
  // Lets go of the recordings that were used longest ago until one more can be kept. False: none
  // can. Waits for `stream` if there is anything to let go of.
  bool make_room(device::Stream& stream);
  // Keeps a recording of `bytes`, if has_room(). False: it is the first that the limit on bytes has
  // no room for; no more are kept then than there are.
  bool put(const batch::DecodeShape& shape, std::unique_ptr<device::Graph> graph, uint64_t bytes);
  // What the ranks of a group have agreed on, before the first recording.
  void limit_bytes(uint64_t max_bytes) { limits_.max_bytes = max_bytes; }
  // After a recording did not fit into memory.
  void stop_growing() { limits_.max_recordings = recorded_.size(); }
  // The recording that next() has named. Counts a replay.
  const device::Graph& replay(const batch::DecodeShape& shape);
  // After a buffer that recordings name was replaced: every shape runs plainly once more. Nothing
  // may be in flight.
  void clear();

  void add_time(uint64_t ns) { counters_.ns += ns; }
  void note_start() { counters_.at_start = static_cast<uint32_t>(recorded_.size()); }
  RecordingCounters counters() const;

 private:
  struct Recording {
    batch::DecodeShape shape;
    std::unique_ptr<device::Graph> graph;
  };
  // A shape without a recording of its own.
  struct Candidate {
    batch::DecodeShape shape;
    uint32_t uses = 0;
    bool has_run = false;  // plainly
  };
  std::list<Recording>::iterator find(const batch::DecodeShape& shape);
  std::list<Recording>::iterator narrowest_cover(const batch::DecodeShape& shape);
  Candidate& candidate(const batch::DecodeShape& shape);

  GraphLimits limits_;
  std::list<Recording> recorded_;    // most recently used first
  std::list<Candidate> candidates_;  // likewise
  // A runtime may keep the memory of a recording that was let go for the next one, so only
  // recordings beyond the most that there ever were are counted.
  size_t most_recordings_ = 0;
  uint64_t bytes_ = 0;  // of that many
  RecordingCounters counters_;
};

}  // namespace slora::engine
