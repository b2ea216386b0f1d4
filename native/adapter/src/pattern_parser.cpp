// Python's expression syntax to a tree, by recursive descent of bounded depth, and the tree to
// instructions.
#include <algorithm>
#include <string>

#include "pattern_program.hpp"
#include "slora/core/status.hpp"
#include "slora/model/quote.hpp"

namespace slora::adapter {
namespace {

using core::fail;
using core::Status;

constexpr size_t kMaxExpressionBytes = 4096;
constexpr size_t kMaxInstructions = 2000;
// Bounds the work where repetitions of nothing add no instruction.
constexpr int32_t kMaxVisits = 20000;
constexpr int32_t kMaxGroupDepth = 32;
constexpr int32_t kMaxRepeat = 1000;
constexpr int32_t kUnbounded = -1;

// What an expression says, before instructions: a tree whose nodes lie in one vector.
struct Node {
  enum class Kind : uint8_t { kSet, kBegin, kEnd, kSequence, kChoice, kRepeat };
  Kind kind = Kind::kSequence;
  CharSet set;                 // kSet
  std::vector<int32_t> parts;  // kSequence, kChoice, kRepeat (one)
  int32_t min = 0;             // kRepeat
  int32_t max = 0;             // kRepeat; kUnbounded
};

CharSet range(char first, char last) {
  CharSet set;
  for (int c = first; c <= last; ++c) set.set(static_cast<size_t>(c));
  return set;
}

CharSet digits() { return range('0', '9'); }

CharSet word_chars() {
  return range('0', '9') | range('a', 'z') | range('A', 'Z') | range('_', '_');
}

CharSet spaces() { return range('\t', '\r') | range(' ', ' '); }

CharSet any_but_newline() { return ~range('\n', '\n'); }

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {
    if (text.size() > kMaxExpressionBytes) {
      fail(Status::kFormat, "pattern ", model::quote(text), " has ", text.size(),
           " bytes; the limit is ", kMaxExpressionBytes);
    }
  }

  std::vector<Node> parse(int32_t* out_root) {
    *out_root = choice(0);
    if (at_ < text_.size()) fail_format("has a ) without (");
    return std::move(nodes_);
  }

 private:
  [[noreturn]] void fail_format(const std::string& why) const {
    fail(Status::kFormat, "pattern ", model::quote(text_), " ", why);
  }
  [[noreturn]] void fail_unsupported(const std::string& why) const {
    fail(Status::kUnsupported, "pattern ", model::quote(text_), " uses ", why,
         ", which is not implemented");
  }

  bool has_more() const { return at_ < text_.size(); }
  bool next_is(char c) const { return has_more() && text_[at_] == c; }
  bool take(char c) { return next_is(c) && (++at_, true); }

  int32_t add(Node node) {
    nodes_.push_back(std::move(node));
    return static_cast<int32_t>(nodes_.size()) - 1;
  }

  int32_t choice(int32_t depth) {
    if (depth > kMaxGroupDepth)
      fail_format(core::str_cat("nests deeper than ", kMaxGroupDepth, " groups"));
    Node node;
    node.kind = Node::Kind::kChoice;
    do {
      node.parts.push_back(sequence(depth));
    } while (take('|'));
    return add(std::move(node));
  }

  int32_t sequence(int32_t depth) {
    Node node;
    node.kind = Node::Kind::kSequence;
    while (has_more() && !next_is('|') && !next_is(')')) node.parts.push_back(repeated(depth));
    return add(std::move(node));
  }

  int32_t repeated(int32_t depth) {
    int32_t operand = atom(depth);
    bool is_repeated = false;
    int32_t min = 0;
    int32_t max = 0;
    while (quantifier(&min, &max)) {
      if (is_repeated) fail_format("repeats a repetition");
      const Node::Kind kind = nodes_[static_cast<size_t>(operand)].kind;
      if (kind == Node::Kind::kBegin || kind == Node::Kind::kEnd)
        fail_unsupported("a repeated anchor");
      is_repeated = true;
      if (take('+')) fail_unsupported("a possessive quantifier");
      take('?');  // lazy: whether there is a match does not depend on it
      Node node;
      node.kind = Node::Kind::kRepeat;
      node.parts = {operand};
      node.min = min;
      node.max = max;
      operand = add(std::move(node));
    }
    return operand;
  }

