// An expression, a zero byte, a text. The program's size is bounded, and matching knows the text by
// its bytes alone: the same text in other memory gives the same answer, and an expression in
// brackets means what it meant without.
#include "fuzz.hpp"
#include "slora/adapter/pattern.hpp"

using namespace slora;

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input = fuzz::as_text(data, size);
  const size_t end = std::min(input.find('\0'), input.size());
  const std::string_view expression = input.substr(0, end);
  const std::string_view text = input.substr(std::min(end + 1, input.size())).substr(0, 200);
  fuzz::accepts([&] {
    const adapter::Pattern pattern(expression);
    SLORA_FUZZ_REQUIRE(pattern.num_instructions() <= 2001);
    const bool is_match = pattern.matches(text);
    fuzz::accepts([&] {
      const adapter::Pattern grouped("(?:" + std::string(expression) + ")");
      SLORA_FUZZ_REQUIRE(grouped.matches(std::string(text)) == is_match);
    });
    fuzz::accepts([&] {
      const adapter::Pattern either("(?:" + std::string(expression) + ")|(?:.|\n){0,300}");
      SLORA_FUZZ_REQUIRE(either.matches(text));
    });
  });
  return 0;
}
