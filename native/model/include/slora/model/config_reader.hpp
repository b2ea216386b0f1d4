// Values of a JSON configuration with their limits: every refusal names file, key, value and limit.
// A null is a missing key, as in Python's config.get(key).
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "slora/model/json.hpp"

namespace slora::model {

class ConfigReader {
 public:
  // `json` must outlive the reader. `prefix` stands before keys in messages ("rope_scaling.").
  ConfigReader(const Json& json, std::string where, std::string prefix = "");

  const Json* find(std::string_view key) const;  // null if missing or null
  const Json& json() const { return json_; }

  // Without `fallback` the key must be there.
  int64_t integer(std::string_view key, int64_t min, int64_t max,
                  std::optional<int64_t> fallback = {}) const;
  double number(std::string_view key, double min, double max,
                std::optional<double> fallback = {}) const;
  bool boolean(std::string_view key, bool fallback) const;
  std::string string(std::string_view key, std::string_view fallback) const;
  std::vector<int64_t> token_ids(std::string_view key) const;  // an integer, a list or nothing

  [[noreturn]] void fail_format(std::string_view key, const std::string& what) const;
  [[noreturn]] void fail_unsupported(std::string_view key, const std::string& why) const;

 private:
  std::string name(std::string_view key) const;

  const Json& json_;
  std::string where_;
  std::string prefix_;
};

// What a value looks like in a message, at bounded length.
std::string value_text(const Json& value);

// Whether Python would take the value as true.
bool is_truthy(const Json& value);

}  // namespace slora::model
