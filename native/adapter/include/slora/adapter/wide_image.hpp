// The parts of an adapter that change the embedding or the head, as one block of device memory.
//
// They live beside the pages, for as long as the adapter does: a whole matrix is larger than what
// the pool's slices give one layer, and rows that a kernel finds by token id must lie in one piece.
#pragma once

#include <cstdint>

#include "slora/adapter/adapter_source.hpp"
#include "slora/core/wide_module.hpp"

namespace slora::adapter {

// Bytes of the block; 0 if the adapter changes neither.
uint64_t wide_image_bytes(const AdapterSource& source, core::DType dtype);

// Fills `block` with what shall lie at `device_address`: core::WideModule [2] (embedding, head),
// then their arrays. kUnsupported naming the tensor if a value does not fit the dtype.
void pack_wide_image(const AdapterSource& source, core::DType dtype, uint8_t* block,
                     const uint8_t* device_address);

}  // namespace slora::adapter
