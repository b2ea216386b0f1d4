// The library's own table of struct layouts, as its compiler sees them: what bindings are tested
// against. The generated list gives the names only; offsets and sizes are computed here.
#include "guard.hpp"

#define SLORA_LAYOUT_STRUCT(type, bytes) {#type, nullptr, 0, sizeof(type)},
#define SLORA_LAYOUT_FIELD(type, field, offset, bytes) \
  {#type, #field, offsetof(type, field), sizeof(type::field)},

namespace {

constexpr slora_layout_entry kLayout[] = {
#include "layout_table.inc"
};

}  // namespace

extern "C" {

uint64_t slora_layout_count(void) { return sizeof kLayout / sizeof kLayout[0]; }

const slora_layout_entry* slora_layout_get(uint64_t entry_idx) {
  return entry_idx < slora_layout_count() ? &kLayout[entry_idx] : nullptr;
}

}  // extern "C"
