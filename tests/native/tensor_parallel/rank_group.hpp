// An engine over ranks as create_engine makes it, but with every rank's group in the test's hands.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "slora/comm/recording_group.hpp"
#include "slora/comm/thread_group.hpp"
#include "slora/core/status.hpp"
#include "slora/engine/ranks.hpp"

namespace slora::engine::test {

class RankGroup {
 public:
  // What the ranks after the first do; null: follow.
  using Rank = std::function<void(Engine&, comm::Group&)>;

  RankGroup(const ModelOptions& options, const EngineOptions& engine_options, Rank rank = {},
            comm::GroupOptions group_options = {}) {
    model = load_model(options, nullptr);
    auto groups = comm::make_thread_groups(options.tp_size, group_options);
    group = std::make_shared<comm::RecordingGroup>(std::move(groups[0]));
    for (size_t i = 1; i < groups.size(); ++i) {
      std::shared_ptr<comm::Group> own = std::move(groups[i]);
      threads_.emplace_back([this, own, engine_options, rank, i] {
        try {
          const auto follower = open_rank(model->followers[i - 1], engine_options, own);
          rank ? rank(*follower, *own) : follow(*follower, *own);
        } catch (const core::Error& failure) {
          own->abort(failure.what());
          if (i == 1) failure_of_rank_1 = failure.what();
        }
      });
    }
    engine = open_rank(model, engine_options, group);
  }
  ~RankGroup() {
    engine.reset();
    group.reset();
    join();
  }
  void join() {
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
  }

  // Runs one step to its end.
  void step(const std::vector<PlanRow>& rows) {
    ASSERT_EQ(engine->submit(rows, {}), core::Status::kOk);
    collect();
  }
  void collect() {
    StepNeeds needs{};
    StepView view;
    ASSERT_TRUE(engine->await_oldest(&needs));
    engine->collect(view);
    engine->finish_collect();
  }
  void create(uint64_t id, const std::vector<int32_t>& prompt,
              const std::vector<uint64_t>& adapter_ids = {}) {
    SequenceOptions options;
    options.sequence_id = id;
    options.prompt_tokens = prompt.data();
    options.num_prompt_tokens = static_cast<uint32_t>(prompt.size());
    options.sampling.top_p = options.sampling.typical_p = 1.0f;
    options.sampling.repetition_penalty = 1.0f;
    for (const uint64_t adapter_id : adapter_ids) options.adapters.push_back({adapter_id, 1.0f});
    ASSERT_EQ(engine->create_sequence(options), core::Status::kOk);
  }

  std::shared_ptr<Model> model;
  std::shared_ptr<comm::RecordingGroup> group;
  std::unique_ptr<Engine> engine;
  std::string failure_of_rank_1;  // after join()

 private:
  std::vector<std::thread> threads_;
};

inline ModelOptions host_model(const std::string& folder, int32_t tp_size,
                               model::LoraSharding sharding) {
  ModelOptions options;
  options.path = std::string(SLORA_ASSETS) + "/" + folder;
  options.backend = BackendKind::kHost;
  options.compute_dtype = core::DType::kF32;
  options.num_threads = 1;
  options.tp_size = tp_size;
  options.lora_sharding = sharding;
  return options;
}

inline EngineOptions small_engine() {
  EngineOptions options;
  options.pool_bytes = 16u << 20;
  options.max_sequences = 8;
  options.max_batch_tokens = 64;
  options.max_context = 128;
  return options;
}

}  // namespace slora::engine::test
