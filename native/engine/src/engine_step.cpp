// The step transaction: resolve → reserve → launch → commit, or nothing changed; and its other
// half, collect.
#include <algorithm>

#include "command.hpp"
#include "graph_cache.hpp"
#include "slora/core/check.hpp"
#include "slora/engine/engine.hpp"
#include "step.hpp"

namespace slora::engine {

using core::Status;

Status Engine::submit(std::span<const PlanRow> rows,
                      std::span<const uint64_t> prefetch_adapter_ids) {
  const std::lock_guard<std::mutex> lock(mutex_);
  throw_if_poisoned();
  if (newest_ - oldest_ == steps_.size()) return Status::kDeferredStep;
  Step& step = *steps_[newest_ % steps_.size()];
  resolve_rows(rows, step);
  make_step_room(step);
  const auto free_pages = static_cast<uint32_t>(pool_.num_free());
  Status reserved = Status::kOk;
  try {
    reserved = reserve(step);
  } catch (const core::Error& failure) {
    poison(failure.status(), failure.what());
  }
  if (reserved != Status::kOk) return reserved;
  if (leads()) {
    tell({.kind = CommandKind::kSubmit,
          .rows = {rows.begin(), rows.end()},
          .prefetch = {prefetch_adapter_ids.begin(), prefetch_adapter_ids.end()},
          .free_pages = free_pages});
  }
  try {
    launch(step);
  } catch (const std::exception& failure) {
    check_group();
    poison(Status::kDeviceLost, failure.what());
  }
  commit(step);
  prefetch(prefetch_adapter_ids);
  if (check_every_step_) {
    const std::string broken = broken_invariant();
    if (!broken.empty()) poison(Status::kInternal, broken);
  }
  return Status::kOk;
}

// What a step has to allocate, before it takes anything: a step that finds no memory has changed
// nothing. Last what the ranks share a view of, for a rank must not go on alone with that.
void Engine::make_step_room(Step& step) {
  const auto ensure = [this](device::Buffer& buffer, uint64_t bytes) {
    if (buffer.bytes() < bytes)
      buffer = device::Buffer(model_->backend.device, device::MemoryKind::kPinned, bytes);
  };
  if (step.num_logit_rows > 0 && !follows()) {
    ensure(step.logits, static_cast<uint64_t>(step.num_outputs) *
                            static_cast<uint64_t>(model_->config.vocab_size) * sizeof(float));
  }
  batch::BatchBounds bounds;
  bounds.tokens = step.num_tokens;
  bounds.outputs = step.num_outputs;
  for (const Step::Row& row : step.rows) {
    const Sequence& sequence = *row.sequence;
    ++bounds.rows;
    bounds.biases += static_cast<int64_t>(sequence.bias_tokens.size());
    bounds.table_stride = std::max<int64_t>(
        bounds.table_stride,
        arena_.geometry().pages_for_tokens(int64_t{row.plan.first_token} + row.plan.num_tokens));
    for (const SequenceAdapter& use : sequence.adapters) {
      ++bounds.entries;
      bounds.adapter_pages += use.adapter->num_pages();
      bounds.rank_pieces += batch::rank_pieces(use.adapter->image.layout().max_lora_rank);
    }
  }
  step.staging.make_room(bounds, shape_block_.bytes());
  const forward::ForwardPass::Room room{step.num_outputs, step.lora_t_floats,
                                        step.lora_packed_floats};
  if (forward_.needs_more_room(room)) make_forward_room(room);
}

void Engine::make_forward_room(const forward::ForwardPass::Room& room) {
  // Steps in flight use the buffers that are about to be replaced.
  try {
    compute_.synchronize();
  } catch (const core::Error& failure) {
    check_group();
    poison(failure.status(), failure.what());
  }
  forward_.make_room(room);
  graphs_->clear();
  // The step may yet be deferred, and the others' choices follow from the recordings they have.
  if (leads()) tell({.kind = CommandKind::kMakeRoom, .room = room});
}

void Engine::make_room(const forward::ForwardPass::Room& room) {
  const std::lock_guard<std::mutex> lock(mutex_);
  throw_if_poisoned();
  if (forward_.needs_more_room(room)) make_forward_room(room);
}

void Engine::check_row(size_t row_idx, const PlanRow& row, Sequence& sequence) const {
  auto refuse = [&](const auto&... parts) {
    core::fail(Status::kInvalidPlan, "row ", row_idx, " (sequence ", row.sequence_id,
               "): ", parts...);
  };
  if (sequence.last_plan == num_plans_) refuse("the sequence is named twice");
  if (row.first_token != static_cast<uint32_t>(sequence.num_computed)) {
    refuse("first_token is ", row.first_token, ", the engine has computed ", sequence.num_computed);
  }
  const auto left = static_cast<uint32_t>(sequence.num_tokens - sequence.num_computed);
  if (row.num_tokens < 1 || row.num_tokens > left)
    refuse("num_tokens is ", row.num_tokens, ", the limit is 1..", left);
  if (!row.wants_sample) return;
  if (row.num_tokens != left)
    refuse("samples after token ", row.num_tokens, " of ", left, " that are not computed");
  if (sequence.num_tokens >= sequence.max_tokens) {
    refuse("samples beyond max_tokens, which is ", sequence.max_tokens);
  }
}

// Finds every row's sequence and adapters and counts what the step needs. Throws for a bad plan;
// changes nothing that another plan could see.
void Engine::resolve_rows(std::span<const PlanRow> rows, Step& step) {
  if (rows.empty() || rows.size() > static_cast<size_t>(limits_.max_batch_rows)) {
    core::fail(Status::kInvalidPlan, "num_rows is ", rows.size(), ", the limit is 1..",
               limits_.max_batch_rows);
  }
  ++num_plans_;
  step.rows.clear();
  step.adapters.clear();
  step.num_outputs = step.num_logit_rows = 0;
  step.lora_t_floats = step.lora_packed_floats = 0;
  int64_t num_tokens = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    const PlanRow& row = rows[i];
    Sequence& sequence = find_sequence(row.sequence_id);
    check_row(i, row, sequence);
    sequence.last_plan = num_plans_;
    num_tokens += row.num_tokens;
    if (row.wants_logits) step.num_logit_rows += static_cast<int32_t>(row.num_tokens);
    step.num_outputs +=
        row.wants_logits ? static_cast<int32_t>(row.num_tokens) : (row.wants_sample ? 1 : 0);
    for (const SequenceAdapter& use : sequence.adapters) {
      step.lora_t_floats += int64_t{row.num_tokens} * kernels::kMaxFusedModules *
                            use.adapter->image.layout().max_lora_rank;
      if (use.adapter->last_plan != num_plans_) step.adapters.push_back(use.adapter.get());
      use.adapter->last_plan = num_plans_;
    }
    step.rows.push_back({row, &sequence, {}});
  }
  if (num_tokens > limits_.max_batch_tokens) {
    core::fail(Status::kInvalidPlan, "the plan has ", num_tokens, " tokens, the limit is ",
               limits_.max_batch_tokens);
  }
  step.num_tokens = static_cast<int32_t>(num_tokens);
  if (experiment_) {
    const auto is_plain = [](const Step::Row& row) { return row.sequence->adapters.empty(); };
    experiment_->check_step(step.adapters, static_cast<int32_t>(std::count_if(
                                               step.rows.begin(), step.rows.end(), is_plain)));
  }
  if (parallel().exchanges_lora()) step.lora_packed_floats = packed_room(step);
}

