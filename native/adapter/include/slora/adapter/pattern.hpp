// Regular expressions of PEFT configurations, matched in time linear in pattern times text: an
// adapter file must not be able to hang the server or run it out of stack, as a backtracking
// matcher can.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace slora::adapter {

// The subset of Python's `re` that such patterns use: literals, '.', classes, \d \w \s and their
// negations, groups, alternation, * + ? {m,n} (greedy or lazy: the answer is the same), ^ and $.
// ASCII classes. kUnsupported for what is not regular or not implemented (look-around,
// back-references, flags), kFormat for what Python refuses too; both name the pattern.
class Pattern {
 public:
  explicit Pattern(std::string_view expression);
  Pattern(Pattern&&) noexcept;
  Pattern& operator=(Pattern&&) noexcept;
  ~Pattern();

  // Python's re.fullmatch.
  bool matches(std::string_view text) const;

  // What a match costs at most for each byte of text.
  size_t num_instructions() const;

 private:
  struct Program;
  std::unique_ptr<const Program> program_;
};

}  // namespace slora::adapter
