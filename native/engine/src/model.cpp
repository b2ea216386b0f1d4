// Loading: configuration first, since it is cheap and refuses most mistakes; then the backends;
// then the weights, every rank's part on a thread of its own.
#include "slora/engine/model.hpp"

#include <algorithm>
#include <exception>
#include <mutex>
#include <optional>
#include <thread>

#include "slora/core/status.hpp"
#include "workers.hpp"

namespace slora::engine {
namespace {

using core::fail;
using core::Status;

// One progress for all ranks: bytes of all of them, and a wish to stop that all of them hear.
class SharedProgress {
 public:
  SharedProgress(model::LoadProgress* listener, int32_t num_ranks)
      : listener_(listener), done_(static_cast<size_t>(num_ranks)), total_(done_.size()) {}

  bool advance(size_t rank, uint64_t done, uint64_t total) {
    const std::lock_guard<std::mutex> lock(mutex_);
    done_[rank] = done;
    total_[rank] = total;
    if (is_stopped_) return false;
    if (!listener_) return true;
    uint64_t all_done = 0, all_total = 0;
    for (size_t i = 0; i < done_.size(); ++i) {
      all_done += done_[i];
      all_total += total_[i];
    }
    is_stopped_ = !listener_->advance(all_done, all_total);
    return !is_stopped_;
  }
  void stop() {
    const std::lock_guard<std::mutex> lock(mutex_);
    is_stopped_ = true;
  }

 private:
  std::mutex mutex_;
  model::LoadProgress* listener_;
  std::vector<uint64_t> done_;
  std::vector<uint64_t> total_;
  bool is_stopped_ = false;
};

class RankProgress final : public model::LoadProgress {
 public:
  RankProgress(SharedProgress& shared, size_t rank) : shared_(shared), rank_(rank) {}
  bool advance(uint64_t done, uint64_t total) override {
    return shared_.advance(rank_, done, total);
  }

