// Creation on all ranks or on none, and the threads of ranks that share rank 0's process.
#include "slora/engine/ranks.hpp"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <thread>
#include <vector>

#include "rank_answer.hpp"
#include "slora/comm/nccl_group.hpp"
#include "slora/comm/thread_group.hpp"
#include "slora/core/log.hpp"
#include "workers.hpp"

namespace slora::engine {
namespace {

using core::Status;

void run_rank(const std::shared_ptr<Model>& model, const EngineOptions& options,
              const std::shared_ptr<comm::Group>& group) noexcept {
  try {
    const std::unique_ptr<Engine> engine = open_rank(model, options, group);
    follow(*engine, *group);
  } catch (const std::exception& failure) {
    group->abort(failure.what());
    core::log(core::LogLevel::kError, "rank ", group->tp_rank(), " of ", group->size(),
              " has ended: ", failure.what());
  }
}

// The threads of ranks in this process. Ends after rank 0's engine or its group: then the others
// have been told, or see it.
struct RankThreads {
  explicit RankThreads(std::shared_ptr<Model> leader) : model(std::move(leader)) {}
  ~RankThreads() {
    for (std::thread& thread : threads) thread.join();
    model->has_engine.store(false);
  }
  RankThreads(const RankThreads&) = delete;
  RankThreads& operator=(const RankThreads&) = delete;

  std::shared_ptr<Model> model;
  std::vector<std::thread> threads;
};

// Of ranks that are threads.
std::vector<std::shared_ptr<comm::Group>> make_groups(const Model& model) {
  std::vector<std::unique_ptr<comm::Group>> made;
  comm::GroupOptions limits;
  limits.time_limit_ms = model.time_limit_ms;
  if (model.backend.is_cuda) {
    std::vector<std::shared_ptr<device::Device>> devices = {model.backend.device};
    for (const auto& follower : model.followers) devices.push_back(follower->backend.device);
    made = comm::make_nccl_thread_groups(model.backend.comm, devices, limits);
  } else {
    made = comm::make_thread_groups(model.shard.tp_size, limits);
  }
  std::vector<std::shared_ptr<comm::Group>> groups;
  for (auto& group : made) groups.push_back(std::move(group));
  return groups;
}

// For tests: one rank goes the way of several, through a group of one.
bool wants_group_of_one() {
  const char* asked = std::getenv("SLORA_TP_GROUP_OF_ONE");
  return asked && std::strcmp(asked, "1") == 0;
}

// Read by rank 0, who tells the others: ranks that cut a sum differently would wait for each other.
int32_t asked_overlap(int32_t otherwise) {
  const char* const asked = std::getenv("SLORA_OVERLAP_TOKENS");
  if (!asked) return otherwise;
  const std::string_view text = asked;
  int32_t tokens = -1;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), tokens);
  if (failure != std::errc{} || end != text.data() + text.size() || tokens < 0 ||
      tokens > kMaxOverlapTokens) {
    core::fail(Status::kInvalidArgument, "SLORA_OVERLAP_TOKENS is '", text, "', the limit is 0..",
               kMaxOverlapTokens);
  }
  return tokens;
}

}  // namespace

std::unique_ptr<Engine> open_rank(std::shared_ptr<Model> model, EngineOptions options,
                                  std::shared_ptr<comm::Group> group,
                                  model::LoadProgress* progress) {
  RankAnswer planned;
  planned.note(
      [&] { planned.value = static_cast<uint64_t>(Engine::planned_pages(*model, options)); });
  for (const RankAnswer& answer : agree(*group, planned)) {
    const auto pages = static_cast<int32_t>(answer.value);
    options.num_pages = options.num_pages == 0 ? pages : std::min(options.num_pages, pages);
  }
  RankAnswer made;
  std::unique_ptr<Engine> engine;
  made.note([&] { engine = std::make_unique<Engine>(std::move(model), options, group); });
  agree(*group, made);
  engine->record_at_start(progress);
  return engine;
}

std::shared_ptr<Engine> create_engine(std::shared_ptr<Model> model, EngineOptions options,
                                      model::LoadProgress* progress) {
  if (model->shard.is_whole() && !wants_group_of_one()) {
    auto engine = std::make_shared<Engine>(std::move(model), options);
    engine->record_at_start(progress);
    return engine;
  }
  options.overlap_tokens = asked_overlap(options.overlap_tokens);
  if (model->has_engine.exchange(true)) {
    core::fail(Status::kWrongState, "a model of ", model->shard.tp_size,
               " tensor-parallel ranks has an engine already, and runs one at a time");
  }
  const auto ranks = std::make_shared<RankThreads>(model);
  std::shared_ptr<comm::Group> own;
  if (model->workers) {
    own = model->workers->group;
    Command open;
    open.kind = CommandKind::kOpenEngine;
    open.engine = options;
    tell(*own, open);
  } else {
    std::vector<std::shared_ptr<comm::Group>> groups = make_groups(*model);
    for (size_t i = 1; i < groups.size(); ++i)
      ranks->threads.emplace_back(run_rank, model->followers[i - 1], options, groups[i]);
    own = groups[0];
  }
  std::unique_ptr<Engine> engine = open_rank(model, options, own, progress);
  return {engine.release(), [held = ranks](Engine* last) mutable {
            delete last;
            held.reset();
          }};
}

}  // namespace slora::engine