// What all ranks' shares of the step's intermediate may take: each row of an adapter rounds its
// share up; and a recorded shape has room for two entries a row, rows and lora_ranks rounded up.
int64_t Engine::packed_room(const Step& step) const {
  int64_t exact = 0, entries = 0;
  int32_t largest_rank = 0;
  for (const Step::Row& row : step.rows) {
    for (const SequenceAdapter& use : row.sequence->adapters) {
      const int32_t lora_rank = use.adapter->image.layout().max_lora_rank;
      exact += int64_t{row.plan.num_tokens} * (lora_rank + model_->shard.tp_size);
      largest_rank = std::max(largest_rank, lora_rank);
      ++entries;
    }
  }
  if (entries == 0) return 0;
  int64_t floats = exact;
  if (graphs_->is_enabled()) {
    const auto rows = static_cast<int64_t>(step.rows.size());
    const int64_t shape_rows = rows + rows / 4 + 1;
    const int64_t shape_rank = std::max(8, 2 * largest_rank) + model_->shard.tp_size;
    floats = std::max(floats, shape_rows * batch::kEntriesARow * shape_rank);
  }
  return kernels::kMaxFusedModules * floats;
}

// Takes pages for new tokens and starts the loads of adapters that are not resident, or takes
// nothing.
Status Engine::reserve(Step& step) {
  // Adapters of this plan are no candidates for eviction while it is being reserved.
  struct PlanMark {
    PlanMark(adapter::ResidencyCache& cache, std::vector<adapter::Adapter*>& list)
        : residency(cache), adapters(list) {
      set(true);
    }
    ~PlanMark() { set(false); }
    void set(bool value) {
      for (adapter::Adapter* adapter : adapters) residency.set_in_plan(*adapter, value);
    }
    adapter::ResidencyCache& residency;
    std::vector<adapter::Adapter*>& adapters;
  } mark(residency_, step.adapters);
  residency_.poll();

  adapter::RoomNeed need;
  need.other_loads = residency_.num_loading_pages();
  for (const Step::Row& row : step.rows) {
    const int32_t pages =
        arena_.geometry().pages_for_tokens(int64_t{row.plan.first_token} + row.plan.num_tokens);
    need.kv_pages += std::max(0, pages - static_cast<int32_t>(row.sequence->pages.size()));
  }
  cold_.clear();
  for (adapter::Adapter* adapter : step.adapters) {
    if (adapter->residency == adapter::Residency::kHost) cold_.push_back(adapter);
    if (adapter->residency == adapter::Residency::kLoading)
      need.other_loads -= adapter->num_pages();
  }
  need.adapters = cold_;
  if (const Status made = room_->make(need); made != Status::kOk) return made;
  for (Step::Row& row : step.rows) {
    std::vector<int32_t>& pages = row.sequence->pages;
    const size_t held = pages.size();
    const int32_t wanted =
        arena_.geometry().pages_for_tokens(int64_t{row.plan.first_token} + row.plan.num_tokens);
    if (static_cast<size_t>(wanted) <= held) continue;
    pages.resize(static_cast<size_t>(wanted));
    SLORA_CHECK(pool_.try_acquire(memory::PageOwner::kKv, std::span(pages).subspan(held)));
  }
  for (adapter::Adapter* adapter : step.adapters) {
    if (adapter->residency == adapter::Residency::kHost) {
      SLORA_CHECK(residency_.try_load(*adapter, adapter::LoadUrgency::kNow));
    } else {
      residency_.touch();
    }
  }
  return Status::kOk;
}

