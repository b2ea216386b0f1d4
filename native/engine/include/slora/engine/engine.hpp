// The engine: pool, adapters, sequences and the step transaction.
//
// One lock guards all state. submit, collect and the sequence calls come from one thread at a time;
// adapters are loaded and unloaded from any. Waiting for the device happens without the lock.
//
// In a tensor-parallel group every rank runs an engine with its part of the model. Rank 0's is the
// caller's and leads: it tells the others each change of state while it holds the lock, and they
// make the same change (follower.hpp). The pools agree page by page, since all decisions follow
// from state that is the same.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <set>
#include <span>
#include <unordered_map>
#include <vector>

#include "slora/ablation/experiment.hpp"
#include "slora/adapter/page_room.hpp"
#include "slora/adapter/residency_cache.hpp"
#include "slora/comm/recording_group.hpp"
#include "slora/core/status.hpp"
#include "slora/engine/model.hpp"
#include "slora/engine/sequence.hpp"
#include "slora/memory/page_pool.hpp"

namespace slora::engine {

// When decode steps are recorded. The values are those of enum slora_recording.
enum class RecordingMode : int32_t { kDefault = 0, kOff = 1, kOnUse = 2, kAtStart = 3 };

inline constexpr int32_t kMaxOverlapTokens = 1 << 30;

struct EngineOptions {
  uint32_t tokens_per_page = 0;
  uint64_t pool_bytes = 0;
  uint64_t host_adapter_bytes = 0;
  uint32_t max_sequences = 0;
  uint32_t max_batch_tokens = 0;
  uint32_t max_batch_rows = 0;
  uint32_t max_context = 0;
  bool check_every_step = false;
  int32_t num_pages = 0;  // > 0: what a group's ranks have agreed on, in place of pool_bytes
  adapter::EvictionKind eviction = adapter::EvictionKind::kDefault;
  ablation::ExperimentOptions experiment;
  RecordingMode recording = RecordingMode::kDefault;
  uint32_t max_recordings = 0;
  uint64_t recording_bytes = 0;
  // Of ranks: forward::TensorParallel::overlap_tokens, 0..kMaxOverlapTokens.
  int32_t overlap_tokens = 0;
};

// The limits in force, after defaults.
struct EngineLimits {
  int32_t max_sequences;
  int32_t max_batch_tokens;
  int32_t max_batch_rows;
  int32_t max_context;
};

inline constexpr int32_t kMaxLogprobs = 20;

struct PlanRow {
  uint64_t sequence_id;
  uint32_t num_tokens;
  uint32_t first_token;
  bool wants_sample;
  bool wants_logits;
};

// Of recorded decode steps.
struct RecordingCounters {
  uint32_t count = 0;     // kept now
  uint32_t at_start = 0;  // made before the engine was ready
  uint64_t bytes = 0;     // device memory that they hold; of several ranks, of the one with most
  uint64_t ns = 0;        // spent on making them
  uint64_t made = 0;
  uint64_t dropped = 0;
  uint64_t replays = 0;  // steps that ran by one
};

struct PoolCounters {
  uint32_t total_pages, free_pages, kv_pages, adapter_pages, evictable_pages;
  uint32_t num_sequences, resident_adapters, host_adapters;
  uint64_t host_adapter_bytes;
  adapter::ResidencyCounters residency;
  uint64_t preemptions, steps, tokens;
  RecordingCounters recordings;
};

struct SequenceInfo {
  uint32_t num_tokens, num_computed, num_pages;
};

struct AdapterOptions {
  std::string path;
  uint64_t synthetic_seed = 0;
  uint32_t synthetic_lora_rank = 0;  // > 0: synthetic
  uint32_t synthetic_modules = 0;
  bool is_pinned = false;
  uint64_t image_of_id = 0;  // not 0: the new adapter shares that one's content
};

struct AdapterState {
  uint32_t num_sequences;
  adapter::Residency residency;
};

// What collect hands out. Pointers are into the step's own memory and valid during the visit.
struct StepView {
  struct Row {
    uint64_t sequence_id;
    bool is_dropped;
    int32_t token_id;  // -1: none sampled
    float logprob;
    int32_t num_logprobs;
    const int32_t* top_tokens;
    const float* top_logprobs;
    int32_t num_logit_tokens;
    const float* logits;  // [num_logit_tokens, V]
  };
  std::vector<Row> rows;
  uint64_t step_idx = 0;
  uint64_t device_ns = 0;
};

// Room that collect needs in the caller's arrays.
struct StepNeeds {
  uint64_t rows, logprobs, logits;
};

class GraphCache;
struct Command;
struct PackedAdapter;
struct RankAnswer;
class HostBytes;
struct ResultLayout;

class Engine {
 public:
  // `group`: the rank's, if it is one of several; then options.num_pages is agreed.
  Engine(std::shared_ptr<Model> model, const EngineOptions& options,
         std::shared_ptr<comm::Group> group = nullptr);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // Pages that an engine of these options would have on this rank. kInvalidArgument as the
  // constructor.
  static int32_t planned_pages(const Model& model, const EngineOptions& options);

