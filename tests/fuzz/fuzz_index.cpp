// model.safetensors.index.json over two shards that exist.
#include "fuzz.hpp"
#include "slora/model/safetensors.hpp"

using namespace slora;

namespace {

std::string shard(const char* tensor) {
  return fuzz::safetensors_of(std::string("{\"") + tensor +
                              R"(":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})");
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const fuzz::Scratch scratch;
  static const bool has_shards = [] {
    scratch.write("a.safetensors", shard("a"));
    scratch.write("b.safetensors", shard("b"));
    return true;
  }();
  SLORA_FUZZ_REQUIRE(has_shards);
  scratch.write("model.safetensors.index.json", fuzz::as_text(data, size));
  fuzz::accepts([&] {
    const auto tensors = model::TensorSet::open_model(scratch.path());
    for (const std::string& name : tensors.names()) {
      SLORA_FUZZ_REQUIRE(name == "a" || name == "b");
      SLORA_FUZZ_REQUIRE(tensors.get(name).num_elements() == 2);
    }
  });
  return 0;
}
