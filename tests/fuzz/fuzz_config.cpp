// config.json, and what is computed from one that is accepted before any weight is read.
#include "fuzz.hpp"
#include "slora/model/config.hpp"
#include "slora/model/module_table.hpp"

using namespace slora;

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::accepts([&] {
    const auto config = model::parse_config(std::string(fuzz::as_text(data, size)), "config.json");
    SLORA_FUZZ_REQUIRE(config.architecture != nullptr);
    SLORA_FUZZ_REQUIRE(config.num_heads % config.num_kv_heads == 0);
    SLORA_FUZZ_REQUIRE(config.rotary_size <= config.head_size && config.rotary_size % 2 == 0);
    SLORA_FUZZ_REQUIRE(config.windows.size() == static_cast<size_t>(config.num_layers));
    const auto table = model::module_table(config);
    for (int32_t i = 0; i < table.num_modules(); ++i)
      SLORA_FUZZ_REQUIRE(!table.full_name(config.num_layers - 1, i).empty());
    const int64_t context = std::min<int64_t>(config.max_context, 16);
    const auto rope = model::rope_table(config, context);
    SLORA_FUZZ_REQUIRE(rope.size() == static_cast<size_t>(context * config.rotary_size));
  });
  return 0;
}
