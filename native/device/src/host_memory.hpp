// Memory of the host backend.
#pragma once

#include <cstdint>

namespace slora::device {

// Null if there is none. Aligned to 64 bytes; blocks of 2 MiB and more to huge pages.
void* allocate_host_memory(uint64_t bytes);
// Takes what allocate_host_memory gave, or null.
void free_host_memory(void* memory);

}  // namespace slora::device
