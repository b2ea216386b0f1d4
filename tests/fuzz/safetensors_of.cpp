// A safetensors file around a header that the fuzzer made, with the data that the header asks for.
#include <nlohmann/json.hpp>

#include "fuzz.hpp"

namespace slora::fuzz {
namespace {

constexpr uint64_t kMaxData = 128 << 10;

uint64_t data_bytes(std::string_view header) {
  const auto parsed = nlohmann::json::parse(header, nullptr, false);
  uint64_t end = 0;
  if (!parsed.is_object()) return end;
  for (const auto& [name, entry] : parsed.items()) {
    if (!entry.is_object()) continue;
    const auto offsets = entry.find("data_offsets");
    if (offsets == entry.end() || !offsets->is_array() || offsets->size() != 2) continue;
    const auto& last = (*offsets)[1];
    if (last.is_number_unsigned() && last.get<uint64_t>() <= kMaxData)
      end = std::max(end, last.get<uint64_t>());
  }
  return end;
}

}  // namespace

std::string safetensors_of(std::string_view header) {
  // Data is aligned as writers align it.
  std::string padded(header);
  padded.resize((padded.size() + 7) / 8 * 8, ' ');
  std::string bytes(8, '\0');
  const uint64_t length = padded.size();
  std::memcpy(bytes.data(), &length, sizeof length);
  return bytes + padded + std::string(data_bytes(header), '\0');
}

}  // namespace slora::fuzz
