// Exports of engine.h.
#include "handles.hpp"
#include "sequence_options.hpp"
#include "slora/engine/ranks.hpp"

using namespace slora;
using capi::guarded;
using core::Status;

namespace slora::capi {
namespace {

ablation::ExperimentOptions read_experiment(const slora_engine_options& in) {
  const auto within = [](const char* name, int64_t value, int64_t high) {
    if (value < 0 || value > high)
      fail(Status::kInvalidArgument, name, " is ", value, ", the limit is 0..", high);
  };
  within("experiment_memory", in.experiment_memory, SLORA_EXPERIMENT_MEMORY_SPLIT);
  within("experiment_lora", in.experiment_lora, SLORA_EXPERIMENT_LORA_MERGED);
  within("experiment_concurrency", in.experiment_concurrency, 65536);
  return {static_cast<ablation::MemoryMode>(in.experiment_memory),
          static_cast<ablation::LoraMode>(in.experiment_lora), in.experiment_mean_adapter_bytes,
          static_cast<int32_t>(in.experiment_concurrency)};
}

engine::EngineOptions read_options(const slora_engine_options& in) {
  engine::EngineOptions options;
  options.tokens_per_page = in.tokens_per_page;
  options.pool_bytes = in.pool_bytes;
  options.host_adapter_bytes = in.host_adapter_bytes;
  options.max_sequences = in.max_sequences;
  options.max_batch_tokens = in.max_batch_tokens;
  options.max_batch_rows = in.max_batch_rows;
  options.max_context = in.max_context;
  options.check_every_step = in.check_every_step != 0;
  if (in.eviction_policy < SLORA_EVICTION_DEFAULT || in.eviction_policy > SLORA_EVICTION_COST) {
    fail(Status::kInvalidArgument, "eviction_policy is ", in.eviction_policy, ", the limit is ",
         static_cast<int>(SLORA_EVICTION_DEFAULT), "..", static_cast<int>(SLORA_EVICTION_COST));
  }
  options.eviction = static_cast<adapter::EvictionKind>(in.eviction_policy);
  options.experiment = read_experiment(in);
  options.recording = static_cast<engine::RecordingMode>(in.recording);
  options.max_recordings = in.max_recordings;
  options.recording_bytes = in.recording_bytes;
#if defined(SLORA_CHECK_EVERY_STEP)
  options.check_every_step = true;
#endif
  return options;
}

slora_traffic to_abi(const comm::GroupTraffic& traffic, const model::ShardSpec& shard) {
  slora_traffic abi = SLORA_TRAFFIC_INIT;
  abi.tp_size = static_cast<uint32_t>(shard.tp_size);
  abi.all_reduces = traffic.all_reduce.calls;
  abi.all_reduce_bytes = traffic.all_reduce.bytes;
  abi.all_gathers = traffic.all_gather.calls;
  abi.all_gather_bytes = traffic.all_gather.bytes;
  abi.broadcasts = traffic.broadcast.calls;
  abi.broadcast_bytes = traffic.broadcast.bytes;
  abi.sent_bytes =
      traffic.all_reduce.sent_bytes + traffic.all_gather.sent_bytes + traffic.broadcast.sent_bytes;
  abi.messages = traffic.messages.calls;
  abi.message_bytes = traffic.messages.bytes;
  return abi;
}

slora_pool_counters to_abi(const engine::PoolCounters& in) {
  slora_pool_counters out = SLORA_POOL_COUNTERS_INIT;
  out.total_pages = in.total_pages;
  out.free_pages = in.free_pages;
  out.kv_pages = in.kv_pages;
  out.adapter_pages = in.adapter_pages;
  out.evictable_pages = in.evictable_pages;
  out.num_sequences = in.num_sequences;
  out.resident_adapters = in.resident_adapters;
  out.host_adapters = in.host_adapters;
  out.host_adapter_bytes = in.host_adapter_bytes;
  out.adapter_loads = in.residency.loads;
  out.adapter_load_bytes = in.residency.load_bytes;
  out.adapter_hits = in.residency.hits;
  out.adapter_evictions = in.residency.evictions;
  out.adapter_waited_loads = in.residency.waited_loads;
  out.adapter_unused_loads = in.residency.unused_loads;
  out.preemptions = in.preemptions;
  out.steps = in.steps;
  out.tokens = in.tokens;
  out.recordings = in.recordings.count;
  out.start_recordings = in.recordings.at_start;
  out.recording_bytes = in.recordings.bytes;
  out.recording_ns = in.recordings.ns;
  out.recordings_made = in.recordings.made;
  out.recordings_dropped = in.recordings.dropped;
  out.replayed_steps = in.recordings.replays;
  return out;
}

void read_rows(const slora_plan& plan, std::vector<engine::PlanRow>& out_rows) {
  if (plan.num_rows > 0) require(plan.rows, "plan.rows");
  out_rows.clear();
  for (uint32_t i = 0; i < plan.num_rows; ++i) {
    const slora_plan_row& row = plan.rows[i];
    constexpr uint32_t kKnownFlags = SLORA_ROW_SAMPLE | SLORA_ROW_LOGITS;
    if ((row.flags & ~kKnownFlags) != 0 || row.reserved0 != 0) {
      fail(Status::kInvalidPlan, "row ", i, ": flags are ", row.flags, " (reserved ", row.reserved0,
           "), known are 1 and 2");
    }
    out_rows.push_back({row.sequence_id, row.num_tokens, row.first_token,
                        (row.flags & SLORA_ROW_SAMPLE) != 0, (row.flags & SLORA_ROW_LOGITS) != 0});
  }
}

void check_room(const slora_step_result& result, const engine::StepNeeds& needs) {
  auto check = [](const char* name, const void* array, uint64_t capacity, uint64_t needed) {
    if (capacity < needed || (needed > 0 && !array)) {
      fail(Status::kInvalidArgument, name, "_capacity is ", array ? capacity : 0,
           ", the step needs ", needed);
    }
  };
  check("rows", result.rows, result.rows_capacity, needs.rows);
  check("logprobs", result.logprobs, result.logprobs_capacity, needs.logprobs);
  check("logits", result.logits, result.logits_capacity, needs.logits);
  if (result.events_capacity > 0) require(result.events, "events");
}

void write_rows(const engine::StepView& view, int64_t vocab_size, slora_step_result& out) {
  uint64_t num_logprobs = 0, num_logits = 0;
  out.num_rows = static_cast<uint32_t>(view.rows.size());
  for (size_t i = 0; i < view.rows.size(); ++i) {
    const engine::StepView::Row& row = view.rows[i];
    slora_row_result& result = out.rows[i];
    result = {};
    result.sequence_id = row.sequence_id;
    result.token_id = row.token_id;
    result.logprob = row.logprob;
    if (row.is_dropped) result.flags |= SLORA_ROW_RESULT_DROPPED;
    if (row.token_id >= 0) result.flags |= SLORA_ROW_RESULT_SAMPLED;
    result.num_logprobs = static_cast<uint32_t>(row.num_logprobs);
    result.logprobs_offset = num_logprobs;
    for (int32_t k = 0; k < row.num_logprobs; ++k) {
      out.logprobs[num_logprobs++] = {row.top_tokens[k], row.top_logprobs[k]};
    }
    result.num_logit_tokens = static_cast<uint32_t>(row.num_logit_tokens);
    result.logits_offset = num_logits;
    if (row.num_logit_tokens > 0) {
      const auto floats =
          static_cast<uint64_t>(row.num_logit_tokens) * static_cast<uint64_t>(vocab_size);
      std::memcpy(out.logits + num_logits, row.logits, floats * sizeof(float));
      num_logits += floats;
    }
  }
}

// The engine's events go through a small array of ours: the two structs are the same in all but
// type.
uint64_t write_events(engine::Engine& engine, slora_step_result& out) {
  constexpr size_t kChunk = 64;
  adapter::ResidencyEvent events[kChunk];
  uint64_t written = 0;
  do {
    const size_t count = engine.take_residency_events(
        events, std::min<size_t>(kChunk, static_cast<size_t>(out.events_capacity - written)));
    for (size_t i = 0; i < count; ++i) {
      out.events[written++] = {
          events[i].adapter_id,
          events[i].is_loaded ? SLORA_RESIDENCY_LOADED : SLORA_RESIDENCY_EVICTED, 0};
    }
    if (count < kChunk) break;
  } while (written < out.events_capacity);
  return written;
}

slora_engine* create_engine(const char* site, slora_model* model,
                            const slora_engine_options* options, slora_progress* progress,
                            slora_error* error) {
  return guarded_create<slora_engine>(site, error, [&] {
    require(model, "model");
    const slora_engine_options in = read_struct(options, "options");
    CallerProgress listener(progress);
    auto* handle =
        new slora_engine{engine::create_engine(model->model, read_options(in), &listener), {}, {}};
    count_handle("slora_engine", 1);
    return handle;
  });
}

}  // namespace
}  // namespace slora::capi

