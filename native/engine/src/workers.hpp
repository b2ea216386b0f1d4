// Rank 0's side of ranks that are processes.
#pragma once

#include <memory>

#include "command.hpp"
#include "slora/comm/group.hpp"
#include "slora/engine/model.hpp"

namespace slora::engine {

// The group that a model's ranks form for its life. Its end lets the workers leave.
class Workers {
 public:
  explicit Workers(std::shared_ptr<comm::Group> joined) : group(std::move(joined)) {}
  ~Workers();
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;

  const std::shared_ptr<comm::Group> group;
};

// Awaits the workers, loads rank 0's part while they load theirs, and agrees with them that all
// have the same model.
std::shared_ptr<Model> load_with_workers(const ModelOptions& options,
                                         model::LoadProgress* progress);

// Tells a command outside of an engine.
void tell(comm::Group& group, const Command& command);

}  // namespace slora::engine
