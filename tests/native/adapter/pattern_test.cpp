// Patterns of module names, against Python's answers, and what is refused.
#include "slora/adapter/pattern.hpp"

#include <chrono>

#include "model/test_files.hpp"

namespace slora::adapter {
namespace {

using core::Status;
using test::expect_refused;

TEST(Pattern, AgreesWithPythonsFullmatch) {
  // Expected by python3 -c "import re; print(bool(re.fullmatch(P, T)))".
  const struct {
    const char* pattern;
    const char* text;
    bool matches;
  } cases[] = {
      {"", "", true},
      {"", "a", false},
      {"q_proj", "q_proj", true},
      {"q_proj", "xq_proj", false},
      {"q.proj", "q_proj", true},
      {"q\\.proj", "q_proj", false},
      {".*\\.layers\\.0\\..*(q_proj|gate_proj)", "model.layers.0.mlp.gate_proj", true},
      {".*\\.layers\\.0\\..*(q_proj|gate_proj)", "model.layers.10.mlp.gate_proj", false},
      {"layers\\.[0-9]+", "layers.12", true},
      {"layers\\.[^0-9]+", "layers.12", false},
      {"layers\\.\\d{2}", "layers.12", true},
      {"layers\\.\\d{2}", "layers.123", false},
      {"a{2,3}", "aaaa", false},
      {"a{2,}", "aaaa", true},
      {"a{,2}", "", true},
      {"a{,2}", "aaa", false},
      {"a{x}", "a{x}", true},
      {"(?:a|b)+c?", "ababc", true},
      {"(?P<n>a|b)*?", "abab", true},
      {"(a|)b", "b", true},
      {"^a$", "a", true},
      {"a^b", "ab", false},
      {"(^|x)a($|y)", "a", true},
      {"[]a]+", "]a", true},
      {"[^]a]", "b", true},
      {"[a\\]]+", "]a", true},
      {"[a-]+", "-a", true},
      {"[\\w.]+", "a_1.b", true},
      {"\\W", "a", false},
      {"()*", "", true},
      {"(a*)*", "aaa", true},
      {"(a*)+b", "aaac", false},
  };
  for (const auto& test : cases)
    EXPECT_EQ(Pattern(test.pattern).matches(test.text), test.matches) << test.pattern;
}

TEST(Pattern, WhatPythonRefusesIsAFormatError) {
  for (const char* pattern :
       {"(", ")", "a)(", "[a", "*a", "a**", "a{3,2}", "\\", "[b-a]", "(?:a"}) {
    expect_refused(Status::kFormat, {"pattern '"}, [&] { Pattern{pattern}; });
  }
}

TEST(Pattern, WhatIsNotImplementedIsNamed) {
  for (const char* pattern : {"(?=a)", "(?!a)", "(?<=a)b", "(?i)a", "(a)\\1", "\\bq", "a*+"}) {
    expect_refused(Status::kUnsupported, {pattern, "is not implemented"},
                   [&] { Pattern{pattern}; });
  }
}

// Backtracking matchers take exponential time for the first two and overflow the stack for the
// third.
TEST(Pattern, HostilePatternsEndQuickly) {
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_FALSE(Pattern("(a+)+b").matches(std::string(10000, 'a')));
  EXPECT_FALSE(Pattern("(a|a|aa)*b").matches(std::string(10000, 'a')));
  EXPECT_TRUE(Pattern(".*").matches(std::string(1'000'000, 'a')));
  expect_refused(Status::kFormat, {"too large"}, [] { Pattern("((a{1000}){1000}){1000}"); });
  expect_refused(Status::kFormat, {"too large"},
                 [] { Pattern("(((((){1000}){1000}){1000}){1000}){1000}"); });
  expect_refused(Status::kFormat, {"nests deeper"}, [] { Pattern(std::string(4000, '(')); });
  expect_refused(Status::kFormat, {"5000 bytes; the limit is 4096"},
                 [] { Pattern(std::string(5000, 'a')); });
  expect_refused(Status::kFormat, {"more than 1000 times"}, [] { Pattern("a{99999999999}"); });
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(10));
}

}  // namespace
}  // namespace slora::adapter
