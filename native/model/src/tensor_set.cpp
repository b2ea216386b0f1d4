// One checkpoint out of one file or many.
#include <set>

#include "slora/core/status.hpp"
#include "slora/model/json.hpp"
#include "slora/model/quote.hpp"
#include "slora/model/safetensors.hpp"

namespace slora::model {
namespace {

using core::fail;
using core::Status;

constexpr const char* kSingleFile = "model.safetensors";
constexpr const char* kIndexFile = "model.safetensors.index.json";
constexpr std::string_view kSuffix = ".safetensors";

// An index must not reach outside its folder, by whatever spelling of a path.
void check_shard_name(const std::string& shard, const std::string& where) {
  const bool is_plain = shard.find_first_of(std::string_view("/\\:\0", 4)) == std::string::npos &&
                        shard.size() > kSuffix.size() && shard.ends_with(kSuffix) &&
                        shard.front() != '.';
  if (!is_plain) {
    fail(Status::kFormat, where, ": shard ", quote(shard),
         " is not a plain file name that ends in .safetensors");
  }
}

// tensor name -> shard name
std::map<std::string, std::string> read_weight_map(const std::string& index_path) {
  const std::string where = path_text(index_path);
  const Json index = read_json_object(index_path);
  const auto map = index.find("weight_map");
  if (map == index.end() || !map->is_object() || map->empty())
    fail(Status::kFormat, where, ": no weight_map");
  std::map<std::string, std::string> shards;
  for (const auto& [tensor, shard] : map->items()) {
    if (!shard.is_string())
      fail(Status::kFormat, where, ": weight_map of ", quote(tensor), " is no file name");
    const auto& name = shard.get_ref<const std::string&>();
    check_shard_name(name, where);
    shards.emplace(tensor, name);
  }
  return shards;
}

[[noreturn]] void fail_no_weights(const std::string& folder) {
  if (path_exists(join_path(folder, "pytorch_model.bin")) ||
      path_exists(join_path(folder, "pytorch_model.bin.index.json"))) {
    fail(Status::kUnsupported, path_text(folder),
         ": pytorch_model.bin is a pickle, which is not read; save the model again with "
         "safe_serialization=True");
  }
  fail(Status::kIo, path_text(folder), ": neither ", kSingleFile, " nor ", kIndexFile, " is there");
}

}  // namespace

TensorSet TensorSet::open_file(const std::string& path) {
  TensorSet set;
  set.source_ = path;
  set.add_file(path);
  return set;
}

// transformers, too, takes the single file where both are there.
TensorSet TensorSet::open_model(const std::string& folder) {
  const std::string single = join_path(folder, kSingleFile);
  if (path_exists(single)) return open_file(single);
  TensorSet set;
  set.source_ = join_path(folder, kIndexFile);
  if (!path_exists(set.source_)) fail_no_weights(folder);
  set.add_shards(folder, set.source_);
  return set;
}

void TensorSet::add_file(const std::string& path) {
  files_.push_back(std::make_shared<const SafetensorsFile>(SafetensorsFile::open(path)));
  for (const auto& [name, entry] : files_.back()->entries()) {
    const auto [place, is_new] = file_of_.emplace(name, files_.size() - 1);
    if (!is_new) {
      fail(Status::kFormat, path_text(path), ": tensor ", quote(name), " is also in ",
           path_text(files_[place->second]->path()));
    }
  }
}

void TensorSet::add_shards(const std::string& folder, const std::string& index_path) {
  const std::map<std::string, std::string> shard_of = read_weight_map(index_path);
  std::set<std::string> shards;
  for (const auto& [tensor, shard] : shard_of) shards.insert(shard);
  for (const std::string& shard : shards) add_file(join_path(folder, shard));
  for (const auto& [tensor, shard] : shard_of) {
    const auto found = file_of_.find(tensor);
    if (found == file_of_.end() || files_[found->second]->path() != join_path(folder, shard)) {
      fail(Status::kFormat, path_text(index_path), ": tensor ", quote(tensor),
           " is not in its shard ", quote(shard));
    }
  }
}

std::vector<std::string> TensorSet::names() const {
  std::vector<std::string> names;
  for (const auto& [name, file] : file_of_) names.push_back(name);
  return names;
}

TensorRef TensorSet::get(const std::string& name) const {
  const auto found = file_of_.find(name);
  if (found == file_of_.end())
    fail(Status::kFormat, path_text(source_), ": tensor ", quote(name), " is missing");
  return files_[found->second]->tensor(name);
}

TensorRef TensorSet::get(const std::string& name, std::span<const int64_t> expected_shape) const {
  TensorRef tensor = get(name);
  check_shape(tensor, expected_shape);
  return tensor;
}

}  // namespace slora::model
