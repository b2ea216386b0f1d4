// The ranks of a model under test as processes of their own, where SLORA_TEST_WORKER names the
// program of one (tp_worker).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "slora/slora.h"

namespace slora::comm::test {
class RankProcess;
}

namespace slora::test {

// Ranks 1..tp_size - 1 of one model; killed when this goes.
class WorkerRanks {
 public:
  // Null where ranks are threads.
  static std::shared_ptr<WorkerRanks> start(uint32_t tp_size);
  ~WorkerRanks();

  // Lets a load await them; the options refer to this object.
  void add_to(slora_model_options& options) const;

  // Waits for all to end, which their model's end makes them do, and fails the test where one did
  // not end well.
  void expect_ended() const;

 private:
  WorkerRanks(const std::string& program, uint32_t tp_size);

  std::string address_;
  std::vector<std::unique_ptr<comm::test::RankProcess>> processes_;
};

}  // namespace slora::test
