// Construction, sequences, counters and the proof of the invariants. The step itself is in
// engine_step.cpp, adapters in engine_adapters.cpp.
#include "slora/engine/engine.hpp"

#include <algorithm>
#include <cstring>

#include "command.hpp"
#include "graph_cache.hpp"
#include "slora/core/check.hpp"
#include "slora/core/log.hpp"
#include "step.hpp"

namespace slora::engine {
namespace {

using core::Status;

// Two: the step that runs and the one that was submitted while it runs (run-ahead by one).
constexpr int kStepsInFlight = 2;

// Of modules: where ranks exchange their shares of lora_rank, A has a table beside that of B.
constexpr uint64_t kTablesAnAdapter = 2;

// What no kernel's grid is too large for: some have a block's column for every token and one more
// for every row, of at most 65,535.
constexpr uint32_t kMostBatchTokens = 32768, kMostBatchRows = 16384;

uint32_t checked(const char* name, uint32_t value, uint32_t fallback, uint32_t low, uint32_t high) {
  if (value == 0) return std::min(std::max(fallback, low), high);
  if (value < low || value > high) {
    core::fail(Status::kInvalidArgument, name, " is ", value, ", the limit is ", low, "..", high);
  }
  return value;
}

EngineLimits limits_of(const EngineOptions& options, const model::ModelConfig& config) {
  EngineLimits limits{};
  limits.max_sequences =
      static_cast<int32_t>(checked("max_sequences", options.max_sequences, 256, 1, 65536));
  limits.max_batch_tokens = static_cast<int32_t>(
      checked("max_batch_tokens", options.max_batch_tokens, 2048, 1, kMostBatchTokens));
  const auto sequences = std::min(static_cast<uint32_t>(limits.max_sequences), kMostBatchRows);
  limits.max_batch_rows = static_cast<int32_t>(
      checked("max_batch_rows", options.max_batch_rows, sequences, 1, sequences));
  limits.max_batch_rows = std::min(limits.max_batch_rows, limits.max_batch_tokens);
  limits.max_context = static_cast<int32_t>(
      options.max_context == 0 ? config.max_position
                               : std::min<int64_t>(config.max_context, options.max_context));
  return limits;
}

// KV of every sequence at full length and as much again for adapters, but no more than a share of
// what is free: a quarter of the host's memory, which other programs need too, and nine tenths of a
// GPU's.
uint64_t default_pool_bytes(const Model& model, const EngineLimits& limits, int64_t bytes_a_page,
                            int32_t tokens_a_page) {
  const uint64_t free_bytes = model.backend.device->describe().free_memory_bytes;
  // The ranks of a host share its memory.
  const uint64_t share = model.backend.is_cuda
                             ? free_bytes / 10 * 9
                             : free_bytes / 4 / static_cast<uint64_t>(model.shard.tp_size);
  const uint64_t pages_a_sequence =
      static_cast<uint64_t>((limits.max_context + tokens_a_page - 1) / tokens_a_page);
  const uint64_t wanted = 2 * static_cast<uint64_t>(limits.max_sequences) * pages_a_sequence *
                          static_cast<uint64_t>(bytes_a_page);
  return std::min(share, wanted);
}

memory::ArenaGeometry geometry_of(const EngineOptions& options, const EngineLimits& limits,
                                  const Model& model) {
  const model::ModelConfig& config = model.own_config;
  memory::ArenaGeometry geometry{};
  geometry.tokens_per_page =
      static_cast<int32_t>(checked("tokens_per_page", options.tokens_per_page, 16, 1, 256));
  if ((geometry.tokens_per_page & (geometry.tokens_per_page - 1)) != 0) {
    core::fail(Status::kInvalidArgument, "tokens_per_page is ", geometry.tokens_per_page,
               ", not a power of two");
  }
  geometry.num_layers = config.num_layers;
  geometry.page_elems =
      int64_t{2} * geometry.tokens_per_page * config.num_kv_heads * config.head_size;
  geometry.page_bytes = geometry.page_elems * core::dtype_bytes(model.weights->dtype());
  if (options.num_pages > 0) {
    geometry.num_pages = options.num_pages;
    return geometry;
  }
  const int64_t bytes_a_page = geometry.page_bytes * geometry.num_layers;
  const uint64_t pool_bytes =
      options.pool_bytes != 0
          ? options.pool_bytes
          : default_pool_bytes(model, limits, bytes_a_page, geometry.tokens_per_page);
  const uint64_t pages = pool_bytes / static_cast<uint64_t>(bytes_a_page);
  if (pages < 1 || pages > (1u << 30)) {
    core::fail(Status::kInvalidArgument, "pool_bytes is ", pool_bytes, ", which holds ", pages,
               " pages of ", bytes_a_page, " bytes; the limit is 1..", 1u << 30, " pages");
  }
  geometry.num_pages = static_cast<int32_t>(pages);
  return geometry;
}

// Deltas add up and scale; a factor on the base's own output, or a matrix in place of the base's,
// do not.
void refuse_undefined_sum(const adapter::Adapter& adapter, size_t num_adapters, float weight) {
  const std::string& exclusive = adapter.content->exclusive;
  if (exclusive.empty() || (num_adapters == 1 && weight == 1.0f)) return;
  core::fail(Status::kUnsupported, "adapter ", adapter.id, " has ", exclusive,
             ", which has no defined sum with other adapters or weights other than 1");
}

std::unique_ptr<ablation::Experiment> make_experiment(const EngineOptions& options,
                                                      const Model& model,
                                                      const memory::ArenaGeometry& geometry,
                                                      bool is_on_group) {
  if (options.experiment.is_none()) return nullptr;
  if (is_on_group) core::fail(Status::kUnsupported, "experiments run on one rank, not on several");
  return std::make_unique<ablation::Experiment>(options.experiment, model.backend, model.view(),
                                                geometry);
}

}  // namespace

int32_t Engine::planned_pages(const Model& model, const EngineOptions& options) {
  return geometry_of(options, limits_of(options, model.config), model).num_pages;
}

Engine::Engine(std::shared_ptr<Model> model, const EngineOptions& options,
               std::shared_ptr<comm::Group> group)
    : model_(std::move(model)),
      group_(group ? std::make_shared<comm::RecordingGroup>(std::move(group)) : nullptr),
      limits_(limits_of(options, model_->config)),
      overlap_tokens_(options.overlap_tokens),
      check_every_step_(options.check_every_step),
      host_adapter_budget_(options.host_adapter_bytes),
      arena_(model_->backend.device, geometry_of(options, limits_, *model_)),
      experiment_(make_experiment(options, *model_, arena_.geometry(), group_ != nullptr)),
      pool_(arena_.geometry().num_pages,
            experiment_ ? experiment_->placement()
                        : memory::unified_placement(arena_.geometry().num_pages)),
      forward_(experiment_ ? experiment_->backend() : model_->backend, model_->view(), arena_,
               limits_.max_context, limits_.max_batch_tokens, limits_.max_batch_rows, parallel()),
      compute_(model_->backend.device, device::StreamKind::kCompute),
      upload_(model_->backend.device, device::StreamKind::kCopy),
      residency_(pool_, arena_, model_->backend.device, options.eviction),
      room_(experiment_ ? experiment_->room(pool_, residency_)
                        : adapter::unified_room(pool_, residency_)),
      history_stride_(limits_.max_context + 1),
      prompt_staging_(model_->backend.device, device::MemoryKind::kPinned,
                      static_cast<uint64_t>(history_stride_) * sizeof(int32_t)),
      table_staging_(model_->backend.device, device::MemoryKind::kPinned,
                     kTablesAnAdapter * static_cast<uint64_t>(model_->config.num_layers) *
                         static_cast<uint64_t>(model_->modules.num_modules()) *
                         sizeof(core::LoraModule)) {
  const auto& device = model_->backend.device;
  history_ = device::Buffer(device, device::MemoryKind::kDevice,
                            static_cast<uint64_t>(limits_.max_sequences) *
                                static_cast<uint64_t>(history_stride_) * sizeof(int32_t));
  for (int32_t slot = limits_.max_sequences - 1; slot >= 0; --slot) free_slots_.push_back(slot);
  const ResultLayout layout(limits_.max_batch_rows);
  sampled_ = device::Buffer(device, device::MemoryKind::kDevice, layout.bytes);
  sample_workspace_ = device::Buffer(device, device::MemoryKind::kDevice,
                                     model_->backend.kernels->sample_workspace_bytes(
                                         limits_.max_batch_rows, model_->config.vocab_size));
  graphs_ = std::make_unique<GraphCache>(graph_limits(options, model_->backend));
  if (leads()) residency_.lead();
  if (follows()) residency_.follow();
  const int32_t lora_parts = parallel().exchanges_lora() ? model_->shard.tp_size : 1;
  for (int i = 0; i < kStepsInFlight; ++i) {
    steps_.push_back(std::make_unique<Step>(device, lora_parts));
    steps_.back()->results = device::Buffer(device, device::MemoryKind::kPinned, layout.bytes);
  }
}

Engine::~Engine() {
  try {
    shutdown();
  } catch (const std::exception& failure) {
    core::log(core::LogLevel::kError, "engine destroyed after a failure: ", failure.what());
  }
  try {
    // A failed engine leaves steps in flight, whose commands use the memory of steps and adapters.
    compute_.synchronize();
  } catch (const std::exception& failure) {
    core::log(core::LogLevel::kError, "the last steps of an engine: ", failure.what());
  }
  try {
    // Copies that nobody has waited for read images, and complete events, that go with the
    // adapters.
    for (const auto& [id, adapter] : adapters_) residency_.drop(*adapter);
  } catch (const std::exception& failure) {
    core::log(core::LogLevel::kError, "adapters of an engine that ends: ", failure.what());
  }
  if (!leads()) return;
  try {
    tell({.kind = CommandKind::kCloseEngine});
  } catch (const std::exception& failure) {
    core::log(core::LogLevel::kError,
              "the ranks of an engine could not be told of its end: ", failure.what());
  }
}

void Engine::shutdown() {
  StepNeeds needs{};
  StepView view;
  while (poisoned_ == Status::kOk && await_oldest(&needs)) {
    collect(view);
    finish_collect();
  }
  const std::lock_guard<std::mutex> lock(mutex_);
  for (auto& [id, sequence] : sequences_) destroy_sequence(*sequence);
  sequences_.clear();
  if (leads()) tell({.kind = CommandKind::kShutdown});
}

void Engine::throw_if_poisoned() const {
  if (poisoned_ != Status::kOk)
    throw core::Error(poisoned_, "the engine failed earlier: " + poison_message_);
}

void Engine::poison(Status status, const std::string& message) {
  const bool is_fatal = status == Status::kInternal || status == Status::kRankLost;
  poisoned_ = is_fatal ? status : Status::kDeviceLost;
  poison_message_ = message;
  if (group_) group_->abort(message);
  throw core::Error(poisoned_, message);
}

void Engine::give_up(Status status, const std::string& message) noexcept {
  const std::lock_guard<std::mutex> lock(mutex_);
  try {
    if (poisoned_ == Status::kOk) poison(status, message);
  } catch (const std::exception&) {
    // What poison() throws is for callers; here nobody called.
  }
}

// ---- tensor parallel
// -----------------------------------------------------------------------------------------------

void Engine::tell(Command command) {
  if (poisoned_ != Status::kOk) return;  // the group is gone, and what is left is letting go
  command.settled = residency_.take_settled();
  try {
    std::vector<uint8_t> message = encode(command);
    group_->broadcast_message(message, 0);
  } catch (const core::Error& failure) {
    poison(failure.status(), failure.what());
  }
}

void Engine::check_group() {
  if (!group_) return;
  try {
    group_->check();
  } catch (const core::Error& failure) {
    poison(failure.status(), failure.what());
  }
}

void Engine::settle(std::span<const uint64_t> adapter_ids) {
  const std::lock_guard<std::mutex> lock(mutex_);
  for (const uint64_t adapter_id : adapter_ids) {
    const auto it = adapters_.find(adapter_id);
    if (it == adapters_.end() || it->second->residency != adapter::Residency::kLoading) {
      poison(Status::kInternal,
             core::str_cat("rank ", model_->shard.tp_rank, " of ", model_->shard.tp_size,
                           " does not load adapter ", adapter_id, ", which rank 0 has loaded"));
    }
    residency_.settle(*it->second);
  }
}

// ---- sequences
// -----------------------------------------------------------------------------------------------------

Sequence& Engine::find_sequence(uint64_t sequence_id) const {
  const auto it = sequences_.find(sequence_id);
  if (it == sequences_.end()) core::fail(Status::kNotFound, "there is no sequence ", sequence_id);
  return *it->second;
}

void Engine::check_experiment(const Sequence& sequence) const {
  std::vector<adapter::Adapter*> adapters;
  std::vector<float> weights;
  for (const SequenceAdapter& use : sequence.adapters) {
    adapters.push_back(use.adapter.get());
    weights.push_back(use.weight);
  }
  experiment_->check_adapters(adapters, weights);
}

Status Engine::create_sequence(const SequenceOptions& options) {
  const std::lock_guard<std::mutex> lock(mutex_);
  throw_if_poisoned();
  const uint32_t longest = static_cast<uint32_t>(limits_.max_context);
  if (options.sequence_id == 0)
    core::fail(Status::kInvalidArgument, "sequence_id is 0, which names no sequence");
  if (sequences_.count(options.sequence_id) != 0) {
    core::fail(Status::kAlreadyExists, "sequence ", options.sequence_id, " exists already");
  }
  if (options.num_prompt_tokens < 1 || options.num_prompt_tokens > longest) {
    core::fail(Status::kInvalidArgument, "num_prompt_tokens is ", options.num_prompt_tokens,
               ", the limit is 1..", longest);
  }
  const uint32_t max_tokens = options.max_tokens == 0 ? longest : options.max_tokens;
  if (max_tokens < options.num_prompt_tokens || max_tokens > longest) {
    core::fail(Status::kInvalidArgument, "max_tokens is ", options.max_tokens, ", the limit is ",
               options.num_prompt_tokens, "..", longest);
  }
  for (uint32_t i = 0; i < options.num_prompt_tokens; ++i) {
    const int32_t token = options.prompt_tokens[i];
    if (token < 0 || token >= model_->config.vocab_size) {
      core::fail(Status::kInvalidArgument, "prompt token ", i, " is ", token, ", the limit is 0..",
                 model_->config.vocab_size - 1);
    }
  }
  auto sequence = std::make_unique<Sequence>();
  for (const auto& use : options.adapters) {
    const auto it = adapters_.find(use.adapter_id);
    if (it == adapters_.end() || !it->second->is_open) {
      core::fail(Status::kNotFound, "there is no adapter ", use.adapter_id);
    }
    refuse_undefined_sum(*it->second, options.adapters.size(), use.weight);
    sequence->adapters.push_back({it->second, use.weight});
  }
  if (experiment_) check_experiment(*sequence);
  if (free_slots_.empty()) return Status::kDeferredSlots;

  sequence->id = options.sequence_id;
  sequence->slot = free_slots_.back();
  sequence->num_prompt = sequence->num_tokens = static_cast<int32_t>(options.num_prompt_tokens);
  sequence->num_computed = 0;
  sequence->max_tokens = static_cast<int32_t>(max_tokens);
  sequence->sampling = options.sampling;
  sequence->bias_tokens = options.bias_tokens;
  sequence->bias_values = options.bias_values;
  upload_prompt(*sequence, options);
  if (leads()) {
    Command command{.kind = CommandKind::kCreateSequence, .sequence = options};
    command.prompt.assign(options.prompt_tokens, options.prompt_tokens + options.num_prompt_tokens);
    tell(std::move(command));
  }
  free_slots_.pop_back();
  for (const SequenceAdapter& use : sequence->adapters) residency_.hold(*use.adapter);
  sequences_.emplace(options.sequence_id, std::move(sequence));
  return Status::kOk;
}

// Waited for: a step that is submitted later reads the prompt without further ordering. The slot's
// last tenant is gone with its last step in flight, so nothing reads the old tokens.
void Engine::upload_prompt(const Sequence& sequence, const SequenceOptions& options) {
  const std::lock_guard<std::mutex> lock(upload_mutex_);
  const uint64_t bytes = uint64_t{options.num_prompt_tokens} * sizeof(int32_t);
  std::memcpy(prompt_staging_.data(), options.prompt_tokens, bytes);
  upload_.copy(history_.as<int32_t>() + sequence.slot * history_stride_, prompt_staging_.data(),
               bytes);
  upload_.synchronize();
}

void Engine::release_pages(Sequence& sequence) {
  for (const int32_t page : sequence.pages) pool_.release(page);
  sequence.pages.clear();
}

// Gives back all that a sequence holds; the caller removes it from its container.
void Engine::destroy_sequence(Sequence& sequence) {
  SLORA_CHECK(sequence.num_in_flight == 0);
  release_pages(sequence);
  free_slots_.push_back(sequence.slot);
  for (const SequenceAdapter& use : sequence.adapters) {
    residency_.let_go(*use.adapter);
    forget_if_unused(*use.adapter);
  }
  sequence.adapters.clear();
}

void Engine::release_sequence(uint64_t sequence_id) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto it = sequences_.find(sequence_id);
  if (it == sequences_.end()) core::fail(Status::kNotFound, "there is no sequence ", sequence_id);
  std::unique_ptr<Sequence> sequence = std::move(it->second);
  sequences_.erase(it);
  sequence->is_released = true;
  if (sequence->num_in_flight > 0) {
    leaving_.push_back(std::move(sequence));
  } else {
    destroy_sequence(*sequence);
  }
  if (leads()) tell({.kind = CommandKind::kReleaseSequence, .id = sequence_id});
}

