// Commands between ranks: what is read is what was written, and a message cut or lengthened
// anywhere is refused.
#include "command.hpp"

#include <gtest/gtest.h>

#include <random>

namespace slora::engine {
namespace {

std::vector<Command> one_of_each() {
  std::vector<Command> commands;
  const auto add = [&](CommandKind kind) -> Command& {
    commands.emplace_back().kind = kind;
    return commands.back();
  };
  Command& create = add(CommandKind::kCreateSequence);
  create.settled = {1, 2};
  create.prompt = {5, 6, 7};
  create.sequence.sequence_id = 42;
  create.sequence.max_tokens = 99;
  create.sequence.adapters = {{3, 0.5f}, {9, -1.0f}};
  create.sequence.sampling.temperature = 0.75f;
  create.sequence.sampling.seed = 0x123456789abcdefu;
  create.sequence.bias_tokens = {7, 8};
  create.sequence.bias_values = {1.5f, -2.0f};
  add(CommandKind::kReleaseSequence).id = 4;
  add(CommandKind::kPreemptSequence).id = 5;
  Command& submit = add(CommandKind::kSubmit);
  submit.settled = {8};
  submit.rows = {{1, 2, 3, true, false}, {4, 5, 6, false, true}};
  submit.prefetch = {11, 12};
  submit.free_pages = 77;
  add(CommandKind::kCollect);
  Command& begin = add(CommandKind::kBeginLoad);
  begin.ticket = 3;
  begin.adapter.path = "/some/adapter";
  begin.adapter.is_pinned = true;
  begin.adapter.synthetic_lora_rank = 6;
  Command& end = add(CommandKind::kEndLoad);
  end.ticket = 3;
  end.id = 8;
  add(CommandKind::kUnload).id = 8;
  Command& pin = add(CommandKind::kSetPinned);
  pin.id = 8;
  pin.is_pinned = true;
  add(CommandKind::kShutdown);
  add(CommandKind::kCloseEngine);
  Command& model = add(CommandKind::kLoadModel);
  model.model.path = "/some/model";
  model.model.tp_size = 4;
  model.model.lora_sharding = model::LoraSharding::kFull;
  Command& open = add(CommandKind::kOpenEngine);
  open.engine.pool_bytes = 1 << 20;
  open.engine.max_context = 128;
  open.engine.overlap_tokens = 2048;
  add(CommandKind::kLeave);
  return commands;
}

TEST(Commands, AreReadAsTheyWereWritten) {
  for (const Command& command : one_of_each()) {
    SCOPED_TRACE(command_name(command.kind));
    const std::vector<uint8_t> bytes = encode(command);
    const Command read = decode(bytes);
    // Every field that a kind carries is in its bytes, and no other.
    EXPECT_EQ(encode(read), bytes);
    EXPECT_EQ(read.kind, command.kind);
    EXPECT_EQ(read.settled, command.settled);
    EXPECT_EQ(read.id, command.id);
    EXPECT_EQ(read.ticket, command.ticket);
    EXPECT_EQ(read.is_pinned, command.is_pinned);
    EXPECT_EQ(read.prompt, command.prompt);
    EXPECT_EQ(read.prefetch, command.prefetch);
    EXPECT_EQ(read.free_pages, command.free_pages);
    EXPECT_EQ(read.adapter.path, command.adapter.path);
    EXPECT_EQ(read.adapter.is_pinned, command.adapter.is_pinned);
    EXPECT_EQ(read.adapter.synthetic_lora_rank, command.adapter.synthetic_lora_rank);
    EXPECT_EQ(read.model.path, command.model.path);
    EXPECT_EQ(read.model.tp_size, command.model.tp_size);
    EXPECT_EQ(read.model.lora_sharding, command.model.lora_sharding);
    EXPECT_EQ(read.engine.pool_bytes, command.engine.pool_bytes);
    EXPECT_EQ(read.engine.max_context, command.engine.max_context);
    EXPECT_EQ(read.engine.overlap_tokens, command.engine.overlap_tokens);
    EXPECT_EQ(read.sequence.sequence_id, command.sequence.sequence_id);
    EXPECT_EQ(read.sequence.sampling.seed, command.sequence.sampling.seed);
    EXPECT_EQ(read.sequence.bias_values, command.sequence.bias_values);
    ASSERT_EQ(read.sequence.adapters.size(), command.sequence.adapters.size());
    EXPECT_EQ(read.sequence.num_prompt_tokens, command.prompt.size());
    ASSERT_EQ(read.rows.size(), command.rows.size());
    for (size_t i = 0; i < read.rows.size(); ++i) {
      EXPECT_EQ(read.rows[i].sequence_id, command.rows[i].sequence_id);
      EXPECT_EQ(read.rows[i].first_token, command.rows[i].first_token);
      EXPECT_EQ(read.rows[i].wants_sample, command.rows[i].wants_sample);
      EXPECT_EQ(read.rows[i].wants_logits, command.rows[i].wants_logits);
    }
  }
}

TEST(Commands, CutOrLengthenedAreRefused) {
  for (const Command& command : one_of_each()) {
    SCOPED_TRACE(command_name(command.kind));
    std::vector<uint8_t> bytes = encode(command);
    for (size_t length = 0; length < bytes.size(); ++length)
      EXPECT_THROW(decode(std::span(bytes).first(length)), core::Error) << length;
    bytes.push_back(0);
    EXPECT_THROW(decode(bytes), core::Error);
  }
  EXPECT_THROW(decode(std::vector<uint8_t>(64, 0xff)), core::Error);
}

// Foreign bytes end in a command or in a refusal, whatever they are.
TEST(Commands, OfRandomBytesDoNoHarm) {
  std::mt19937 random(9);
  const std::vector<Command> commands = one_of_each();
  for (int i = 0; i < 20000; ++i) {
    std::vector<uint8_t> bytes = encode(commands[random() % commands.size()]);
    for (int change = 0; change < 3; ++change)
      bytes[random() % bytes.size()] = static_cast<uint8_t>(random());
    try {
      encode(decode(bytes));
    } catch (const core::Error& error) {
      EXPECT_EQ(error.status(), core::Status::kInternal);
    }
  }
}

}  // namespace
}  // namespace slora::engine