 private:
  SharedProgress& shared_;
  size_t rank_;
};

std::shared_ptr<Model> begin_rank(const ModelOptions& options, const model::ModelConfig& config,
                                  const model::ShardSpec& shard) {
  auto rank = std::make_shared<Model>();
  rank->config = config;
  rank->modules = model::module_table(config);
  rank->shard = shard;
  rank->own_config = model::shard_config(config, shard);
  rank->own_modules = model::module_table(rank->own_config);
  if (!options.is_synthetic) rank->checkpoint_folder = options.path;
  return rank;
}

// Half of a host's cores read for its ranks, whose devices are fed at once; past eight a rank's
// link is the limit.
std::optional<forward::PipelineOptions> staging_of(const Model& rank, const ModelOptions& options) {
  if (!rank.backend.is_cuda) return std::nullopt;
  const auto cores = static_cast<int32_t>(std::thread::hardware_concurrency());
  const int32_t ranks_here = options.listen.empty() ? rank.shard.tp_size : 1;
  forward::PipelineOptions staging;
  staging.num_readers = std::clamp(cores / 2 / ranks_here, 1, 8);
  return staging;
}

void load_part(Model& rank, const ModelOptions& options, const model::TensorSet& tensors,
               model::LoadProgress* progress) {
  rank.weights = std::make_unique<forward::ModelWeights>(
      rank.backend, options.compute_dtype, rank.config.num_layers, staging_of(rank, options));
  const model::WeightPlan plan = options.is_synthetic
                                     ? model::plan_synthetic_weights(rank.config, rank.shard)
                                     : model::plan_weights(rank.config, tensors, rank.shard);
  rank.is_tied = plan.is_tied;
  rank.num_parameters = plan.num_parameters;
  if (options.is_synthetic) {
    model::fill_weights(plan, options.synthetic_seed, *rank.weights, progress);
  } else {
    model::load_weights(plan, *rank.weights, progress);
  }
}

void open_rank_backend(Model& rank, const ModelOptions& options, BackendKind kind,
                       int32_t device_idx, int32_t num_threads) {
  rank.backend = open_backend(kind, device_idx, num_threads);
  rank.device_info = rank.backend.device->describe();
  if (!rank.backend.kernels->supports_dtype(options.compute_dtype)) {
    fail(Status::kUnsupported, "the ", rank.backend.is_cuda ? "CUDA" : "host",
         " backend does not compute in ", core::dtype_name(options.compute_dtype));
  }
}

// The host has one device, whichever rank asks.
int32_t device_of_rank(const ModelOptions& options, int32_t tp_rank, BackendKind kind) {
  if (!options.devices.empty()) return options.devices[static_cast<size_t>(tp_rank)];
  return kind == BackendKind::kHost ? options.device_idx : options.device_idx + tp_rank;
}

int32_t threads_of_rank(const ModelOptions& options) {
  if (options.tp_size == 1) return options.num_threads;
  const auto cores = static_cast<int32_t>(std::max(1u, std::thread::hardware_concurrency()));
  const int32_t all = options.num_threads == 0 ? cores : options.num_threads;
  return std::max(1, all / options.tp_size);
}

// All parts at once; the first failure, by rank, is everybody's.
void load_parts(const std::vector<std::shared_ptr<Model>>& ranks, const ModelOptions& options,
                const model::TensorSet& tensors, model::LoadProgress* listener) {
  SharedProgress progress(listener, static_cast<int32_t>(ranks.size()));
  std::vector<std::exception_ptr> failures(ranks.size());
  const auto load = [&](size_t i) {
    try {
      RankProgress own(progress, i);
      load_part(*ranks[i], options, tensors, &own);
    } catch (...) {
      failures[i] = std::current_exception();
      progress.stop();
    }
  };
  std::vector<std::thread> threads;
  for (size_t i = 1; i < ranks.size(); ++i) threads.emplace_back(load, i);
  load(0);
  for (std::thread& thread : threads) thread.join();
  // Ranks that were told to stop are cancelled; the reason is another's.
  std::exception_ptr first;
  for (const std::exception_ptr& failure : failures) {
    if (!failure) continue;
    if (!first) first = failure;
    try {
      std::rethrow_exception(failure);
    } catch (const core::Error& error) {
      if (error.status() != Status::kCancelled) throw;
    }
  }
  if (first) std::rethrow_exception(first);
}

}  // namespace

uint64_t Model::step_bytes() const {
  uint64_t bytes = weights->step_bytes(is_tied);
  for (const auto& follower : followers) bytes += follower->weights->step_bytes(is_tied);
  return bytes;
}

std::shared_ptr<Model> load_rank(const ModelOptions& options, const model::ShardSpec& shard,
                                 model::LoadProgress* progress) {
  const model::ModelConfig config = model::read_config(options.path);
  model::check_shardable(config, shard.tp_size);
  std::shared_ptr<Model> rank = begin_rank(options, config, shard);
  open_rank_backend(*rank, options, options.backend, options.device_idx, options.num_threads);
  model::TensorSet tensors;
  if (!options.is_synthetic) tensors = model::TensorSet::open_model(options.path);
  load_part(*rank, options, tensors, progress);
  return rank;
}

std::shared_ptr<Model> load_model(const ModelOptions& options, model::LoadProgress* progress) {
  if (!options.listen.empty()) return load_with_workers(options, progress);
  const model::ModelConfig config = model::read_config(options.path);
  model::check_shardable(config, options.tp_size);
  std::vector<std::shared_ptr<Model>> ranks;
  BackendKind kind = options.backend;  // auto is settled by rank 0, whose device is the first
  for (int32_t i = 0; i < options.tp_size; ++i) {
    ranks.push_back(begin_rank(options, config, {i, options.tp_size, options.lora_sharding}));
    open_rank_backend(*ranks.back(), options, kind, device_of_rank(options, i, kind),
                      threads_of_rank(options));
    kind = ranks[0]->backend.is_cuda ? BackendKind::kCuda : BackendKind::kHost;
  }
  model::TensorSet tensors;  // keeps the files mapped while the plans point into them
  if (!options.is_synthetic) tensors = model::TensorSet::open_model(options.path);
  if (ranks.size() == 1) {
    load_part(*ranks[0], options, tensors, progress);
  } else {
    load_parts(ranks, options, tensors, progress);
  }
  ranks[0]->followers.assign(ranks.begin() + 1, ranks.end());
  ranks[0]->time_limit_ms = options.time_limit_ms;
  return ranks[0];
}

}  // namespace slora::engine
