// One function names the fields of a kind, for writing and for reading, so that the two cannot
// differ.
#include "command.hpp"

#include "message.hpp"

namespace slora::engine {
namespace {

class Writing {
 public:
  template <typename T>
  void field(const T& value) {
    writer.put(value);
  }
  template <typename T>
  void array(const std::vector<T>& values) {
    writer.put_array(values);
  }
  template <typename T, typename Each>
  void each(const std::vector<T>& values, const Each& fields) {
    writer.put(static_cast<uint64_t>(values.size()));
    for (const T& value : values) fields(value);
  }
  MessageWriter writer;
};

class Reading {
 public:
  explicit Reading(std::span<const uint8_t> bytes) : reader(bytes) {}

  template <typename T>
  void field(T& value) {
    reader.get(value);
  }
  template <typename T>
  void array(std::vector<T>& values) {
    reader.get_array(values);
  }
  template <typename T, typename Each>
  void each(std::vector<T>& values, const Each& fields) {
    values.resize(reader.count(1));
    for (T& value : values) fields(value);
  }
  MessageReader reader;
};

template <typename Io, typename Options>
void walk_sequence(Io& io, Options& sequence) {
  io.field(sequence.sequence_id);
  io.field(sequence.max_tokens);
  io.field(sequence.sampling);
  io.each(sequence.adapters, [&](auto& use) {
    io.field(use.adapter_id);
    io.field(use.weight);
  });
  io.array(sequence.bias_tokens);
  io.array(sequence.bias_values);
}

template <typename Io, typename Options>
void walk_model(Io& io, Options& model) {
  io.field(model.path);
  io.field(model.backend);
  io.field(model.compute_dtype);
  io.field(model.is_synthetic);
  io.field(model.synthetic_seed);
  io.field(model.tp_size);
  io.field(model.lora_sharding);
}

template <typename Io, typename Options>
void walk_engine(Io& io, Options& engine) {
  io.field(engine.tokens_per_page);
  io.field(engine.pool_bytes);
  io.field(engine.host_adapter_bytes);
  io.field(engine.max_sequences);
  io.field(engine.max_batch_tokens);
  io.field(engine.max_batch_rows);
  io.field(engine.max_context);
  io.field(engine.check_every_step);
  io.field(engine.eviction);
  io.field(engine.recording);
  io.field(engine.max_recordings);
  io.field(engine.recording_bytes);
  io.field(engine.overlap_tokens);
}

template <typename Io, typename Options>
void walk_adapter(Io& io, Options& adapter) {
  io.field(adapter.path);
  io.field(adapter.synthetic_seed);
  io.field(adapter.synthetic_lora_rank);
  io.field(adapter.synthetic_modules);
  io.field(adapter.is_pinned);
  io.field(adapter.image_of_id);
}

template <typename Io, typename AnyCommand>
void walk(Io& io, AnyCommand& command) {
  io.field(command.kind);
  io.array(command.settled);
  switch (command.kind) {
    case CommandKind::kCreateSequence:
      walk_sequence(io, command.sequence);
      return io.array(command.prompt);
    case CommandKind::kReleaseSequence:
    case CommandKind::kPreemptSequence:
    case CommandKind::kUnload:
      return io.field(command.id);
    case CommandKind::kSubmit:
      io.each(command.rows, [&](auto& row) {
        io.field(row.sequence_id);
        io.field(row.num_tokens);
        io.field(row.first_token);
        io.field(row.wants_sample);
        io.field(row.wants_logits);
      });
      io.array(command.prefetch);
      return io.field(command.free_pages);
    case CommandKind::kMakeRoom:
      return io.field(command.room);
    case CommandKind::kBeginLoad:
      io.field(command.ticket);
      return walk_adapter(io, command.adapter);
    case CommandKind::kEndLoad:
      io.field(command.ticket);
      return io.field(command.id);
    case CommandKind::kSetPinned:
      io.field(command.id);
      return io.field(command.is_pinned);
    case CommandKind::kLoadModel:
      return walk_model(io, command.model);
    case CommandKind::kOpenEngine:
      return walk_engine(io, command.engine);
    case CommandKind::kCollect:
    case CommandKind::kShutdown:
    case CommandKind::kCloseEngine:
    case CommandKind::kLeave:
      return;
  }
  core::fail(core::Status::kInternal, "rank 0 sent a command of unknown kind ",
             static_cast<int>(command.kind));
}

}  // namespace

const char* command_name(CommandKind kind) {
  switch (kind) {
    case CommandKind::kCreateSequence:
      return "create a sequence";
    case CommandKind::kReleaseSequence:
      return "release a sequence";
    case CommandKind::kPreemptSequence:
      return "preempt a sequence";
    case CommandKind::kSubmit:
      return "submit a step";
    case CommandKind::kCollect:
      return "collect a step";
    case CommandKind::kBeginLoad:
      return "begin to load an adapter";
    case CommandKind::kEndLoad:
      return "end the load of an adapter";
    case CommandKind::kUnload:
      return "unload an adapter";
    case CommandKind::kSetPinned:
      return "pin an adapter";
    case CommandKind::kMakeRoom:
      return "make room for a step";
    case CommandKind::kShutdown:
      return "shut down";
    case CommandKind::kCloseEngine:
      return "close the engine";
    case CommandKind::kLoadModel:
      return "load a model";
    case CommandKind::kOpenEngine:
      return "open an engine";
    case CommandKind::kLeave:
      return "leave";
  }
  return "?";
}

std::vector<uint8_t> encode(const Command& command) {
  Writing io;
  walk(io, command);
  return io.writer.take();
}

Command decode(std::span<const uint8_t> bytes) {
  Reading io(bytes);
  Command command;
  walk(io, command);
  io.reader.expect_end();
  command.sequence.prompt_tokens = command.prompt.data();
  command.sequence.num_prompt_tokens = static_cast<uint32_t>(command.prompt.size());
  return command;
}

}  // namespace slora::engine
