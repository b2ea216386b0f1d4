// Struct layouts: the headers under this compiler, the generated numbers, and the library's own
// table are one.

#include <gtest/gtest.h>
#include <slora/slora.h>

#include <cstddef>
#include <map>
#include <string>
#include <utility>

#define SLORA_LAYOUT_STRUCT(type, size) static_assert(sizeof(type) == (size));
#define SLORA_LAYOUT_FIELD(type, field, offset, size) \
  static_assert(offsetof(type, field) == (offset) && sizeof(type::field) == (size));
#include "layout_table.inc"
#undef SLORA_LAYOUT_STRUCT
#undef SLORA_LAYOUT_FIELD

namespace {

// "slora_error.status" (or "slora_error") → offset, size.
using Layouts = std::map<std::string, std::pair<uint64_t, uint64_t>>;

Layouts expected_layouts() {
  return {
#define SLORA_LAYOUT_STRUCT(type, size) {#type, {0, size}},
#define SLORA_LAYOUT_FIELD(type, field, offset, size) {#type "." #field, {offset, size}},
#include "layout_table.inc"
#undef SLORA_LAYOUT_STRUCT
#undef SLORA_LAYOUT_FIELD
  };
}

TEST(Layout, LibraryTableEqualsTheHeaders) {
  Layouts actual;
  for (uint64_t i = 0; i < slora_layout_count(); ++i) {
    const slora_layout_entry* entry = slora_layout_get(i);
    ASSERT_NE(entry, nullptr);
    std::string name = entry->struct_name;
    if (entry->field_name != nullptr) name += std::string(".") + entry->field_name;
    EXPECT_TRUE(actual.emplace(name, std::pair(entry->offset_bytes, entry->size_bytes)).second)
        << name << " is listed twice";
  }
  EXPECT_EQ(actual, expected_layouts());
}

TEST(Layout, PastTheEndIsNull) { EXPECT_EQ(slora_layout_get(slora_layout_count()), nullptr); }

}  // namespace