  // Before the first sequence: records the steps that most traffic has (batch::common_shapes), as
  // far as options and memory allow, on all ranks of a group at once. `progress` (may be null)
  // counts steps in place of bytes; kCancelled if it says stop.
  void record_at_start(model::LoadProgress* progress);

  const Model& model() const { return *model_; }
  const memory::ArenaGeometry& geometry() const { return arena_.geometry(); }
  const EngineLimits& limits() const { return limits_; }

  PoolCounters counters() const;
  // What this rank has sent to the others since the engine was made; all zero without a group.
  comm::GroupTraffic traffic() const { return group_ ? group_->traffic() : comm::GroupTraffic{}; }
  void page_owners(std::span<uint8_t> out_owners) const;

  // Throws kInternal naming the broken invariant, and poisons the engine.
  void check();

  // Waits for steps in flight and ends every sequence. The engine then serves no more than adapter
  // handles.
  void shutdown();

  core::Status create_sequence(const SequenceOptions& options);
  void release_sequence(uint64_t sequence_id);
  void preempt_sequence(uint64_t sequence_id);
  SequenceInfo sequence_info(uint64_t sequence_id) const;

  // kOk, or a deferred status with nothing changed; throws for errors, with nothing changed unless
  // the class is fatal.
  core::Status submit(std::span<const PlanRow> rows,
                      std::span<const uint64_t> prefetch_adapter_ids);

  // False if no step is in flight. Blocks until the oldest one has run.
  bool await_oldest(StepNeeds* out_needs);
  // Hands out the awaited step and lets go of what it held.
  void collect(StepView& out_view);
  size_t take_residency_events(adapter::ResidencyEvent* out_events, size_t capacity);
  // To be called when the caller is done with the StepView.
  void finish_collect();

  std::shared_ptr<adapter::Adapter> load_adapter(const AdapterOptions& options,
                                                 model::LoadProgress* progress);
  void unload_adapter(const std::shared_ptr<adapter::Adapter>& adapter);
  void set_pinned(adapter::Adapter& adapter, bool is_pinned);
  AdapterState adapter_state(const adapter::Adapter& adapter) const;

  // ---- for Follower, which makes rank 0's changes on another rank

  // Marks adapters resident, after waiting for their copies.
  void settle(std::span<const uint64_t> adapter_ids);
  std::unique_ptr<PackedAdapter> pack_adapter(const AdapterOptions& options,
                                              model::LoadProgress* progress);
  // Enters an adapter that all ranks have packed.
  std::shared_ptr<adapter::Adapter> register_adapter(const AdapterOptions& options,
                                                     PackedAdapter packed);
  std::shared_ptr<adapter::Adapter> find_adapter(uint64_t adapter_id) const;
  // Room that rank 0 has made for a step.
  void make_room(const forward::ForwardPass::Room& room);
  // Fails every later call, and the whole group. Never throws.
  void give_up(core::Status status, const std::string& message) noexcept;

 private:
  struct Step;

  bool leads() const { return group_ && group_->tp_rank() == 0; }
  bool follows() const { return group_ && group_->tp_rank() != 0; }
  // Rank 0, under the lock: tells the other ranks. Poisons the engine if they are gone.
  void tell(Command command);
  // Poisons the engine with the group's failure, if it has one.
  void check_group();
  std::shared_ptr<adapter::Adapter> load_adapter_on_all(const AdapterOptions& options,
                                                        model::LoadProgress* progress);
  // register_adapter, under the lock.
  std::shared_ptr<adapter::Adapter> enter(const AdapterOptions& options, PackedAdapter packed);
  int64_t packed_room(const Step& step) const;
  void sample_logits(const batch::Batch& batch, const ResultLayout& layout);
  forward::TensorParallel parallel() const {
    return {group_.get(), model_->shard, overlap_tokens_};
  }

