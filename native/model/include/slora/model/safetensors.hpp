// Reads safetensors files: one file or an index of shards. Owns the mappings; converts nothing.
// Format: https://github.com/huggingface/safetensors#format
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "slora/core/dtype.hpp"
#include "slora/model/mapped_file.hpp"

namespace slora::model {

using core::DType;

// The format's own limit for the header (100 MB).
inline constexpr uint64_t kMaxSafetensorsHeaderBytes = 100'000'000;

// A tensor in a mapped file, row-major. `data` is aligned to its element and lives as long as the
// TensorSet.
struct TensorRef {
  std::string name;
  std::string file;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
  const uint8_t* data = nullptr;
  uint64_t bytes = 0;

  int64_t num_elements() const { return static_cast<int64_t>(bytes) / core::dtype_bytes(dtype); }
  // Rows [begin, begin + count) of a matrix [N, K].
  TensorRef rows(int64_t begin, int64_t count) const;
};

// kFormat naming file, tensor, shape found and shape expected, if they differ.
void check_shape(const TensorRef& tensor, std::span<const int64_t> expected);

// kFormat naming file, tensor and element, if one is NaN or infinite. Reads the tensor once.
void check_finite(const TensorRef& tensor);

// The first element that is NaN or infinite, or -1. Reads the tensor once.
int64_t find_not_finite(const TensorRef& tensor);
// The refusal of check_finite for `value` at element `element_idx` of the tensor.
[[noreturn]] void refuse_not_finite(const TensorRef& tensor, int64_t element_idx, float value);

// The tensor's values as fp32.
std::vector<float> to_floats(const TensorRef& tensor);

// One file. Opening checks the whole header: lengths, JSON, dtypes, shapes, and that the tensors
// cover the data without hole or overlap. Every refusal is kFormat and names file and tensor.
class SafetensorsFile {
 public:
  struct Entry {
    std::string dtype;  // as in the file: "F32", "F8_E4M3", ...
    std::vector<int64_t> shape;
    uint64_t begin;  // in the file
    uint64_t bytes;
  };

  static SafetensorsFile open(const std::string& path);

  const std::string& path() const { return file_.path(); }
  const std::map<std::string, Entry, std::less<>>& entries() const { return entries_; }
  // kFormat if there is no such tensor or it is misaligned; kUnsupported if its dtype is not F32,
  // F16 or BF16.
  TensorRef tensor(const std::string& name) const;

 private:
  explicit SafetensorsFile(MappedFile file);
  void read_header();
  void add_entry(const std::string& name, const void* json_value);
  void check_coverage() const;

  MappedFile file_;
  uint64_t data_begin_ = 0;
  std::map<std::string, Entry, std::less<>> entries_;
};

// The tensors of one checkpoint. Copies share the mappings.
class TensorSet {
 public:
  TensorSet() = default;

  static TensorSet open_file(const std::string& path);

  // `folder` with model.safetensors, or model.safetensors.index.json and its shards. Shard names
  // must be plain file names; each tensor the index names must be in the shard it names; none may
  // be in two shards.
  static TensorSet open_model(const std::string& folder);

  bool contains(std::string_view name) const { return file_of_.find(name) != file_of_.end(); }
  std::vector<std::string> names() const;                // sorted
  const std::string& source() const { return source_; }  // the file or index, for messages

  // As SafetensorsFile::tensor; the second form checks the shape too.
  TensorRef get(const std::string& name) const;
  TensorRef get(const std::string& name, std::span<const int64_t> expected_shape) const;

 private:
  void add_file(const std::string& path);
  void add_shards(const std::string& folder, const std::string& index_path);

  std::string source_;
  std::vector<std::shared_ptr<const SafetensorsFile>> files_;
  std::map<std::string, size_t, std::less<>> file_of_;
};

}  // namespace slora::model