void Engine::preempt_sequence(uint64_t sequence_id) {
  const std::lock_guard<std::mutex> lock(mutex_);
  throw_if_poisoned();
  Sequence& sequence = find_sequence(sequence_id);
  if (sequence.num_in_flight > 0) {
    core::fail(Status::kWrongState, "sequence ", sequence_id, " is named by ",
               sequence.num_in_flight, " steps in flight; collect them before it is preempted");
  }
  release_pages(sequence);
  sequence.num_computed = 0;
  ++num_preemptions_;
  if (leads()) tell({.kind = CommandKind::kPreemptSequence, .id = sequence_id});
}

SequenceInfo Engine::sequence_info(uint64_t sequence_id) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  const Sequence& sequence = find_sequence(sequence_id);
  return {static_cast<uint32_t>(sequence.num_tokens), static_cast<uint32_t>(sequence.num_computed),
          static_cast<uint32_t>(sequence.pages.size())};
}

// ---- the picture and the proof
// -------------------------------------------------------------------------------------

PoolCounters Engine::counters() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  PoolCounters counters{};
  counters.total_pages = static_cast<uint32_t>(pool_.num_pages());
  counters.free_pages = static_cast<uint32_t>(pool_.num_free());
  counters.kv_pages = static_cast<uint32_t>(pool_.num_owned(memory::PageOwner::kKv));
  counters.adapter_pages = static_cast<uint32_t>(pool_.num_owned(memory::PageOwner::kAdapter));
  counters.evictable_pages = static_cast<uint32_t>(residency_.num_idle_pages());
  if (experiment_)
    experiment_->adjust(counters.free_pages, counters.adapter_pages, counters.evictable_pages);
  counters.num_sequences = static_cast<uint32_t>(sequences_.size() + leaving_.size());
  counters.resident_adapters = static_cast<uint32_t>(residency_.num_resident());
  counters.host_adapters = static_cast<uint32_t>(adapters_.size());
  counters.host_adapter_bytes = host_adapter_bytes_;
  counters.residency = residency_.counters();
  counters.preemptions = num_preemptions_;
  counters.steps = newest_;
  counters.tokens = num_tokens_;
  counters.recordings = graphs_->counters();
  return counters;
}

