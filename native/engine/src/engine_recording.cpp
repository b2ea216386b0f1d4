// Decode steps by recordings: which shape a step is packed for, how a shape is recorded on all
// ranks or none, and the common shapes before the first sequence. Which recording serves a step is
// GraphCache's.
#include <algorithm>
#include <chrono>
#include <cstring>

#include "graph_cache.hpp"
#include "rank_answer.hpp"
#include "slora/core/check.hpp"
#include "slora/core/log.hpp"
#include "slora/engine/engine.hpp"
#include "step.hpp"

namespace slora::engine {

using core::Status;

namespace {

// Prompts of this many tokens with adapters of kMostCommonRank find room that recordings need not
// make way for.
constexpr int64_t kPromptTokens = 2048;

uint32_t all_modules(const model::ModuleTable& modules) {
  return static_cast<uint32_t>((uint64_t{1} << modules.num_modules()) - 1);
}

class Stopwatch {
 public:
  uint64_t ns() const {
    return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(
                                     std::chrono::steady_clock::now() - begin_)
                                     .count());
  }

 private:
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

}  // namespace

bool Engine::pack_shape(Step& step, const batch::DecodeShape& shape, batch::Batch& out_batch,
                        uint64_t& out_bytes) {
  return step.staging.pack_shape(step.inputs, shape, arena_.geometry().tokens_per_page,
                                 model_->modules.num_modules(), compute_, shape_block_,
                                 step.outputs, out_batch, out_bytes);
}

void Engine::run_shape(const batch::Batch& batch) {
  forward_.run(compute_, batch, {history_.as<int32_t>(), history_stride_});
  sample(batch);
}

// Room for the tables of a shape on the device. False: there is no memory for it, and the step runs
// without a shape; ranks of a group cannot each decide that, so there it is a failure.
bool Engine::make_shape_room(Step& step, uint64_t bytes) {
  // Steps in flight read the block and recordings name it.
  compute_.synchronize();
  try {
    const uint64_t wanted = std::max<uint64_t>(2 * bytes, 1 << 20);
    step.staging.make_room({}, wanted);
    shape_block_ = device::Buffer(model_->backend.device, device::MemoryKind::kDevice, wanted);
  } catch (const core::Error& failure) {
    if (group_ || failure.status() != Status::kOutOfMemory) throw;
    return false;
  }
  graphs_->clear();
  return true;
}

// Runs a decode step by a recording, or on the way to one. False if it has no shape, or there is no
// memory for it; then nothing was enqueued.
bool Engine::launch_shape(Step& step, batch::Batch& out_batch) {
  if (!graphs_->is_enabled() || (experiment_ && !experiment_->allows_graphs())) return false;
  const auto shape = batch::decode_shape(step.inputs, limits_.max_batch_rows);
  if (!shape) return false;
  GraphCache::Turn turn = graphs_->next(*shape);
  uint64_t bytes = 0;
  if (!pack_shape(step, turn.shape, out_batch, bytes)) {
    if (!make_shape_room(step, bytes)) return false;
    turn = graphs_->next(*shape);
    SLORA_CHECK(pack_shape(step, turn.shape, out_batch, bytes));
  }
  // A recording has no place for waits. By the time that an adapter's row decodes, its prompt has
  // waited for nearly every load.
  for (const adapter::Adapter* adapter : step.adapters)
    residency_.order_after_load(*adapter, compute_);
  if (turn.way == GraphCache::Way::kRecord) tune_matmuls(step, turn.shape.rows);
  const bool is_recorded =
      turn.way == GraphCache::Way::kReplay ||
      (turn.way == GraphCache::Way::kRecord && try_record(turn.shape, out_batch));
  if (is_recorded) {
    compute_.launch(graphs_->replay(turn.shape));
  } else {
    run_shape(out_batch);
  }
  return true;
}

bool Engine::have_memory(const RankAnswer& own, uint64_t& out_most) const {
  bool is_enough = true;
  out_most = 0;
  for (const RankAnswer& answer :
       group_ ? exchange_answers(*group_, own) : std::vector<RankAnswer>{own}) {
    if (answer.status == Status::kOutOfMemory) {
      is_enough = false;
    } else if (answer.status != Status::kOk) {
      answer.raise();
    }
    out_most = std::max(out_most, answer.value);
  }
  return is_enough;
}

// The ranks record at the same place of the same step, as NCCL wants it, and each hears how that
// went on the others: a recording that one rank lacks would let their choices differ from here on.
bool Engine::try_record(const batch::DecodeShape& shape, const batch::Batch& batch) {
  if (!graphs_->make_room(compute_)) return false;
  const Stopwatch watch;
  RankAnswer own;
  std::unique_ptr<device::Graph> graph;
  own.note([&] {
    graph = compute_.record([&] { run_shape(batch); });
    own.value = graph->bytes();
  });
  uint64_t bytes = 0;
  const bool is_made = have_memory(own, bytes);
  if (!is_made) graphs_->stop_growing();
  const bool is_kept = is_made && graphs_->put(shape, std::move(graph), bytes);
  graphs_->add_time(watch.ns());
  core::log(core::LogLevel::kDebug, is_kept ? "recorded" : "there is no memory to record",
            " a decode step of ", shape.rows, " rows, ", shape.table_stride,
            " pages a sequence, lora_rank up to ", shape.max_lora_rank);
  return is_kept;
}

// A step of padding alone, which writes nothing: it loads the kernels and connects the ranks, which
// a recording does not allow. Waited for, since the next one is packed into the same memory.
void Engine::run_padding(const batch::DecodeShape& shape, batch::Batch& out_batch) {
  const Stopwatch watch;
  Step& step = *steps_[0];
  step.inputs.clear();
  uint64_t bytes = 0;
  SLORA_CHECK(pack_shape(step, shape, out_batch, bytes));
  run_shape(out_batch);
  rest(step);
  graphs_->add_time(watch.ns());
  tune_matmuls(step, shape.rows);
}

// Waits for all that is on the stream.
void Engine::rest(Step& step) {
  step.end.record(compute_);
  if (group_) {
    group_->synchronize(step.end);
  } else {
    step.end.synchronize();
  }
}

// Before the first recording of so many rows, since what is recorded stays.
void Engine::tune_matmuls(Step& step, int32_t rows) {
  if (!graphs_->limits().tunes_matmuls || !tuned_rows_.insert(rows).second) return;
  const Stopwatch watch;
  rest(step);
  forward_.tune_matmuls(compute_, rows);
  graphs_->add_time(watch.ns());
}

// Buffers that recordings name, as large as any that these shapes, and most prompts, will ask for.
void Engine::make_recording_room(std::span<const batch::DecodeShape> shapes) {
  const int64_t rows = limits_.max_batch_rows;
  const int64_t entries = std::max(rows * batch::kEntriesARow,
                                   std::min<int64_t>(limits_.max_batch_tokens, kPromptTokens));
  forward::ForwardPass::Room room;
  room.outputs = limits_.max_batch_rows;
  room.lora_t_floats = entries * kernels::kMaxFusedModules * batch::kMostCommonRank;
  if (parallel().exchanges_lora()) {
    room.lora_packed_floats =
        entries * kernels::kMaxFusedModules * (batch::kMostCommonRank + model_->shard.tp_size);
  }
  if (forward_.needs_more_room(room)) forward_.make_room(room);

  Step& step = *steps_[0];
  step.inputs.clear();
  batch::Batch unused{};
  uint64_t most_bytes = 0, bytes = 0;
  const auto measure = [&](const batch::DecodeShape& shape) {
    SLORA_CHECK(!pack_shape(step, shape, unused, bytes));
    most_bytes = std::max(most_bytes, bytes);
  };
  for (const batch::DecodeShape& shape : shapes) measure(shape);
  measure(batch::widest_shape(limits_.max_batch_rows,
                              arena_.geometry().pages_for_tokens(limits_.max_context),
                              all_modules(model_->modules)));
  // The pages of a batch's adapters are listed behind its tables: all of the pool twice, since an
  // adapter may be in several segments.
  const uint64_t page_lists =
      uint64_t{2} * sizeof(int32_t) * static_cast<uint64_t>(arena_.geometry().num_pages);
  shape_block_ =
      device::Buffer(model_->backend.device, device::MemoryKind::kDevice, most_bytes + page_lists);
  // The token that padding reads, where no prompt has been yet.
  const std::lock_guard<std::mutex> lock(upload_mutex_);
  std::memset(prompt_staging_.data(), 0, sizeof(int32_t));
  upload_.copy(history_.data(), prompt_staging_.data(), sizeof(int32_t));
  upload_.synchronize();
}

void Engine::record_at_start(model::LoadProgress* progress) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!graphs_->is_enabled() || (experiment_ && !experiment_->allows_graphs())) return;
  if (group_) {
    RankAnswer limit;
    limit.value = graphs_->limits().max_bytes;
    for (const RankAnswer& answer : agree(*group_, limit))
      graphs_->limit_bytes(std::min(graphs_->limits().max_bytes, answer.value));
  }
  if (!graphs_->limits().at_start) return;
  const std::vector<batch::DecodeShape> shapes = batch::common_shapes(
      limits_.max_batch_rows, arena_.geometry().pages_for_tokens(limits_.max_context),
      all_modules(model_->modules));
  RankAnswer room;
  room.note([&] { make_recording_room(shapes); });
  uint64_t unused = 0;
  bool goes_on = have_memory(room, unused);
  size_t num_done = 0;
  for (; goes_on && num_done < shapes.size() && graphs_->has_room(); num_done += goes_on) {
    const comm::Work work(group_.get());
    RankAnswer ran;
    batch::Batch batch{};
    ran.note([&] {
      run_padding(shapes[num_done], batch);
      // After the step, in which the other ranks wait for this one.
      if (progress && !progress->advance(num_done, shapes.size()))
        core::fail(Status::kCancelled, "recording was cancelled");
    });
    goes_on = have_memory(ran, unused) && try_record(shapes[num_done], batch);
  }
  if (progress) progress->advance(shapes.size(), shapes.size());
  graphs_->note_start();
  if (follows()) return;
  const RecordingCounters counters = graphs_->counters();
  core::log(num_done < shapes.size() ? core::LogLevel::kInfo : core::LogLevel::kDebug, "recorded ",
            num_done, " of ", shapes.size(), " common decode steps at start: ", counters.bytes,
            " bytes of device memory, ", static_cast<double>(counters.ns) * 1e-9, " s");
}

}  // namespace slora::engine