  void throw_if_poisoned() const;
  [[noreturn]] void poison(core::Status status, const std::string& message);
  Sequence& find_sequence(uint64_t sequence_id) const;
  void check_row(size_t row_idx, const PlanRow& row, Sequence& sequence) const;
  void resolve_rows(std::span<const PlanRow> rows, Step& step);
  void make_step_room(Step& step);
  void make_forward_room(const forward::ForwardPass::Room& room);
  core::Status reserve(Step& step);
  void prefetch(std::span<const uint64_t> adapter_ids);
  void launch(Step& step);
  void prepare_experiment(const Step& step, batch::Batch& batch);
  bool make_shape_room(Step& step, uint64_t bytes);
  bool launch_shape(Step& step, batch::Batch& out_batch);
  void run_shape(const batch::Batch& batch);
  bool pack_shape(Step& step, const batch::DecodeShape& shape, batch::Batch& out_batch,
                  uint64_t& out_bytes);
  // False: there is no memory for it on some rank, and none has it.
  bool try_record(const batch::DecodeShape& shape, const batch::Batch& batch);
  void run_padding(const batch::DecodeShape& shape, batch::Batch& out_batch);
  void rest(Step& step);
  void tune_matmuls(Step& step, int32_t rows);
  // How a call went on all ranks, and the largest value. False: some rank is out of memory.
  bool have_memory(const RankAnswer& own, uint64_t& out_most) const;
  void make_recording_room(std::span<const batch::DecodeShape> shapes);
  void sample(const batch::Batch& batch);
  void copy_results(Step& step, const batch::Batch& batch);
  void commit(Step& step);
  void destroy_sequence(Sequence& sequence);
  void release_pages(Sequence& sequence);
  void forget_if_unused(adapter::Adapter& adapter);
  void check_experiment(const Sequence& sequence) const;
  void upload_prompt(const Sequence& sequence, const SequenceOptions& options);
  std::string broken_invariant() const;
  device::Buffer upload_wide(const adapter::AdapterSource& source, uint64_t bytes);
  device::Buffer upload_table(const std::vector<core::LoraModule>& modules);
  std::shared_ptr<adapter::AdapterContent> content_of(uint64_t adapter_id) const;
  std::shared_ptr<adapter::AdapterContent> make_content(const AdapterOptions& options,
                                                        model::LoadProgress* progress,
                                                        HostBytes& out_host_bytes);
  Step& oldest() { return *steps_[oldest_ % steps_.size()]; }

  std::shared_ptr<Model> model_;
  std::shared_ptr<comm::RecordingGroup> group_;  // null: not tensor parallel
  EngineLimits limits_;
  int32_t overlap_tokens_;
  bool check_every_step_;
  uint64_t host_adapter_budget_;
  memory::Arena arena_;
  std::unique_ptr<ablation::Experiment> experiment_;  // null: none
  memory::PagePool pool_;
  forward::ForwardPass forward_;
  device::Stream compute_;
  device::Stream upload_;  // prompts and module tables: waited for at once, so it must not queue
                           // behind adapter loads

  mutable std::mutex mutex_;
  core::Status poisoned_ = core::Status::kOk;
  std::string poison_message_;
  adapter::ResidencyCache residency_;
  std::unique_ptr<adapter::PageRoom> room_;
  std::unordered_map<uint64_t, std::shared_ptr<adapter::Adapter>>
      adapters_;  // open, or held by a sequence
  uint64_t next_adapter_id_ = 1;
  std::atomic<uint64_t> host_adapter_bytes_{0};

  std::unordered_map<uint64_t, std::unique_ptr<Sequence>> sequences_;  // those the caller may name
  std::vector<std::unique_ptr<Sequence>> leaving_;                     // released, still in flight
  std::vector<int32_t> free_slots_;
  std::vector<adapter::Adapter*> wanted_;  // scratch of prefetch
  std::vector<adapter::Adapter*> cold_;    // scratch of reserve
  device::Buffer history_;                 // int32 [max_sequences, history_stride_]
  int64_t history_stride_;
  device::Buffer prompt_staging_;
  device::Buffer table_staging_;  // one adapter's module table on its way to the device
  device::Buffer
      sampled_;  // ResultLayout on the device; each step copies it out before the next one writes
  device::Buffer sample_workspace_;
  std::mutex upload_mutex_;  // orders users of upload_ and its staging memory

  std::vector<std::unique_ptr<Step>> steps_;  // ring: steps oldest_ .. newest_ - 1 are in flight
  std::unique_ptr<GraphCache> graphs_;
  std::set<int32_t> tuned_rows_;  // steps of so many have had their matmuls measured
  device::Buffer shape_block_;    // the tables of recorded steps, one for all steps in flight
  uint64_t oldest_ = 0;
  uint64_t newest_ = 0;
  uint64_t num_plans_ = 0;
  uint64_t num_preemptions_ = 0;
  uint64_t num_tokens_ = 0;
  uint64_t num_loads_ = 0;  // begun on a group
};

}  // namespace slora::engine
