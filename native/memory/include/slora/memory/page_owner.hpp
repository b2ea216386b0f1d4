// Whose a page is.
#pragma once

#include <cstdint>

namespace slora::memory {

// The values are those of enum slora_page_owner.
enum class PageOwner : uint8_t { kFree = 0, kKv = 1, kAdapter = 2 };

}  // namespace slora::memory