// Loads ahead of need what PageRoom finds worth its pages, where every sequence is about to take
// one page; a prefetch that is not worth it is simply not made.
void Engine::prefetch(std::span<const uint64_t> adapter_ids) {
  wanted_.clear();
  for (const uint64_t adapter_id : adapter_ids) {
    const auto it = adapters_.find(adapter_id);
    if (it != adapters_.end()) wanted_.push_back(it->second.get());
  }
  residency_.set_wanted(wanted_);
  residency_.load_wanted(*room_, static_cast<int32_t>(sequences_.size()));
}

void Engine::launch(Step& step) {
  const comm::Work work(group_.get());
  step.begin.record(compute_);
  step.inputs.clear();
  step.uses.clear();
  size_t num_uses = 0;
  for (const Step::Row& row : step.rows) num_uses += row.sequence->adapters.size();
  step.uses.reserve(num_uses);  // spans into it are taken below
  for (const Step::Row& row : step.rows) {
    const Sequence& sequence = *row.sequence;
    const size_t first_use = step.uses.size();
    for (const SequenceAdapter& use : sequence.adapters) {
      step.uses.push_back({use.adapter->id, use.weight, use.adapter->image.layout().max_lora_rank,
                           use.adapter->module_table.as<core::LoraModule>(), &use.adapter->pages,
                           use.adapter->wide(), use.adapter->image.layout().has_epilogue,
                           use.adapter->image.layout().module_mask});
    }
    batch::RowInput input{};
    input.history_slot = sequence.slot;
    input.first_token = static_cast<int32_t>(row.plan.first_token);
    input.num_tokens = static_cast<int32_t>(row.plan.num_tokens);
    input.pages = sequence.pages;
    input.adapters = std::span(step.uses).subspan(first_use);
    input.wants_sample = row.plan.wants_sample;
    input.wants_logits = row.plan.wants_logits;
    input.sampling = sequence.sampling;
    input.sampling.history_slot = sequence.slot;
    input.sampling.prompt_tokens = sequence.num_prompt;
    input.sampling.history_tokens = sequence.num_tokens;
    input.bias_tokens = sequence.bias_tokens;
    input.bias_values = sequence.bias_values;
    step.inputs.push_back(input);
  }
  batch::Batch batch{};
  if (!launch_shape(step, batch)) {
    batch = step.staging.pack(step.inputs, arena_.geometry().tokens_per_page,
                              model_->modules.num_modules(), compute_, step.outputs);
    if (experiment_) prepare_experiment(step, batch);
    forward_.run(compute_, batch, {history_.as<int32_t>(), history_stride_}, [&](int32_t layer) {
      for (const adapter::Adapter* adapter : step.adapters)
        residency_.order_layer(*adapter, layer, compute_);
    });
    sample(batch);
  }
  for (size_t i = 0; i < step.rows.size(); ++i) step.rows[i].output = step.outputs[i];
  copy_results(step, batch);
  step.end.record(compute_);
}