extern "C" {

slora_engine* slora_engine_create(slora_model* model, const slora_engine_options* options,
                                  slora_error* error) {
  return capi::create_engine("slora_engine_create", model, options, nullptr, error);
}

slora_engine* slora_engine_create_watched(slora_model* model, const slora_engine_options* options,
                                          slora_progress* progress, slora_error* error) {
  return capi::create_engine("slora_engine_create_watched", model, options, progress, error);
}

void slora_engine_destroy(slora_engine* engine) {
  if (!engine) return;
  guarded("slora_engine_destroy", nullptr, [&] {
    engine->engine->shutdown();
    return Status::kOk;
  });
  capi::count_handle("slora_engine", -1);
  delete engine;
}

int32_t slora_engine_get_geometry(const slora_engine* engine, slora_engine_geometry* out_geometry,
                                  slora_error* error) {
  return guarded("slora_engine_get_geometry", error, [&] {
    capi::require(engine, "engine");
    const memory::ArenaGeometry& arena = engine->engine->geometry();
    const engine::EngineLimits& limits = engine->engine->limits();
    slora_engine_geometry out = SLORA_ENGINE_GEOMETRY_INIT;
    out.tokens_per_page = static_cast<uint32_t>(arena.tokens_per_page);
    out.page_bytes = static_cast<uint64_t>(arena.page_bytes);
    out.num_pages = static_cast<uint32_t>(arena.num_pages);
    out.num_layers = static_cast<uint32_t>(arena.num_layers);
    out.max_sequences = static_cast<uint32_t>(limits.max_sequences);
    out.max_batch_tokens = static_cast<uint32_t>(limits.max_batch_tokens);
    out.max_batch_rows = static_cast<uint32_t>(limits.max_batch_rows);
    out.max_context = static_cast<uint32_t>(limits.max_context);
    out.vocab_size = static_cast<uint32_t>(engine->engine->model().config.vocab_size);
    out.max_logprobs = static_cast<uint32_t>(engine::kMaxLogprobs);
    out.arena_bytes = static_cast<uint64_t>(arena.arena_bytes());
    capi::write_struct(out_geometry, out, "out_geometry");
    return Status::kOk;
  });
}

int32_t slora_engine_get_counters(const slora_engine* engine, slora_pool_counters* out_counters,
                                  slora_error* error) {
  return guarded("slora_engine_get_counters", error, [&] {
    capi::require(engine, "engine");
    capi::write_struct(out_counters, capi::to_abi(engine->engine->counters()), "out_counters");
    return Status::kOk;
  });
}

int32_t slora_engine_get_traffic(const slora_engine* engine, slora_traffic* out_traffic,
                                 slora_error* error) {
  return guarded("slora_engine_get_traffic", error, [&] {
    capi::require(engine, "engine");
    capi::write_struct(out_traffic,
                       capi::to_abi(engine->engine->traffic(), engine->engine->model().shard),
                       "out_traffic");
    return Status::kOk;
  });
}

int32_t slora_engine_get_page_owners(const slora_engine* engine, uint8_t* out_owners,
                                     uint64_t capacity, slora_error* error) {
  return guarded("slora_engine_get_page_owners", error, [&] {
    capi::require(engine, "engine");
    capi::require(out_owners, "out_owners");
    engine->engine->page_owners({out_owners, static_cast<size_t>(capacity)});
    return Status::kOk;
  });
}

int32_t slora_engine_check(slora_engine* engine, slora_error* error) {
  return guarded("slora_engine_check", error, [&] {
    capi::require(engine, "engine");
    engine->engine->check();
    return Status::kOk;
  });
}

int32_t slora_sequence_create(slora_engine* engine, const slora_sequence_options* options,
                              slora_error* error) {
  return guarded("slora_sequence_create", error, [&] {
    capi::require(engine, "engine");
    const slora_sequence_options in = capi::read_struct(options, "options");
    const engine::SequenceOptions sequence = capi::read_sequence_options(in);
    for (const int32_t token : sequence.bias_tokens) {
      const int64_t vocab_size = engine->engine->model().config.vocab_size;
      if (token < 0 || token >= vocab_size) {
        core::fail(Status::kInvalidArgument, "sampling.logit_bias names token ", token,
                   ", the limit is 0..", vocab_size - 1);
      }
    }
    return engine->engine->create_sequence(sequence);
  });
}

int32_t slora_sequence_release(slora_engine* engine, uint64_t sequence_id, slora_error* error) {
  return guarded("slora_sequence_release", error, [&] {
    capi::require(engine, "engine");
    engine->engine->release_sequence(sequence_id);
    return Status::kOk;
  });
}

int32_t slora_sequence_preempt(slora_engine* engine, uint64_t sequence_id, slora_error* error) {
  return guarded("slora_sequence_preempt", error, [&] {
    capi::require(engine, "engine");
    engine->engine->preempt_sequence(sequence_id);
    return Status::kOk;
  });
}

int32_t slora_sequence_get_info(const slora_engine* engine, uint64_t sequence_id,
                                slora_sequence_info* out_info, slora_error* error) {
  return guarded("slora_sequence_get_info", error, [&] {
    capi::require(engine, "engine");
    const engine::SequenceInfo in = engine->engine->sequence_info(sequence_id);
    slora_sequence_info out = SLORA_SEQUENCE_INFO_INIT;
    out.num_tokens = in.num_tokens;
    out.num_computed = in.num_computed;
    out.num_pages = in.num_pages;
    capi::write_struct(out_info, out, "out_info");
    return Status::kOk;
  });
}

int32_t slora_engine_submit(slora_engine* engine, const slora_plan* plan, slora_error* error) {
  return guarded("slora_engine_submit", error, [&] {
    capi::require(engine, "engine");
    const slora_plan in = capi::read_struct(plan, "plan");
    capi::read_rows(in, engine->rows);
    if (in.num_prefetch > 0) capi::require(in.prefetch_adapter_ids, "plan.prefetch_adapter_ids");
    return engine->engine->submit(engine->rows, {in.prefetch_adapter_ids, in.num_prefetch});
  });
}

int32_t slora_engine_collect(slora_engine* engine, slora_step_result* result, slora_error* error) {
  return guarded("slora_engine_collect", error, [&] {
    capi::require(engine, "engine");
    slora_step_result out = capi::read_struct(result, "result");
    engine::StepNeeds needs{};
    if (!engine->engine->await_oldest(&needs)) return Status::kNothingInFlight;
    capi::check_room(out, needs);
    engine->engine->collect(engine->view);
    capi::write_rows(engine->view, engine->engine->model().config.vocab_size, out);
    engine->engine->finish_collect();
    out.num_events = capi::write_events(*engine->engine, out);
    out.step_idx = engine->view.step_idx;
    out.device_ns = engine->view.device_ns;
    if (out.pool)
      capi::write_struct(out.pool, capi::to_abi(engine->engine->counters()), "result.pool");
    capi::write_struct(result, out, "result");
    return Status::kOk;
  });
}

}  // extern "C"
