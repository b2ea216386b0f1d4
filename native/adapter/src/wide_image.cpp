// What an adapter does to the embedding and the head, laid out as one block for the device.
#include "slora/adapter/wide_image.hpp"

#include <cstring>

#include "row_convert.hpp"
#include "slora/core/dtype.hpp"

namespace slora::adapter {
namespace {

using core::DType;
using core::WideModule;
using model::TensorRef;

// Lays arrays out one after another, on cache lines of their own; writes them if there is a block.
class WideWriter {
 public:
  WideWriter(uint8_t* block, const uint8_t* device_address, DType dtype)
      : block_(block), device_address_(device_address), dtype_(dtype) {}

  uint64_t bytes() const { return bytes_; }

  void add_header() { take(2 * sizeof(WideModule)); }

  WideModule add(const WideWeights& weights, bool is_embedding) {
    WideModule module{};
    module.lora_rank = weights.lora_rank;
    module.scale = weights.scale;
    if (weights.lora_rank > 0) {
      // Each array as the kernel walks it: whole rows of the embedding's A by token, of B by rank.
      module.a = is_embedding ? transposed(weights.a) : straight(weights.a);
      module.b = transposed(weights.b);
    }
    if (weights.rows.data) add_rows(weights, module);
    return module;
  }

  void set_header(int32_t kind, const WideModule& module) {
    if (block_)
      std::memcpy(block_ + static_cast<size_t>(kind) * sizeof module, &module, sizeof module);
  }

 private:
  uint64_t take(uint64_t size) {
    const uint64_t offset = bytes_;
    bytes_ = (bytes_ + size + 63) / 64 * 64;
    return offset;
  }

  template <typename T>
  const T* address(uint64_t offset) const {
    // As a number: there is no device address yet when the block is only measured.
    return reinterpret_cast<const T*>(reinterpret_cast<uintptr_t>(device_address_) + offset);
  }

  const float* straight(const TensorRef& tensor) {
    const int64_t count = tensor.num_elements();
    const uint64_t offset = take(static_cast<uint64_t>(count) * sizeof(float));
    if (block_) convert_row(tensor, 0, 1, count, DType::kF32, block_ + offset);
    return address<float>(offset);
  }

  const float* transposed(const TensorRef& tensor) {
    const int64_t rows = tensor.shape[0];
    const int64_t columns = tensor.shape[1];
    const uint64_t offset = take(static_cast<uint64_t>(rows * columns) * sizeof(float));
    for (int64_t column = 0; block_ && column < columns; ++column) {
      convert_row(tensor, column, columns, rows, DType::kF32,
                  block_ + offset + static_cast<uint64_t>(column * rows) * sizeof(float));
    }
    return address<float>(offset);
  }

  void add_rows(const WideWeights& weights, WideModule& module) {
    const int64_t hidden = weights.rows.shape[1];
    const bool is_whole = weights.row_ids.empty();
    module.num_rows = static_cast<int32_t>(is_whole ? weights.rows.shape[0]
                                                    : static_cast<int64_t>(weights.row_ids.size()));
    if (!is_whole) {
      const uint64_t ids = take(weights.row_ids.size() * sizeof(int32_t));
      module.row_ids = address<int32_t>(ids);
      if (block_)
        std::memcpy(block_ + ids, weights.row_ids.data(), weights.row_ids.size() * sizeof(int32_t));
    }
    const int64_t row_bytes = hidden * core::dtype_bytes(dtype_);
    const uint64_t offset = take(static_cast<uint64_t>(module.num_rows * row_bytes));
    module.rows = address<uint8_t>(offset);
    for (int64_t i = 0; block_ && i < module.num_rows; ++i) {
      const int64_t row = is_whole ? i : weights.row_order[static_cast<size_t>(i)];
      convert_row(weights.rows, row * hidden, 1, hidden, dtype_,
                  block_ + offset + static_cast<uint64_t>(i * row_bytes));
    }
  }

  uint8_t* block_;
  const uint8_t* device_address_;
  DType dtype_;
  uint64_t bytes_ = 0;
};

uint64_t write(const AdapterSource& source, DType dtype, uint8_t* block,
               const uint8_t* device_address) {
  if (!source.has_wide()) return 0;
  WideWriter writer(block, device_address, dtype);
  writer.add_header();
  writer.set_header(0, writer.add(source.embedding, true));
  writer.set_header(1, writer.add(source.head, false));
  return writer.bytes();
}

}  // namespace

uint64_t wide_image_bytes(const AdapterSource& source, DType dtype) {
  return write(source, dtype, nullptr, nullptr);
}

void pack_wide_image(const AdapterSource& source, DType dtype, uint8_t* block,
                     const uint8_t* device_address) {
  write(source, dtype, block, device_address);
}

}  // namespace slora::adapter
