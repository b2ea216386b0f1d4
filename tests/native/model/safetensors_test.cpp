// One safetensors file: what is read, and every way in which a hostile one is refused.
#include "slora/model/safetensors.hpp"

#include <cmath>
#include <limits>

#include "model/test_files.hpp"

namespace slora::model {
namespace {

using core::Status;
using test::expect_refused;
using test::safetensors_bytes;
using test::SafetensorsBuilder;
using test::TempFolder;

class Safetensors : public ::testing::Test {
 protected:
  SafetensorsFile open(std::string_view bytes) {
    return SafetensorsFile::open(folder_.write("x.safetensors", bytes));
  }

  // Opens a file of one header and 16 bytes of data and expects a kFormat refusal.
  void refuse(const std::string& header, const std::vector<std::string>& parts) {
    expect_refused(Status::kFormat, parts,
                   [&] { open(safetensors_bytes(header, std::string(16, '\0'))); });
  }

  TempFolder folder_;
};

TEST_F(Safetensors, ReadsNamesShapesAndValues) {
  const SafetensorsFile file =
      open(SafetensorsBuilder().add("a", {2, 2}, {1, 2, 3, 4}).add("b", {}, {5}).bytes());
  const TensorRef a = file.tensor("a");
  EXPECT_EQ(a.shape, (std::vector<int64_t>{2, 2}));
  EXPECT_EQ(to_floats(a), (std::vector<float>{1, 2, 3, 4}));
  EXPECT_EQ(to_floats(a.rows(1, 1)), (std::vector<float>{3, 4}));
  EXPECT_EQ(to_floats(file.tensor("b")), (std::vector<float>{5}));
}

TEST_F(Safetensors, EmptyTensorsAndMetadataAreFine) {
  const SafetensorsFile file = open(safetensors_bytes(
      R"({"__metadata__":{"format":"pt"},"e":{"dtype":"F32","shape":[0,4],"data_offsets":[0,0]}})",
      ""));
  EXPECT_EQ(file.entries().size(), 1u);
}

TEST_F(Safetensors, MissingFileAndFolderAreIoErrors) {
  expect_refused(Status::kIo, {"nowhere.safetensors", "cannot open", "No such file"},
                 [&] { SafetensorsFile::open(folder_.file("nowhere.safetensors")); });
  expect_refused(Status::kIo, {"not a regular file"},
                 [&] { SafetensorsFile::open(folder_.path()); });
  expect_refused(Status::kIo, {"zero byte"},
                 [&] { SafetensorsFile::open(std::string("a\0b", 3)); });
}

TEST_F(Safetensors, TruncatedFilesAreRefused) {
  expect_refused(Status::kFormat, {"x.safetensors", "0 bytes"}, [&] { open(""); });
  expect_refused(Status::kFormat, {"7 bytes"}, [&] { open("1234567"); });
  const std::string whole = SafetensorsBuilder().add("a", {4}).bytes();
  expect_refused(Status::kFormat, {"header of", "follow"}, [&] { open(whole.substr(0, 20)); });
  expect_refused(Status::kFormat, {"tensor 'a'", "data_offsets [0, 16]", "15 bytes of data"},
                 [&] { open(whole.substr(0, whole.size() - 1)); });
}

TEST_F(Safetensors, HugeHeaderLengthsAreRefused) {
  expect_refused(Status::kFormat, {"header of 100000001 bytes; the limit is 100000000"},
                 [&] { open(std::string("\x01\xe1\xf5\x05\0\0\0\0", 8)); });
  expect_refused(Status::kFormat, {"header of 18446744073709551615 bytes"},
                 [&] { open(std::string(8, '\xff')); });
}

TEST_F(Safetensors, HeadersThatAreNoJsonObjectAreRefused) {
  refuse("{", {"(header)", "not valid JSON"});
  refuse("[]", {"no object"});
  refuse("{\"a\":" + std::string(200000, '['), {"nests deeper than 64"});
  refuse(R"({"a":7})", {"tensor 'a'", "no object"});
}

TEST_F(Safetensors, EntriesWithoutTheirFieldsAreRefused) {
  refuse(R"({"a":{"shape":[4],"data_offsets":[0,16]}})", {"no dtype"});
  refuse(R"({"a":{"dtype":"F32","data_offsets":[0,16]}})", {"no shape"});
  refuse(R"({"a":{"dtype":"F32","shape":[4]}})", {"no data_offsets"});
  refuse(R"({"a":{"dtype":"F32","shape":[4],"data_offsets":[0]}})", {"no data_offsets"});
  refuse(R"({"a":{"dtype":"Q4","shape":[4],"data_offsets":[0,16]}})", {"unknown dtype 'Q4'"});
}

TEST_F(Safetensors, NumbersThatAreNoCountsAreRefused) {
  refuse(R"({"a":{"dtype":"F32","shape":[-4],"data_offsets":[0,16]}})", {"a dimension is '-4'"});
  refuse(R"({"a":{"dtype":"F32","shape":[4.0],"data_offsets":[0,16]}})", {"'4.0', not a count"});
  refuse(R"({"a":{"dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,16]}})",
         {"not a count"});
  refuse(R"({"a":{"dtype":"F32","shape":[99999999999999999999],"data_offsets":[0,16]}})",
         {"not a count"});
  refuse(R"({"a":{"dtype":"F32","shape":["4"],"data_offsets":[0,16]}})", {"not a count"});
  refuse(R"({"a":{"dtype":"F32","shape":[4],"data_offsets":[0,"16"]}})", {"a data offset is"});
}