void Engine::prepare_experiment(const Step& step, batch::Batch& batch) {
  for (const adapter::Adapter* adapter : step.adapters)
    residency_.order_after_load(*adapter, compute_);
  experiment_->before_step(compute_, batch, arena_,
                           step.adapters.empty() ? nullptr : step.adapters.front());
}

// Rank 0 samples; the others take its tokens over, so that a step that runs ahead finds them.
void Engine::sample(const batch::Batch& batch) {
  if (batch.num_samples == 0) return;
  const ResultLayout layout(limits_.max_batch_rows);
  if (!follows()) sample_logits(batch, layout);
  if (!group_) return;
  uint8_t* tokens = sampled_.data() + layout.tokens;
  group_->broadcast(compute_.handle(), tokens,
                    static_cast<uint64_t>(batch.num_samples) * sizeof(int32_t), 0);
  if (!follows()) return;
  const kernels::AppendTokensParams params{batch.sample_rows, batch.num_samples,
                                           reinterpret_cast<const int32_t*>(tokens),
                                           history_.as<int32_t>(), history_stride_};
  forward::expect_launched(model_->backend.kernels->append_tokens(compute_.handle(), &params),
                           "append_tokens");
}

void Engine::sample_logits(const batch::Batch& batch, const ResultLayout& layout) {
  kernels::SampleParams params{};
  params.logits = forward_.logits();
  params.vocab_size = model_->config.vocab_size;
  params.rows = batch.sample_rows;
  params.num_rows = batch.num_samples;
  params.max_logprobs = kMaxLogprobs;
  params.history = history_.as<int32_t>();
  params.history_stride = history_stride_;
  params.bias_tokens = batch.bias_tokens;
  params.bias_values = batch.bias_values;
  params.out_tokens = reinterpret_cast<int32_t*>(sampled_.data() + layout.tokens);
  params.out_logprobs = reinterpret_cast<float*>(sampled_.data() + layout.logprobs);
  params.out_top_tokens = reinterpret_cast<int32_t*>(sampled_.data() + layout.top_tokens);
  params.out_top_logprobs = reinterpret_cast<float*>(sampled_.data() + layout.top_logprobs);
  params.workspace = sample_workspace_.data();
  forward::expect_launched(model_->backend.kernels->sample(compute_.handle(), &params), "sample");
}

void Engine::copy_results(Step& step, const batch::Batch& batch) {
  if (follows()) return;
  if (batch.num_samples > 0)
    compute_.copy(step.results.data(), sampled_.data(), step.results.bytes());
  if (step.num_logit_rows == 0) return;
  // Logits rows lie among those of sampling-only rows, so all outputs come back; only tests and
  // evaluation ask.
  const uint64_t bytes = static_cast<uint64_t>(batch.num_outputs) *
                         static_cast<uint64_t>(model_->config.vocab_size) * sizeof(float);
  SLORA_CHECK(step.logits.bytes() >= bytes);
  compute_.copy(step.logits.data(), forward_.logits(), bytes);
}

