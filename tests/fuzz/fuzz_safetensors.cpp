// A safetensors file: raw bytes if the input begins with 'r', else a header over zeros.
#include "fuzz.hpp"
#include "slora/model/safetensors.hpp"

using namespace slora;

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const fuzz::Scratch scratch;
  if (size == 0) return 0;
  const std::string_view rest = fuzz::as_text(data + 1, size - 1);
  const std::string path = scratch.write(
      "model.safetensors", data[0] == 'r' ? std::string(rest) : fuzz::safetensors_of(rest));
  fuzz::accepts([&] {
    const auto file = model::SafetensorsFile::open(path);
    for (const auto& [name, entry] : file.entries()) {
      fuzz::accepts([&, &tensor_name = name] {
        const model::TensorRef tensor = file.tensor(tensor_name);
        const auto values = model::to_floats(tensor);
        SLORA_FUZZ_REQUIRE(static_cast<int64_t>(values.size()) == tensor.num_elements());
        model::check_finite(tensor);
      });
    }
  });
  return 0;
}
