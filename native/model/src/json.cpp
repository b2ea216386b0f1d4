// The depth and the keys are checked in the parser's callback, before the value grows.
#include "slora/model/json.hpp"

#include <set>
#include <vector>

#include "slora/core/status.hpp"
#include "slora/model/mapped_file.hpp"
#include "slora/model/quote.hpp"

namespace slora::model {
namespace {

using core::fail;
using core::Status;

// One set of keys for each object that is open.
class Limits {
 public:
  Limits(const std::string& where, uint64_t max_keys) : where_(where), max_keys_(max_keys) {}

  void open() {
    if (open_.size() >= static_cast<size_t>(kMaxJsonDepth)) {
      fail(Status::kFormat, where_, ": JSON nests deeper than ", kMaxJsonDepth, " levels");
    }
    open_.emplace_back();
  }
  void close() { open_.pop_back(); }

  void key(const std::string& name) {
    std::set<std::string>& keys = open_.back();
    if (!keys.insert(name).second)
      fail(Status::kFormat, where_, ": key ", quote(name), " appears twice");
    if (keys.size() > max_keys_)
      fail(Status::kFormat, where_, ": an object has more than ", max_keys_, " keys");
  }

 private:
  const std::string& where_;
  uint64_t max_keys_;
  std::vector<std::set<std::string>> open_;
};

template <typename Value>
Value parse(std::string_view text, const std::string& where, uint64_t max_keys) {
  using Event = typename Value::parse_event_t;
  Limits limits(where, max_keys);
  const auto watch = [&](int, Event event, Value& value) {
    switch (event) {
      case Event::object_start:
      case Event::array_start:
        limits.open();
        break;
      case Event::object_end:
      case Event::array_end:
        limits.close();
        break;
      case Event::key:
        limits.key(value.template get_ref<const std::string&>());
        break;
      case Event::value:
        break;
    }
    return true;
  };
  Value value;
  try {
    value = Value::parse(text.begin(), text.end(), watch);
  } catch (const typename Value::parse_error& error) {
    fail(Status::kFormat, where, ": not valid JSON at byte ", error.byte);
  } catch (const nlohmann::json::exception& error) {
    fail(Status::kFormat, where, ": JSON value out of range (exception ", error.id, ")");
  }
  if (!value.is_object())
    fail(Status::kFormat, where, ": JSON is no object but ", value.type_name());
  return value;
}

}  // namespace

Json parse_json_object(std::string_view text, const std::string& where) {
  return parse<Json>(text, where, UINT64_MAX);
}

OrderedJson parse_ordered_json_object(std::string_view text, const std::string& where) {
  return parse<OrderedJson>(text, where, kMaxOrderedKeys);
}

Json read_json_object(const std::string& path) {
  const MappedFile file = MappedFile::open(path, kMaxConfigBytes);
  return parse_json_object(file.text(), path_text(path));
}

OrderedJson read_ordered_json_object(const std::string& path) {
  const MappedFile file = MappedFile::open(path, kMaxConfigBytes);
  return parse_ordered_json_object(file.text(), path_text(path));
}

}  // namespace slora::model