void Engine::commit(Step& step) {
  for (Step::Row& row : step.rows) {
    row.sequence->num_computed += static_cast<int32_t>(row.plan.num_tokens);
    if (row.plan.wants_sample) ++row.sequence->num_tokens;
    ++row.sequence->num_in_flight;
  }
  for (adapter::Adapter* adapter : step.adapters) residency_.begin_step(*adapter);
  num_tokens_ += static_cast<uint64_t>(step.num_tokens);
  step.step_idx = newest_++;
}

// ---- collect
// -------------------------------------------------------------------------------------------------------

bool Engine::await_oldest(StepNeeds* out_needs) {
  Step* step = nullptr;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    throw_if_poisoned();
    if (oldest_ == newest_) return false;
    step = &oldest();
  }
  try {
    // A kernel that waits for a lost rank does not end by itself; the group's wait has a limit.
    if (group_) {
      group_->synchronize(step->end);
    } else {
      step->end.synchronize();
    }
  } catch (const std::exception& failure) {
    const std::lock_guard<std::mutex> lock(mutex_);
    check_group();  // a rank that was lost is the better reason
    poison(Status::kDeviceLost, failure.what());
  }
  if (group_) {
    const std::lock_guard<std::mutex> lock(mutex_);
    check_group();
  }
  *out_needs = {step->rows.size(), 0, 0};
  for (const Step::Row& row : step->rows) {
    if (row.plan.wants_sample)
      out_needs->logprobs += static_cast<uint64_t>(row.sequence->sampling.num_logprobs);
    out_needs->logits += static_cast<uint64_t>(row.output.num_logits) *
                         static_cast<uint64_t>(model_->config.vocab_size);
  }
  return true;
}

void Engine::collect(StepView& out_view) {
  const std::lock_guard<std::mutex> lock(mutex_);
  Step& step = oldest();
  const ResultLayout layout(limits_.max_batch_rows);
  const uint8_t* results = step.results.data();
  out_view.rows.clear();
  out_view.step_idx = step.step_idx;
  out_view.device_ns = step.end.elapsed_ns_since(step.begin);
  for (Step::Row& row : step.rows) {
    StepView::Row view{};
    view.sequence_id = row.plan.sequence_id;
    view.is_dropped = row.sequence->is_released;
    view.token_id = -1;
    const int32_t sample_idx = row.output.sample_idx;
    if (!view.is_dropped && sample_idx >= 0 && !follows()) {
      view.token_id = reinterpret_cast<const int32_t*>(results + layout.tokens)[sample_idx];
      view.logprob = reinterpret_cast<const float*>(results + layout.logprobs)[sample_idx];
      view.num_logprobs = row.sequence->sampling.num_logprobs;
      view.top_tokens =
          reinterpret_cast<const int32_t*>(results + layout.top_tokens) + sample_idx * kMaxLogprobs;
      view.top_logprobs =
          reinterpret_cast<const float*>(results + layout.top_logprobs) + sample_idx * kMaxLogprobs;
    }
    if (!view.is_dropped && row.output.num_logits > 0 && !follows()) {
      view.num_logit_tokens = row.output.num_logits;
      view.logits =
          step.logits.as<float>() + int64_t{row.output.logits_begin} * model_->config.vocab_size;
    }
    out_view.rows.push_back(view);
    --row.sequence->num_in_flight;
  }
  for (adapter::Adapter* adapter : step.adapters) residency_.end_step(*adapter);
  // Before sequences leave: a sequence may be the last to hold an adapter that the step names by
  // pointer.
  for (adapter::Adapter* adapter : step.adapters) forget_if_unused(*adapter);
  step.adapters.clear();
  std::erase_if(leaving_, [this](const std::unique_ptr<Sequence>& sequence) {
    if (sequence->num_in_flight > 0) return false;
    destroy_sequence(*sequence);
    return true;
  });
  if (leads()) tell({.kind = CommandKind::kCollect});
}

size_t Engine::take_residency_events(adapter::ResidencyEvent* out_events, size_t capacity) {
  const std::lock_guard<std::mutex> lock(mutex_);
  return residency_.take_events(out_events, capacity);
}

void Engine::finish_collect() {
  const std::lock_guard<std::mutex> lock(mutex_);
  ++oldest_;
}

}  // namespace slora::engine