  bool quantifier(int32_t* out_min, int32_t* out_max) {
    if (take('*')) return *out_min = 0, *out_max = kUnbounded, true;
    if (take('+')) return *out_min = 1, *out_max = kUnbounded, true;
    if (take('?')) return *out_min = 0, *out_max = 1, true;
    return counted(out_min, out_max);
  }

  // {m}, {m,}, {,n}, {m,n}; anything else after '{' is a literal brace, as in Python.
  bool counted(int32_t* out_min, int32_t* out_max) {
    const size_t begin = at_;
    if (!take('{')) return false;
    const int32_t min = number();
    const bool has_comma = take(',');
    const int32_t max = has_comma ? number() : min;
    if (!take('}') || (min < 0 && max < 0)) {
      at_ = begin;
      return false;
    }
    *out_min = std::max(min, 0);
    *out_max = max < 0 ? kUnbounded : max;
    if (*out_max != kUnbounded && *out_max < *out_min)
      fail_format("has a repetition whose minimum is above its maximum");
    return true;
  }

  int32_t number() {
    if (!has_more() || !digits()[static_cast<unsigned char>(text_[at_])]) return -1;
    int32_t value = 0;
    while (has_more() && digits()[static_cast<unsigned char>(text_[at_])]) {
      value = value * 10 + (text_[at_++] - '0');
      if (value > kMaxRepeat)
        fail_format(core::str_cat("repeats more than ", kMaxRepeat, " times"));
    }
    return value;
  }

  int32_t atom(int32_t depth) {
    const char c = text_[at_++];
    switch (c) {
      case '(':
        return group(depth);
      case '[':
        return set_node(bracket());
      case '.':
        return set_node(any_but_newline());
      case '\\':
        return set_node(escape(false));
      case '^':
        return anchor(Node::Kind::kBegin);
      case '$':
        return anchor(Node::Kind::kEnd);
      case '*':
      case '+':
      case '?':
        fail_format(core::str_cat("has nothing to repeat before ", c));
      default:
        return set_node(range_of(c));
    }
  }

  int32_t group(int32_t depth) {
    if (take('?')) {
      const bool is_named = next_is('P') && text_.substr(at_).starts_with("P<");
      if (is_named) {
        at_ = std::min(text_.find('>', at_), text_.size() - 1) + 1;
      } else if (!take(':')) {
        fail_unsupported("a (? group");
      }
    }
    const int32_t inner = choice(depth + 1);
    if (!take(')')) fail_format("has a ( without )");
    return inner;
  }

  int32_t anchor(Node::Kind kind) {
    Node node;
    node.kind = kind;
    return add(std::move(node));
  }

  int32_t set_node(const CharSet& set) {
    Node node;
    node.kind = Node::Kind::kSet;
    node.set = set;
    return add(std::move(node));
  }

  static CharSet range_of(char c) {
    CharSet set;
    return set.set(static_cast<unsigned char>(c));
  }

  CharSet escape(bool in_bracket) {
    if (!has_more()) fail_format("ends in a backslash");
    const char c = text_[at_++];
    switch (c) {
      case 'd':
        return digits();
      case 'D':
        return ~digits();
      case 'w':
        return word_chars();
      case 'W':
        return ~word_chars();
      case 's':
        return spaces();
      case 'S':
        return ~spaces();
      case 'n':
        return range_of('\n');
      case 't':
        return range_of('\t');
      default:
        break;
    }
    const bool is_letter_or_digit = word_chars()[static_cast<unsigned char>(c)] && c != '_';
    if (is_letter_or_digit)
      fail_unsupported(core::str_cat("\\", c, in_bracket ? " in a class" : ""));
    return range_of(c);
  }

  CharSet bracket() {
    const bool is_negated = take('^');
    CharSet set;
    for (bool is_first = true; is_first || !next_is(']'); is_first = false) {
      if (!has_more()) fail_format("has a [ without ]");
      const CharSet first = bracket_item();
      const bool is_range = next_is('-') && at_ + 1 < text_.size() && text_[at_ + 1] != ']';
      if (!is_range) {
        set |= first;
        continue;
      }
      ++at_;
      set |= bracket_range(first, bracket_item());
    }
    ++at_;
    return is_negated ? ~set : set;
  }

