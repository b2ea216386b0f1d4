// Starts the processes of a model's ranks at a free address and tells the model where they join.
#include "support/worker_ranks.hpp"

#include <cstdlib>
#include <string_view>

#include "comm/free_address.hpp"
#include "comm/rank_process.hpp"

namespace slora::test {
namespace {

constexpr std::string_view kSecret = "open sesame";
// Many processes may share few cores.
constexpr uint32_t kLimitMs = 30'000;

}  // namespace

std::shared_ptr<WorkerRanks> WorkerRanks::start(uint32_t tp_size) {
  const char* program = std::getenv("SLORA_TEST_WORKER");
  if (!program || tp_size < 2) return nullptr;
  return std::shared_ptr<WorkerRanks>(new WorkerRanks(program, tp_size));
}

WorkerRanks::WorkerRanks(const std::string& program, uint32_t tp_size)
    : address_(comm::test::free_address()) {
  for (uint32_t tp_rank = 1; tp_rank < tp_size; ++tp_rank) {
    processes_.push_back(std::make_unique<comm::test::RankProcess>(
        program, std::map<std::string, std::string>{{"join", address_},
                                                    {"secret", std::string(kSecret)},
                                                    {"rank", std::to_string(tp_rank)},
                                                    {"limit_ms", std::to_string(kLimitMs)}}));
  }
}

WorkerRanks::~WorkerRanks() = default;

void WorkerRanks::add_to(slora_model_options& options) const {
  options.tp_listen = address_.data();
  options.tp_listen_bytes = address_.size();
  options.tp_secret = kSecret.data();
  options.tp_secret_bytes = kSecret.size();
  options.tp_join_ms = options.tp_limit_ms = kLimitMs;
}

void WorkerRanks::expect_ended() const {
  for (const auto& process : processes_) EXPECT_EQ(process->last_line(), "ok");
}

}  // namespace slora::test
