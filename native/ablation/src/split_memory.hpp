// Memory as systems without unified paging have it: a fixed contiguous region for adapters, each in
// one piece by first fit, and the rest for KV. Neither takes the other's.
#pragma once

#include <memory>

#include "slora/adapter/page_room.hpp"
#include "slora/memory/page_placement.hpp"

namespace slora::ablation {

// The region is the last `region_pages` of the pool.
std::unique_ptr<memory::PagePlacement> split_placement(int32_t num_pages, int32_t region_pages);
std::unique_ptr<adapter::PageRoom> split_room(memory::PagePool& pool,
                                              adapter::ResidencyCache& cache, int32_t num_pages,
                                              int32_t region_pages);

}  // namespace slora::ablation
