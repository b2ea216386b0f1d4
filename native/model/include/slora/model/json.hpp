// JSON from files that may be hostile: bounded in bytes, depth and keys, duplicate keys refused.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace slora::model {

using Json = nlohmann::json;
// Keeps the order of keys, which PEFT's pattern rules depend on. Its look-up is linear, hence
// kMaxOrderedKeys.
using OrderedJson = nlohmann::ordered_json;

inline constexpr int32_t kMaxJsonDepth = 64;
inline constexpr uint64_t kMaxConfigBytes = uint64_t{16} << 20;
inline constexpr uint64_t kMaxOrderedKeys = 10000;

// `where` begins every message ("path" or "path (header)"). kFormat if the text is no JSON object,
// nests deeper than kMaxJsonDepth or names a key twice in one object. The parser does not recurse,
// so depth costs no stack.
Json parse_json_object(std::string_view text, const std::string& where);
OrderedJson parse_ordered_json_object(std::string_view text, const std::string& where);

// Maps and parses a configuration file of at most kMaxConfigBytes.
Json read_json_object(const std::string& path);
OrderedJson read_ordered_json_object(const std::string& path);

}  // namespace slora::model
