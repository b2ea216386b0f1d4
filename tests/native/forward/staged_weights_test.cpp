// Weights by the pipeline are, byte for byte, those that were packed from where they lay: whole
// models and each rank's part, of every dtype; and what is refused there is refused here.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstring>
#include <fstream>

#include "slora/core/status.hpp"
#include "slora/device/host_device.hpp"
#include "slora/forward/model_weights.hpp"
#include "slora/kernels/host_kernels.hpp"

namespace slora::forward {
namespace {

// Small enough that a matrix of the demo model goes in several jobs, with a rest.
constexpr PipelineOptions kSmall{3, 5000};

Backend host_backend() {
  Backend backend;
  backend.device = std::make_shared<device::Device>(device::host_device_api(), 0, 2);
  backend.kernels = kernels::host_kernel_api();
  return backend;
}

std::vector<uint8_t> packed_bytes(const ModelWeights& weights, const model::WeightPlan& plan) {
  std::vector<uint8_t> bytes;
  for (const model::MatrixPlan& matrix : plan.matrices) {
    const device::Buffer& packed = weights.matrix(matrix.id.kind, matrix.id.layer_idx).packed;
    bytes.insert(bytes.end(), packed.data(), packed.data() + packed.bytes());
  }
  return bytes;
}

class CountingProgress final : public model::LoadProgress {
 public:
  bool advance(uint64_t done, uint64_t total) override {
    last = done;
    most = total;
    return done < stop_at;
  }
  uint64_t last = 0, most = 0, stop_at = UINT64_MAX;
};

void expect_alike(const std::string& folder, const model::ShardSpec& shard) {
  const model::ModelConfig config = model::read_config(folder);
  const model::TensorSet tensors = model::TensorSet::open_model(folder);
  const model::WeightPlan plan = model::plan_weights(config, tensors, shard);
  for (const core::DType dtype : {core::DType::kF32, core::DType::kBF16}) {
    ModelWeights plain(host_backend(), dtype, config.num_layers);
    model::load_weights(plan, plain, nullptr);
    ModelWeights staged(host_backend(), dtype, config.num_layers, kSmall);
    CountingProgress progress;
    model::load_weights(plan, staged, &progress);
    const std::vector<uint8_t> expected = packed_bytes(plain, plan);
    EXPECT_TRUE(packed_bytes(staged, plan) == expected) << folder << ", rank " << shard.tp_rank;
    EXPECT_EQ(progress.last, progress.most);
  }
}

TEST(StagedWeights, AreThoseThatWerePackedFromWhereTheyLay) {
  expect_alike(std::string(SLORA_ASSETS) + "/demo-model/base", {});
  expect_alike(std::string(SLORA_ASSETS) + "/tiny-models/llama-f32", {});
  expect_alike(std::string(SLORA_ASSETS) + "/tiny-models/phi3", {});
  for (const int32_t rank : {0, 1})
    expect_alike(std::string(SLORA_ASSETS) + "/tiny-models/llama-mha", {rank, 2});
}

// A copy of a tiny model with one element of the last tensor overwritten.
std::string broken_copy() {
  const std::string from = std::string(SLORA_ASSETS) + "/tiny-models/llama-f32/";
  std::string folder = testing::TempDir() + "staged_weights_XXXXXX";
  if (!mkdtemp(folder.data())) throw std::runtime_error("no temporary folder");
  const auto copy = [&](const char* name) {
    std::ifstream in(from + name, std::ios::binary);
    std::ofstream(folder + "/" + name, std::ios::binary) << in.rdbuf();
  };
  copy("config.json");
  copy("model.safetensors");
  std::fstream file(folder + "/model.safetensors", std::ios::binary | std::ios::in | std::ios::out);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  file.seekp(-100 * 4, std::ios::end);
  file.write(reinterpret_cast<const char*>(&nan), 4);
  return folder;
}

TEST(StagedWeights, AreRefusedWithTheSameWordsAsOthers) {
  const std::string folder = broken_copy();
  const auto refusal = [&](std::optional<PipelineOptions> staging) -> std::string {
    const model::ModelConfig config = model::read_config(folder);
    const model::TensorSet tensors = model::TensorSet::open_model(folder);
    ModelWeights weights(host_backend(), core::DType::kF32, config.num_layers, staging);
    try {
      const model::WeightPlan plan = model::plan_weights(config, tensors);
      model::load_weights(plan, weights, nullptr);
    } catch (const core::Error& failure) {
      EXPECT_EQ(failure.status(), core::Status::kFormat);
      return failure.what();
    }
    return "none";
  };
  const std::string plain = refusal(std::nullopt);
  EXPECT_NE(plain.find("holds NaN at element"), std::string::npos) << plain;
  EXPECT_EQ(refusal(kSmall), plain);
}

TEST(StagedWeights, AreCancelledInTheMiddle) {
  const std::string folder = std::string(SLORA_ASSETS) + "/demo-model/base";
  const model::ModelConfig config = model::read_config(folder);
  ModelWeights weights(host_backend(), core::DType::kF32, config.num_layers, kSmall);
  CountingProgress progress;
  try {
    const model::TensorSet tensors = model::TensorSet::open_model(folder);
    const model::WeightPlan plan = model::plan_weights(config, tensors);
    progress.stop_at = plan.source_bytes / 2;
    model::load_weights(plan, weights, &progress);
    FAIL() << "the load went on";
  } catch (const core::Error& failure) {
    EXPECT_EQ(failure.status(), core::Status::kCancelled);
  }
  EXPECT_LT(progress.last, progress.most);
}

}  // namespace
}  // namespace slora::forward