  CharSet bracket_item() {
    const char c = text_[at_++];
    return c == '\\' ? escape(true) : range_of(c);
  }

  CharSet bracket_range(const CharSet& first, const CharSet& last) {
    if (first.count() != 1 || last.count() != 1)
      fail_format("has a range that does not go from one character to another");
    const size_t begin = first._Find_first();
    const size_t end = last._Find_first();
    if (begin > end) fail_format("has a range that runs backwards");
    CharSet set;
    for (size_t c = begin; c <= end; ++c) set.set(c);
    return set;
  }

  std::string_view text_;
  size_t at_ = 0;
  std::vector<Node> nodes_;
};

// Emits nodes backwards: `next` is where to go on after the node; the answer is where the node
// begins.
class Emitter {
 public:
  Emitter(std::string_view text, const std::vector<Node>& nodes) : text_(text), nodes_(nodes) {}

  int32_t emit(int32_t node_idx, int32_t next) {
    const Node& node = nodes_[static_cast<size_t>(node_idx)];
    if (++num_visits_ > kMaxVisits) fail_too_large();
    switch (node.kind) {
      case Node::Kind::kSet:
        sets_.push_back(node.set);
        return add({Op::kChar, next, -1, static_cast<int32_t>(sets_.size()) - 1});
      case Node::Kind::kBegin:
        return add({Op::kBegin, next});
      case Node::Kind::kEnd:
        return add({Op::kEnd, next});
      case Node::Kind::kSequence:
        for (size_t i = node.parts.size(); i-- > 0;) next = emit(node.parts[i], next);
        return next;
      case Node::Kind::kChoice:
        return choice(node, next);
      case Node::Kind::kRepeat:
        return repeat(node, next);
    }
    return next;
  }

  int32_t add(Instruction instruction) {
    if (instructions_.size() >= kMaxInstructions) fail_too_large();
    instructions_.push_back(instruction);
    return static_cast<int32_t>(instructions_.size()) - 1;
  }

  std::vector<Instruction> take_instructions() { return std::move(instructions_); }
  std::vector<CharSet> take_sets() { return std::move(sets_); }

 private:
  [[noreturn]] void fail_too_large() const {
    fail(Status::kFormat, "pattern ", model::quote(text_),
         " is too large once its repetitions are written out");
  }

  int32_t choice(const Node& node, int32_t next) {
    int32_t begin = emit(node.parts.back(), next);
    for (size_t i = node.parts.size() - 1; i-- > 0;) {
      const int32_t first = emit(node.parts[i], next);
      begin = add({Op::kSplit, first, begin});
    }
    return begin;
  }

  int32_t repeat(const Node& node, int32_t next) {
    const int32_t operand = node.parts[0];
    if (node.max == kUnbounded) {
      const int32_t loop = add({Op::kSplit, -1, next});
      instructions_[static_cast<size_t>(loop)].next = emit(operand, loop);
      next = loop;
    } else {
      const int32_t end = next;
      for (int32_t i = node.min; i < node.max; ++i) {
        const int32_t once = emit(operand, next);
        next = add({Op::kSplit, once, end});
      }
    }
    for (int32_t i = 0; i < node.min; ++i) next = emit(operand, next);
    return next;
  }

  std::string_view text_;
  const std::vector<Node>& nodes_;
  int32_t num_visits_ = 0;
  std::vector<Instruction> instructions_;
  std::vector<CharSet> sets_;
};

}  // namespace

void compile_pattern(std::string_view expression, std::vector<Instruction>* out_instructions,
                     std::vector<CharSet>* out_sets, int32_t* out_start) {
  int32_t root = 0;
  const std::vector<Node> nodes = Parser(expression).parse(&root);
  Emitter emitter(expression, nodes);
  const int32_t match = emitter.add({Op::kMatch});
  *out_start = emitter.emit(root, match);
  *out_instructions = emitter.take_instructions();
  *out_sets = emitter.take_sets();
}

}  // namespace slora::adapter
