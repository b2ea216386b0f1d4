// Engines over tensor-parallel ranks: creation in agreement, and the loop that the ranks after the
// first run.
#pragma once

#include <memory>

#include "slora/engine/engine.hpp"

namespace slora::engine {

// An engine on the model. If the model has several ranks, theirs run on threads that end with the
// engine, and an engine that cannot be made on one rank is made on none: that rank's failure is
// thrown and names it. kWrongState if another engine runs on a model of several ranks.
// `progress` (may be null): of the steps that are recorded at start. SLORA_OVERLAP_TOKENS in the
// environment takes the place of options.overlap_tokens on all ranks.
std::shared_ptr<Engine> create_engine(std::shared_ptr<Model> model, EngineOptions options,
                                      model::LoadProgress* progress = nullptr);

// One rank's part of that, called by all ranks of the group at once.
std::unique_ptr<Engine> open_rank(std::shared_ptr<Model> model, EngineOptions options,
                                  std::shared_ptr<comm::Group> group,
                                  model::LoadProgress* progress = nullptr);

// Makes on `engine` the changes that rank 0 tells, until rank 0 closes its own. A rank that cannot
// make a change that rank 0 made breaks the group, with both ranks' answers in the message, which
// is thrown.
void follow(Engine& engine, comm::Group& group);

}  // namespace slora::engine
