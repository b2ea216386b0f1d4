// The machine: all states that a text may be in are followed at once, so no text takes longer than
// states * bytes.
#include "slora/adapter/pattern.hpp"

#include <utility>

#include "pattern_program.hpp"

namespace slora::adapter {
namespace {

// The states reached without reading, each once.
class StateSet {
 public:
  explicit StateSet(size_t num_instructions) : is_in_(num_instructions, false) {}

  void clear() {
    for (const int32_t state : states_) is_in_[static_cast<size_t>(state)] = false;
    states_.clear();
  }

  // Adds `state` and what follows from it before the next byte; a stack of our own, so that depth
  // costs no call stack.
  void add(const std::vector<Instruction>& program, int32_t state, bool at_begin, bool at_end) {
    pending_.push_back(state);
    while (!pending_.empty()) {
      const int32_t at = pending_.back();
      pending_.pop_back();
      if (is_in_[static_cast<size_t>(at)]) continue;
      is_in_[static_cast<size_t>(at)] = true;
      states_.push_back(at);
      const Instruction& instruction = program[static_cast<size_t>(at)];
      const bool goes_on = instruction.op == Op::kSplit ||
                           (instruction.op == Op::kBegin && at_begin) ||
                           (instruction.op == Op::kEnd && at_end);
      if (goes_on) pending_.push_back(instruction.next);
      if (instruction.op == Op::kSplit) pending_.push_back(instruction.other);
    }
  }

  const std::vector<int32_t>& states() const { return states_; }

 private:
  std::vector<bool> is_in_;
  std::vector<int32_t> states_;
  std::vector<int32_t> pending_;
};

}  // namespace

Pattern::Pattern(std::string_view expression) {
  auto program = std::make_unique<Program>();
  compile_pattern(expression, &program->instructions, &program->sets, &program->start);
  program_ = std::move(program);
}

Pattern::Pattern(Pattern&&) noexcept = default;
Pattern& Pattern::operator=(Pattern&&) noexcept = default;
Pattern::~Pattern() = default;

size_t Pattern::num_instructions() const { return program_->instructions.size(); }

bool Pattern::matches(std::string_view text) const {
  const std::vector<Instruction>& program = program_->instructions;
  StateSet now(program.size());
  StateSet next(program.size());
  now.add(program, program_->start, true, text.empty());
  for (size_t i = 0; i < text.size(); ++i) {
    next.clear();
    for (const int32_t state : now.states()) {
      const Instruction& instruction = program[static_cast<size_t>(state)];
      if (instruction.op != Op::kChar) continue;
      if (!program_
               ->sets[static_cast<size_t>(instruction.set)][static_cast<unsigned char>(text[i])])
        continue;
      next.add(program, instruction.next, false, i + 1 == text.size());
    }
    std::swap(now, next);
  }
  for (const int32_t state : now.states()) {
    if (program[static_cast<size_t>(state)].op == Op::kMatch) return true;
  }
  return false;
}

}  // namespace slora::adapter