TEST_F(Safetensors, ShapesThatOverflowOrDisagreeAreRefused) {
  refuse(R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,16]}})",
         {"larger than any file"});
  // 2^61 elements of 8 bits: the product with the dtype's size wraps to zero in 64 bits.
  refuse(R"({"a":{"dtype":"F32","shape":[2305843009213693952],"data_offsets":[0,0]}})",
         {"larger than any file"});
  refuse(R"({"a":{"dtype":"F32","shape":[5],"data_offsets":[0,16]}})",
         {"takes 20 bytes", "span 16"});
  refuse(R"({"a":{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,4],"data_offsets":[0,16]}})",
         {"9 dimensions; the limit is 8"});
  refuse(R"({"a":{"dtype":"F4","shape":[3],"data_offsets":[0,16]}})", {"ends inside a byte"});
}

TEST_F(Safetensors, OffsetsOutsideTheDataAreRefused) {
  refuse(R"({"a":{"dtype":"F32","shape":[4],"data_offsets":[16,32]}})",
         {"do not lie in the 16 bytes"});
  refuse(R"({"a":{"dtype":"F32","shape":[4],"data_offsets":[16,0]}})", {"do not lie"});
  refuse(R"({"a":{"dtype":"F32","shape":[4],"data_offsets":[0,9223372036854775807]}})",
         {"do not lie"});
}

TEST_F(Safetensors, OverlapsAndHolesAreRefused) {
  refuse(
      R"({"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"b":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}})",
      {"tensor 'b' overlaps", "by 8 bytes"});
  refuse(
      R"({"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"b":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}})",
      {"overlaps"});
  refuse(
      R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}})",
      {"4 bytes before tensor 'b' belong to no tensor"});
  refuse(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})",
         {"8 bytes at the end belong to no tensor"});
}

TEST_F(Safetensors, DuplicateTensorNamesAreRefused) {
  refuse(
      R"({"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}})",
      {"key 'a' appears twice"});
}

TEST_F(Safetensors, OtherDtypesMayLieThereButAreNotRead) {
  const SafetensorsFile file = open(safetensors_bytes(
      R"({"q":{"dtype":"F8_E4M3","shape":[16],"data_offsets":[0,16]}})", std::string(16, '\0')));
  expect_refused(Status::kUnsupported, {"tensor 'q' has dtype F8_E4M3", "F32, F16 and BF16"},
                 [&] { file.tensor("q"); });
}

TEST_F(Safetensors, MisalignedTensorsAreRefused) {
  std::string header = R"({"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}})";
  while (header.size() % 8 != 2) header += ' ';
  const SafetensorsFile file = open(safetensors_bytes(header, std::string(16, '\0')));
  expect_refused(Status::kFormat, {"tensor 'a'", "not aligned"}, [&] { file.tensor("a"); });
}

TEST_F(Safetensors, HostileNamesStayOnOneShortLine) {
  std::string name(5000, 'n');
  name[3] = '\n';
  const SafetensorsFile file = open(SafetensorsBuilder().add(name, {2}).bytes());
  expect_refused(Status::kFormat, {"'nnn?n", "...'", "expected [3]"}, [&] {
    const int64_t expected[] = {3};
    check_shape(file.tensor(name), expected);
  });
}

TEST_F(Safetensors, ShapeMismatchNamesFileTensorAndShapes) {
  const SafetensorsFile file = open(SafetensorsBuilder().add("w", {2, 3}).bytes());
  const int64_t expected[] = {3, 2};
  expect_refused(Status::kFormat, {"x.safetensors: tensor 'w' has shape [2, 3]; expected [3, 2]"},
                 [&] { check_shape(file.tensor("w"), expected); });
}

TEST_F(Safetensors, NanAndInfinityAreFoundInEveryDtypeAtTheirElement) {
  std::vector<float> values(10000, 1.0f);
  values[9000] = std::numeric_limits<float>::quiet_NaN();
  const SafetensorsFile file = open(SafetensorsBuilder().add("w", {10000}, values).bytes());
  expect_refused(Status::kFormat, {"tensor 'w' holds NaN at element 9000"},
                 [&] { check_finite(file.tensor("w")); });

  const auto open_16 = [&](const char* dtype, const std::string& bits) {
    std::string header =
        R"({"w":{"dtype":")" + std::string(dtype) + R"(","shape":[2],"data_offsets":[0,4]}})";
    header.resize((header.size() + 7) / 8 * 8, ' ');
    return open(safetensors_bytes(header, "\1\1" + bits));
  };
  expect_refused(Status::kFormat, {"holds infinity at element 1"},
                 [&] { check_finite(open_16("BF16", "\x80\x7f").tensor("w")); });
  expect_refused(Status::kFormat, {"holds infinity at element 1"},
                 [&] { check_finite(open_16("F16", std::string("\0\xfc", 2)).tensor("w")); });
  // The largest finite values of both.
  EXPECT_NO_THROW(check_finite(open_16("F16", "\xff\x7b").tensor("w")));
  EXPECT_NO_THROW(check_finite(open_16("BF16", "\x7f\x7f").tensor("w")));
}

}  // namespace
}  // namespace slora::model
