// Small blocks come from the C library. Large ones are mapped one by one: in its heaps, one a
// thread, images of adapters that come and go leave holes of megabytes behind, and a process that
// holds 50 MB of them grows by as much again. Under gcc's AddressSanitizer all come from the C
// library, which then knows their bounds.
#include "host_memory.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <mutex>
#include <new>
#include <unordered_map>

namespace slora::device {
namespace {

constexpr uint64_t kHugePage = 2u << 20;
constexpr uint64_t kSmallAlignment = 64;

// 0 where it does not fit.
uint64_t round_up(uint64_t bytes, uint64_t unit) {
  const uint64_t rounded = (bytes + unit - 1) / unit * unit;
  return rounded < bytes ? 0 : rounded;
}

void* allocate_aligned(uint64_t bytes, uint64_t alignment) {
  const uint64_t rounded = bytes == 0 ? alignment : round_up(bytes, alignment);
  return rounded == 0 ? nullptr : std::aligned_alloc(alignment, rounded);
}

#if defined(__SANITIZE_ADDRESS__)

void* allocate_large(uint64_t bytes) { return allocate_aligned(bytes, kHugePage); }
bool try_free_large(void*) { return false; }

#else

struct Mapped {
  std::mutex mutex;
  std::unordered_map<void*, uint64_t> bytes;
};

// Never destroyed: threads may give blocks back while the process exits.
Mapped& mapped_blocks() {
  static auto* const blocks = new Mapped;
  return *blocks;
}

// Maps a huge page more than it needs and gives back what lies before the first boundary and
// behind the end.
void* allocate_large(uint64_t bytes) {
  const uint64_t length = round_up(bytes, static_cast<uint64_t>(sysconf(_SC_PAGESIZE)));
  if (length == 0 || length + kHugePage < length) return nullptr;
  void* mapped =
      mmap(nullptr, length + kHugePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) return nullptr;
  const auto begin = reinterpret_cast<uintptr_t>(mapped);
  const uintptr_t aligned = round_up(begin, kHugePage);
  if (aligned > begin) (void)munmap(mapped, aligned - begin);
  void* memory = reinterpret_cast<void*>(aligned);
  if (const uint64_t behind = begin + kHugePage - aligned; behind > 0)
    (void)munmap(reinterpret_cast<void*>(aligned + length), behind);
#if defined(MADV_HUGEPAGE)
  // Weights are read front to back once a step, and with 4 KiB pages a third of that bandwidth
  // goes into address translation.
  (void)madvise(memory, length, MADV_HUGEPAGE);
#endif
  try {
    Mapped& blocks = mapped_blocks();
    const std::lock_guard<std::mutex> lock(blocks.mutex);
    blocks.bytes.emplace(memory, length);
  } catch (const std::bad_alloc&) {
    (void)munmap(memory, length);
    return nullptr;
  }
  return memory;
}

bool try_free_large(void* memory) {
  if (reinterpret_cast<uintptr_t>(memory) % kHugePage != 0) return false;
  Mapped& blocks = mapped_blocks();
  uint64_t length = 0;
  {
    const std::lock_guard<std::mutex> lock(blocks.mutex);
    const auto entry = blocks.bytes.find(memory);
    if (entry == blocks.bytes.end()) return false;
    length = entry->second;
    blocks.bytes.erase(entry);
  }
  (void)munmap(memory, length);
  return true;
}

#endif

}  // namespace

void* allocate_host_memory(uint64_t bytes) {
  return bytes >= kHugePage ? allocate_large(bytes) : allocate_aligned(bytes, kSmallAlignment);
}

void free_host_memory(void* memory) {
  if (memory && !try_free_large(memory)) std::free(memory);
}

}  // namespace slora::device
