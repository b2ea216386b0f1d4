// Folders and safetensors files that tests write, and the assertion on a refusal.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "slora/core/status.hpp"

namespace slora::test {

// A new empty folder, removed at the end.
class TempFolder {
 public:
  TempFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "slora-test-XXXXXX").string();
    if (!mkdtemp(name.data())) throw std::runtime_error("mkdtemp");
    path_ = name;
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;
  ~TempFolder() { std::filesystem::remove_all(path_); }

  const std::string& path() const { return path_; }
  std::string file(std::string_view name) const { return path_ + "/" + std::string(name); }

  std::string write(std::string_view name, std::string_view bytes) const {
    std::ofstream(file(name), std::ios::binary)
        .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    return file(name);
  }
  std::string write_json(std::string_view name, const nlohmann::json& json) const {
    return write(name, json.dump());
  }

 private:
  std::string path_;
};

inline std::string read_bytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot read " + path);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

// Header length, header and data of a safetensors file, each as given: nothing is checked here.
inline std::string safetensors_bytes(std::string header, std::string_view data) {
  std::string bytes(8, '\0');
  for (int i = 0; i < 8; ++i)
    bytes[static_cast<size_t>(i)] = static_cast<char>(header.size() >> (8 * i) & 0xff);
  return bytes + header + std::string(data);
}

// A well-formed safetensors file of fp32 tensors, built tensor by tensor.
class SafetensorsBuilder {
 public:
  SafetensorsBuilder& add(const std::string& name, std::vector<int64_t> shape,
                          const std::vector<float>& values, const std::string& dtype = "F32") {
    const size_t begin = data_.size();
    data_.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
    header_[name] = {{"dtype", dtype}, {"shape", shape}, {"data_offsets", {begin, data_.size()}}};
    return *this;
  }
  SafetensorsBuilder& add(const std::string& name, std::vector<int64_t> shape, float value = 0.5f) {
    int64_t count = 1;
    for (const int64_t length : shape) count *= length;
    return add(name, shape, std::vector<float>(static_cast<size_t>(count), value));
  }
  std::string bytes() const {
    std::string header = header_.dump();
    header.resize((header.size() + 7) / 8 * 8, ' ');
    return safetensors_bytes(header, data_);
  }

 private:
  nlohmann::json header_ = nlohmann::json::object();
  std::string data_;
};

// Runs `call`, which must fail with `status` and a one-line message that holds every one of
// `parts`.
template <typename Call>
void expect_refused(core::Status status, const std::vector<std::string>& parts, const Call& call) {
  try {
    call();
  } catch (const core::Error& error) {
    const std::string message = error.what();
    EXPECT_EQ(static_cast<int>(error.status()), static_cast<int>(status)) << message;
    for (const std::string& part : parts) {
      EXPECT_NE(message.find(part), std::string::npos) << "'" << part << "' is not in: " << message;
    }
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    EXPECT_LT(message.size(), 900u);
    return;
  }
  ADD_FAILURE() << "not refused; expected: " << (parts.empty() ? "" : parts.front());
}

}  // namespace slora::test