void Engine::page_owners(std::span<uint8_t> out_owners) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (out_owners.size() < static_cast<size_t>(pool_.num_pages())) {
    core::fail(Status::kInvalidArgument, "capacity is ", out_owners.size(), ", the pool has ",
               pool_.num_pages(), " pages");
  }
  for (int32_t page = 0; page < pool_.num_pages(); ++page) {
    out_owners[static_cast<size_t>(page)] = static_cast<uint8_t>(pool_.owner(page));
  }
}

void Engine::check() {
  const std::lock_guard<std::mutex> lock(mutex_);
  const std::string broken = broken_invariant();
  if (!broken.empty()) poison(Status::kInternal, broken);
}

// The pool's own walk, then each page's references against those who hold it.
std::string Engine::broken_invariant() const {
  std::string why;
  if (!pool_.is_valid(&why)) return why;
  std::vector<int32_t> held(static_cast<size_t>(pool_.num_pages()), 0);
  std::string wrong_owner;
  auto hold = [&](const std::vector<int32_t>& pages, memory::PageOwner owner, const char* holder,
                  uint64_t id) {
    for (const int32_t page : pages) {
      ++held[static_cast<size_t>(page)];
      if (pool_.owner(page) != owner)
        wrong_owner = core::str_cat("page ", page, " of ", holder, " ", id, " is not its own");
    }
  };
  for (const auto& [id, sequence] : sequences_)
    hold(sequence->pages, memory::PageOwner::kKv, "sequence", id);
  for (const auto& sequence : leaving_)
    hold(sequence->pages, memory::PageOwner::kKv, "sequence", sequence->id);
  for (const auto& [id, adapter] : adapters_)
    hold(adapter->pages, memory::PageOwner::kAdapter, "adapter", id);
  if (!wrong_owner.empty()) return wrong_owner;
  std::vector<const adapter::Adapter*> adapters;
  for (const auto& [id, adapter] : adapters_) adapters.push_back(adapter.get());
  if (!residency_.is_valid(adapters, &why)) return why;
  for (int32_t page = 0; page < pool_.num_pages(); ++page) {
    if (held[static_cast<size_t>(page)] != pool_.num_references(page)) {
      return core::str_cat("page ", page, " has ", pool_.num_references(page),
                           " references, held are ", held[static_cast<size_t>(page)]);
    }
  }
  const size_t slots = free_slots_.size() + sequences_.size() + leaving_.size();
  if (slots != static_cast<size_t>(limits_.max_sequences))
    return core::str_cat(slots, " slots instead of ", limits_.max_sequences);
  return {};
}

}  // namespace slora::engine
