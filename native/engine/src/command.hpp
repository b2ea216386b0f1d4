// What rank 0 tells the other ranks: every call that changes an engine's state, in the order in
// which it changed rank 0's. Calls that change nothing (refused, deferred) are not told.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "slora/engine/engine.hpp"
#include "slora/engine/model.hpp"

namespace slora::engine {

enum class CommandKind : uint8_t {
  kCreateSequence = 1,
  kReleaseSequence,
  kPreemptSequence,
  kSubmit,
  kCollect,
  kBeginLoad,  // of an adapter: read and pack it
  kEndLoad,    // all ranks say how that went; then all register the adapter, or all forget it
  kUnload,
  kSetPinned,
  kMakeRoom,  // for a step, told of before it, since it may yet be deferred
  kShutdown,
  kCloseEngine,
  // To ranks that are processes.
  kLoadModel,
  kOpenEngine,
  kLeave,
};

const char* command_name(CommandKind kind);

// The fields that a kind uses are named behind it; the others are empty.
struct Command {
  CommandKind kind{};
  // Adapters that rank 0 has seen to be resident since its last command. When a copy has ended
  // depends on time, so rank 0 decides, and the others wait for their own copies of these.
  std::vector<uint64_t> settled = {};
  uint64_t id = 0;      // sequence (release, preempt), adapter (unload, set pinned, end of a load)
  uint64_t ticket = 0;  // of a load
  bool is_pinned = false;                // set pinned
  SequenceOptions sequence = {};         // create sequence = {}; prompt_tokens points into `prompt`
  std::vector<int32_t> prompt = {};      // likewise
  std::vector<PlanRow> rows = {};        // submit
  std::vector<uint64_t> prefetch = {};   // submit
  uint32_t free_pages = 0;               // submit: on rank 0 before the step
  forward::ForwardPass::Room room = {};  // make room
  AdapterOptions adapter = {};           // begin of a load
  ModelOptions model = {};               // load model
  EngineOptions engine = {};             // open engine
};

std::vector<uint8_t> encode(const Command& command);
// kInternal for what encode() does not make.
Command decode(std::span<const uint8_t> bytes);

}  // namespace slora::engine
