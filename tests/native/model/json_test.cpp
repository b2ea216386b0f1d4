// JSON as read, and what is refused.
#include "slora/model/json.hpp"

#include "model/test_files.hpp"

namespace slora::model {
namespace {

using core::Status;
using test::expect_refused;

TEST(Json, KeepsKeyOrderWhereAsked) {
  const OrderedJson json = parse_ordered_json_object(R"({"z": 1, "a": 2})", "x");
  EXPECT_EQ(json.begin().key(), "z");
}

TEST(Json, DepthAtTheLimitIsReadAndOnePastItIsNot) {
  const auto nested = [](int depth) {
    return "{\"a\":" + std::string(depth - 1, '[') + std::string(depth - 1, ']') + "}";
  };
  EXPECT_NO_THROW(parse_json_object(nested(kMaxJsonDepth), "x"));
  expect_refused(Status::kFormat, {"x: JSON nests deeper than 64 levels"},
                 [&] { parse_json_object(nested(kMaxJsonDepth + 1), "x"); });
}

TEST(Json, AMillionOpenBracketsAreRefusedWithoutRecursion) {
  expect_refused(Status::kFormat, {"deeper than 64"},
                 [] { parse_json_object("{\"a\":" + std::string(1'000'000, '['), "x"); });
}

TEST(Json, DuplicateKeysAreRefusedOnlyWithinOneObject) {
  EXPECT_NO_THROW(parse_json_object(R"({"a": {"k": 1}, "b": {"k": 1}})", "x"));
  expect_refused(Status::kFormat, {"key 'k' appears twice"},
                 [] { parse_json_object(R"({"a":{"k":1,"k":2}})", "x"); });
}

TEST(Json, OrderedObjectsAreBoundedInKeys) {
  std::string text = "{";
  for (uint64_t i = 0; i <= kMaxOrderedKeys; ++i)
    text += (i ? ",\"k" : "\"k") + std::to_string(i) + "\":0";
  expect_refused(Status::kFormat, {"more than 10000 keys"},
                 [&] { parse_ordered_json_object(text + "}", "x"); });
}

TEST(Json, WhatIsNoJsonObjectIsRefused) {
  expect_refused(Status::kFormat, {"not valid JSON at byte 7"},
                 [] { parse_json_object(R"({"a": })", "x"); });
  expect_refused(Status::kFormat, {"not valid JSON"}, [] { parse_json_object("", "x"); });
  expect_refused(Status::kFormat, {"not valid JSON"},
                 [] { parse_json_object("{\"a\": \"\xff\xfe\"}", "x"); });
  expect_refused(Status::kFormat, {"no object but array"}, [] { parse_json_object("[1]", "x"); });
  expect_refused(Status::kFormat, {"out of range"},
                 [] { parse_json_object("{\"a\": 1e999}", "x"); });
}

TEST(Json, ConfigurationFilesAreBoundedInBytes) {
  const test::TempFolder folder;
  const std::string path = folder.write("config.json", "{}" + std::string(kMaxConfigBytes, ' '));
  expect_refused(Status::kFormat, {"config.json: 16777218 bytes; the limit is 16777216"},
                 [&] { read_json_object(path); });
}

}  // namespace
}  // namespace slora::model
