// The header of a safetensors file and what must hold before any of its bytes is believed.
#include "slora/model/safetensors.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "slora/core/status.hpp"
#include "slora/model/json.hpp"
#include "slora/model/quote.hpp"

namespace slora::model {
namespace {

using core::fail;
using core::Status;

constexpr size_t kMaxDimensions = 8;

struct StoredType {
  std::string_view name;
  uint64_t bits;
};

// Every dtype of the format. Those that cannot be read must still be measured: they may lie beside
// ones that can.
constexpr StoredType kStoredTypes[] = {
    {"F64", 64},    {"F32", 32},        {"F16", 16},        {"BF16", 16},   {"I64", 64},
    {"I32", 32},    {"I16", 16},        {"I8", 8},          {"U64", 64},    {"U32", 32},
    {"U16", 16},    {"U8", 8},          {"BOOL", 8},        {"C64", 64},    {"F8_E4M3", 8},
    {"F8_E5M2", 8}, {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8}, {"F8_E8M0", 8}, {"F6_E2M3", 6},
    {"F6_E3M2", 6}, {"F4", 4},
};

uint64_t stored_bits(std::string_view dtype) {
  for (const StoredType& type : kStoredTypes) {
    if (type.name == dtype) return type.bits;
  }
  return 0;
}

bool read_dtype(std::string_view stored, DType* out_dtype) {
  if (stored == "F32") return *out_dtype = DType::kF32, true;
  if (stored == "BF16") return *out_dtype = DType::kBF16, true;
  if (stored == "F16") return *out_dtype = DType::kF16, true;
  return false;
}

// A length or an offset: a JSON integer that is not negative and fits in int64.
uint64_t read_count(const Json& value, const std::string& where, const char* what) {
  if (!value.is_number_integer() || (!value.is_number_unsigned() && value.get<int64_t>() < 0) ||
      value.get<uint64_t>() > static_cast<uint64_t>(INT64_MAX)) {
    fail(Status::kFormat, where, ": ", what, " is ", quote(value.dump()), ", not a count");
  }
  return value.get<uint64_t>();
}

std::vector<int64_t> read_shape(const Json& entry, const std::string& where) {
  const auto shape = entry.find("shape");
  if (shape == entry.end() || !shape->is_array()) fail(Status::kFormat, where, ": no shape");
  if (shape->size() > kMaxDimensions) {
    fail(Status::kFormat, where, ": ", shape->size(), " dimensions; the limit is ", kMaxDimensions);
  }
  std::vector<int64_t> lengths;
  for (const Json& length : *shape)
    lengths.push_back(static_cast<int64_t>(read_count(length, where, "a dimension")));
  return lengths;
}

uint64_t shape_bytes(const std::vector<int64_t>& shape, uint64_t bits, const std::string& where) {
  uint64_t total = bits;
  for (const int64_t length : shape) {
    if (__builtin_mul_overflow(total, static_cast<uint64_t>(length), &total)) {
      fail(Status::kFormat, where, ": shape ", shape_text(shape), " is larger than any file");
    }
  }
  if (total % 8 != 0)
    fail(Status::kFormat, where, ": shape ", shape_text(shape), " ends inside a byte");
  return total / 8;
}

}  // namespace

TensorRef TensorRef::rows(int64_t begin, int64_t count) const {
  const uint64_t row_bytes = bytes / static_cast<uint64_t>(shape.at(0));
  TensorRef part = *this;
  part.shape[0] = count;
  part.data = data + static_cast<uint64_t>(begin) * row_bytes;
  part.bytes = static_cast<uint64_t>(count) * row_bytes;
  return part;
}

void check_shape(const TensorRef& tensor, std::span<const int64_t> expected) {
  if (std::equal(tensor.shape.begin(), tensor.shape.end(), expected.begin(), expected.end()))
    return;
  fail(Status::kFormat, path_text(tensor.file), ": tensor ", quote(tensor.name), " has shape ",
       shape_text(tensor.shape), "; expected ", shape_text(expected));
}

namespace {

// NaN and infinity are the values whose exponent is all ones. Whole blocks are or-ed so that the
// loop vectorises.
template <typename Bits>
int64_t first_not_finite(const uint8_t* data, int64_t count, Bits exponent) {
  constexpr int64_t kBlock = 4096;
  const Bits* values = reinterpret_cast<const Bits*>(data);
  for (int64_t begin = 0; begin < count; begin += kBlock) {
    const int64_t end = std::min(count, begin + kBlock);
    Bits found = 0;
    for (int64_t i = begin; i < end; ++i)
      found |= static_cast<Bits>((values[i] & exponent) == exponent);
    if (!found) continue;
    for (int64_t i = begin; i < end; ++i) {
      if ((values[i] & exponent) == exponent) return i;
    }
  }
  return -1;
}

}  // namespace

int64_t find_not_finite(const TensorRef& tensor) {
  const int64_t count = tensor.num_elements();
  switch (tensor.dtype) {
    case DType::kF32:
      return first_not_finite<uint32_t>(tensor.data, count, 0x7f800000u);
    case DType::kBF16:
      return first_not_finite<uint16_t>(tensor.data, count, 0x7f80u);
    case DType::kF16:
      return first_not_finite<uint16_t>(tensor.data, count, 0x7c00u);
  }
  return -1;
}

void refuse_not_finite(const TensorRef& tensor, int64_t element_idx, float value) {
  fail(Status::kFormat, path_text(tensor.file), ": tensor ", quote(tensor.name), " holds ",
       std::isnan(value) ? "NaN" : "infinity", " at element ", element_idx);
}

void check_finite(const TensorRef& tensor) {
  const int64_t found = find_not_finite(tensor);
  if (found >= 0)
    refuse_not_finite(tensor, found, core::load_as_float(tensor.data, tensor.dtype, found));
}

std::vector<float> to_floats(const TensorRef& tensor) {
  std::vector<float> values(static_cast<size_t>(tensor.num_elements()));
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = core::load_as_float(tensor.data, tensor.dtype, static_cast<int64_t>(i));
  }
  return values;
}

