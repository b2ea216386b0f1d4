// Checkpoints of several files: their index, their shards, and where the two disagree.
#include <algorithm>

#include "model/test_files.hpp"
#include "slora/model/safetensors.hpp"

namespace slora::model {
namespace {

using core::Status;
using test::expect_refused;
using test::SafetensorsBuilder;
using test::TempFolder;

class TensorSetTest : public ::testing::Test {
 protected:
  TensorSetTest() {
    folder_.write("one.safetensors", SafetensorsBuilder().add("a", {2}, {1, 2}).bytes());
    folder_.write("two.safetensors", SafetensorsBuilder().add("b", {1}, {3}).bytes());
  }

  void write_index(const nlohmann::json& weight_map) {
    folder_.write_json("model.safetensors.index.json", nlohmann::json{{"weight_map", weight_map}});
  }

  void refuse_index(const nlohmann::json& weight_map, const std::vector<std::string>& parts,
                    Status status = Status::kFormat) {
    write_index(weight_map);
    expect_refused(status, parts, [&] { TensorSet::open_model(folder_.path()); });
  }

  TempFolder folder_;
};

TEST_F(TensorSetTest, ReadsShards) {
  write_index({{"a", "one.safetensors"}, {"b", "two.safetensors"}});
  TensorSet set = TensorSet::open_model(folder_.path());
  const TensorSet copy = set;
  set = TensorSet();
  EXPECT_EQ(copy.names(), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(to_floats(copy.get("b")), (std::vector<float>{3}));
  const int64_t expected[] = {3};
  expect_refused(Status::kFormat, {"one.safetensors: tensor 'a'", "expected [3]"},
                 [&] { copy.get("a", expected); });
  expect_refused(Status::kFormat, {"index.json: tensor 'c' is missing"}, [&] { copy.get("c"); });
}

TEST_F(TensorSetTest, ShardsMustBePlainFileNames) {
  for (const char* name :
       {"../one.safetensors", "/etc/one.safetensors", "x/one.safetensors", "..", ".",
        "c:one.safetensors", "x\\one.safetensors", "", ".safetensors", "one.bin"}) {
    refuse_index({{"a", name}}, {"index.json: shard", "is not a plain file name"});
  }
  refuse_index({{"a", std::string("one\0.safetensors", 16)}}, {"is not a plain file name"});
}

TEST_F(TensorSetTest, IndexAndShardsMustAgree) {
  refuse_index({{"a", "three.safetensors"}}, {"three.safetensors", "cannot open"}, Status::kIo);
  refuse_index({{"a", "two.safetensors"}}, {"tensor 'a' is not in its shard 'two.safetensors'"});
  refuse_index({{"a", "one.safetensors"}, {"b", "one.safetensors"}},
               {"tensor 'b' is not in its shard"});
  folder_.write("again.safetensors", SafetensorsBuilder().add("a", {2}).add("c", {2}).bytes());
  refuse_index({{"a", "one.safetensors"}, {"c", "again.safetensors"}}, {"tensor 'a' is also in"});
}

TEST_F(TensorSetTest, BrokenIndexesAreRefused) {
  refuse_index(nlohmann::json::object(), {"no weight_map"});
  refuse_index({{"a", 7}}, {"weight_map of 'a' is no file name"});
  refuse_index(nlohmann::json::array(), {"no weight_map"});
  folder_.write("model.safetensors.index.json", "{\"weight_map\":" + std::string(1000, '['));
  expect_refused(Status::kFormat, {"nests deeper"}, [&] { TensorSet::open_model(folder_.path()); });
}

TEST_F(TensorSetTest, FoldersWithoutWeightsSayWhatToDo) {
  expect_refused(Status::kIo, {"neither model.safetensors nor model.safetensors.index.json"},
                 [&] { TensorSet::open_model(folder_.path()); });
  folder_.write("pytorch_model.bin", "x");
  expect_refused(Status::kUnsupported, {"pytorch_model.bin is a pickle", "safe_serialization=True"},
                 [&] { TensorSet::open_model(folder_.path()); });
}

}  // namespace
}  // namespace slora::model
