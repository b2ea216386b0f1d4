// Typed reads of a config.json's keys, each refused with its name, value and limit.
#include "slora/model/config_reader.hpp"

#include <cmath>

#include "slora/core/status.hpp"
#include "slora/model/quote.hpp"

namespace slora::model {

using core::fail;
using core::Status;
using core::str_cat;

ConfigReader::ConfigReader(const Json& json, std::string where, std::string prefix)
    : json_(json), where_(std::move(where)), prefix_(std::move(prefix)) {}

const Json* ConfigReader::find(std::string_view key) const {
  const auto found = json_.find(key);
  return found == json_.end() || found->is_null() ? nullptr : &*found;
}

int64_t ConfigReader::integer(std::string_view key, int64_t min, int64_t max,
                              std::optional<int64_t> fallback) const {
  const Json* value = find(key);
  if (!value && fallback) return *fallback;
  if (!value) fail(Status::kFormat, where_, ": ", name(key), " is missing");
  if (!value->is_number_integer()) fail_format(key, "is not an integer");
  const bool is_huge =
      value->is_number_unsigned() && value->get<uint64_t>() > static_cast<uint64_t>(INT64_MAX);
  if (is_huge || value->get<int64_t>() < min || value->get<int64_t>() > max) {
    fail_format(key, str_cat("is not in [", min, ", ", max, "]"));
  }
  return value->get<int64_t>();
}

double ConfigReader::number(std::string_view key, double min, double max,
                            std::optional<double> fallback) const {
  const Json* value = find(key);
  if (!value && fallback) return *fallback;
  if (!value) fail(Status::kFormat, where_, ": ", name(key), " is missing");
  if (!value->is_number()) fail_format(key, "is not a number");
  const double number = value->get<double>();
  if (!(number >= min && number <= max))
    fail_format(key, str_cat("is not in [", min, ", ", max, "]"));
  return number;
}

bool ConfigReader::boolean(std::string_view key, bool fallback) const {
  const Json* value = find(key);
  if (!value) return fallback;
  if (!value->is_boolean()) fail_format(key, "is not true or false");
  return value->get<bool>();
}

std::string ConfigReader::string(std::string_view key, std::string_view fallback) const {
  const Json* value = find(key);
  if (!value) return std::string(fallback);
  if (!value->is_string()) fail_format(key, "is not a string");
  return value->get<std::string>();
}

std::vector<int64_t> ConfigReader::token_ids(std::string_view key) const {
  const Json* value = find(key);
  if (!value) return {};
  const Json list = value->is_array() ? *value : Json::array({*value});
  std::vector<int64_t> ids;
  for (const Json& id : list) {
    // Ids past the vocabulary occur in published files (-1 for "none"); they can never be sampled.
    if (!id.is_number_integer()) fail_format(key, "is not a token id or a list of them");
    ids.push_back(id.get<int64_t>());
  }
  return ids;
}

void ConfigReader::fail_format(std::string_view key, const std::string& what) const {
  const Json* value = find(key);
  fail(Status::kFormat, where_, ": ", name(key), " ", value ? value_text(*value) : "null", " ",
       what);
}

void ConfigReader::fail_unsupported(std::string_view key, const std::string& why) const {
  const Json* value = find(key);
  fail(Status::kUnsupported, where_, ": ", name(key), " = ", value ? value_text(*value) : "null",
       " ", why);
}

std::string ConfigReader::name(std::string_view key) const { return prefix_ + std::string(key); }

std::string value_text(const Json& value) {
  std::string text = value.dump();
  // The dump is JSON, so it has no control characters and a cut may only split UTF-8.
  constexpr size_t kMaxBytes = 120;
  if (text.size() <= kMaxBytes) return text;
  size_t kept = kMaxBytes;
  while (kept > 0 && (static_cast<unsigned char>(text[kept]) & 0xc0) == 0x80) --kept;
  return text.substr(0, kept) + "...";
}

bool is_truthy(const Json& value) {
  switch (value.type()) {
    case Json::value_t::null:
      return false;
    case Json::value_t::boolean:
      return value.get<bool>();
    case Json::value_t::number_integer:
    case Json::value_t::number_unsigned:
    case Json::value_t::number_float:
      return value.get<double>() != 0;
    case Json::value_t::string:
      return !value.get_ref<const std::string&>().empty();
    default:
      return !value.empty();
  }
}

}  // namespace slora::model
