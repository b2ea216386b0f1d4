// A rank after the first, as a process: it joins rank 0, loads the part of the model that rank 0
// names and runs the engines that rank 0 opens.
#pragma once

#include <cstdint>
#include <string>

#include "slora/engine/backend_loader.hpp"

namespace slora::engine {

struct WorkerOptions {
  std::string join;  // host:port of rank 0
  std::string secret;
  int32_t tp_rank = 1;
  int32_t device_idx = 0;
  int32_t num_threads = 0;  // host compute threads; 0: one a core
  std::string model_path;   // where this host has the model; empty: where rank 0 has it
  int32_t join_limit_ms = 60'000;
  int32_t time_limit_ms = 30'000;
};

// Returns when rank 0 lets the ranks go. kRankLost if another rank is lost, kInvalidArgument if
// this one does not belong to rank 0's group (secret, version, rank, model), else as load_model.
void run_worker(const WorkerOptions& options);

}  // namespace slora::engine