SafetensorsFile::SafetensorsFile(MappedFile file) : file_(std::move(file)) {}

SafetensorsFile SafetensorsFile::open(const std::string& path) {
  SafetensorsFile file(MappedFile::open(path));
  file.read_header();
  file.check_coverage();
  return file;
}

void SafetensorsFile::read_header() {
  const std::string where = path_text(path());
  if (file_.bytes() < 8) {
    fail(Status::kFormat, where, ": ", file_.bytes(),
         " bytes; a safetensors file begins with 8 bytes of header length");
  }
  uint64_t header_bytes = 0;
  for (int i = 7; i >= 0; --i) header_bytes = header_bytes << 8 | file_.data()[i];
  if (header_bytes > kMaxSafetensorsHeaderBytes) {
    fail(Status::kFormat, where, ": header of ", header_bytes, " bytes; the limit is ",
         kMaxSafetensorsHeaderBytes);
  }
  if (header_bytes > file_.bytes() - 8) {
    fail(Status::kFormat, where, ": header of ", header_bytes, " bytes, but only ",
         file_.bytes() - 8, " follow");
  }
  data_begin_ = 8 + header_bytes;
  const Json header = parse_json_object(file_.text().substr(8, header_bytes), where + " (header)");
  for (const auto& [name, value] : header.items()) {
    if (name != "__metadata__") add_entry(name, &value);
  }
}

void SafetensorsFile::add_entry(const std::string& name, const void* json_value) {
  const Json& value = *static_cast<const Json*>(json_value);
  const std::string where = core::str_cat(path_text(path()), ": tensor ", quote(name));
  if (!value.is_object()) fail(Status::kFormat, where, ": its entry is no object");
  const auto dtype = value.find("dtype");
  if (dtype == value.end() || !dtype->is_string()) fail(Status::kFormat, where, ": no dtype");
  Entry entry;
  entry.dtype = dtype->get<std::string>();
  const uint64_t bits = stored_bits(entry.dtype);
  if (bits == 0) fail(Status::kFormat, where, ": unknown dtype ", quote(entry.dtype));
  entry.shape = read_shape(value, where);
  const auto offsets = value.find("data_offsets");
  if (offsets == value.end() || !offsets->is_array() || offsets->size() != 2) {
    fail(Status::kFormat, where, ": no data_offsets");
  }
  const uint64_t begin = read_count((*offsets)[0], where, "a data offset");
  const uint64_t end = read_count((*offsets)[1], where, "a data offset");
  const uint64_t data_bytes = file_.bytes() - data_begin_;
  if (begin > end || end > data_bytes) {
    fail(Status::kFormat, where, ": data_offsets [", begin, ", ", end, "] do not lie in the ",
         data_bytes, " bytes of data");
  }
  entry.begin = data_begin_ + begin;
  entry.bytes = end - begin;
  const uint64_t expected = shape_bytes(entry.shape, bits, where);
  if (expected != entry.bytes) {
    fail(Status::kFormat, where, ": shape ", shape_text(entry.shape), " of ", entry.dtype,
         " takes ", expected, " bytes, but data_offsets span ", entry.bytes);
  }
  entries_.emplace(name, std::move(entry));
}

// As the format demands: sorted by offset the tensors follow each other without gap, from the first
// byte to the last.
void SafetensorsFile::check_coverage() const {
  std::vector<std::pair<const Entry*, const std::string*>> by_offset;
  for (const auto& [name, entry] : entries_) by_offset.emplace_back(&entry, &name);
  std::sort(by_offset.begin(), by_offset.end(), [](const auto& x, const auto& y) {
    return std::pair(x.first->begin, x.first->bytes) < std::pair(y.first->begin, y.first->bytes);
  });
  const std::string where = path_text(path());
  uint64_t end = data_begin_;
  for (const auto& [entry, name] : by_offset) {
    if (entry->begin < end) {
      fail(Status::kFormat, where, ": tensor ", quote(*name), " overlaps the one before it by ",
           end - entry->begin, " bytes");
    }
    if (entry->begin > end) {
      fail(Status::kFormat, where, ": ", entry->begin - end, " bytes before tensor ", quote(*name),
           " belong to no tensor");
    }
    end += entry->bytes;
  }
  if (end != file_.bytes()) {
    fail(Status::kFormat, where, ": ", file_.bytes() - end,
         " bytes at the end belong to no tensor");
  }
}

TensorRef SafetensorsFile::tensor(const std::string& name) const {
  const auto found = entries_.find(name);
  if (found == entries_.end())
    fail(Status::kFormat, path_text(path()), ": tensor ", quote(name), " is missing");
  const Entry& entry = found->second;
  TensorRef tensor;
  if (!read_dtype(entry.dtype, &tensor.dtype)) {
    fail(Status::kUnsupported, path_text(path()), ": tensor ", quote(name), " has dtype ",
         entry.dtype, "; F32, F16 and BF16 can be read");
  }
  if (entry.begin % static_cast<uint64_t>(core::dtype_bytes(tensor.dtype)) != 0) {
    fail(Status::kFormat, path_text(path()), ": tensor ", quote(name), " of ", entry.dtype,
         " begins at byte ", entry.begin, ", which is not aligned to its element");
  }
  tensor.name = name;
  tensor.file = path();
  tensor.shape = entry.shape;
  tensor.data = file_.data() + entry.begin;
  tensor.bytes = entry.bytes;
  return tensor;
}

}  // namespace slora::model
