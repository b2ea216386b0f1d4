// Every byte arrives once and in its place, whatever the sizes; staging stays within its bound; a
// failure anywhere ends the pipeline with its own words.
#include "slora/forward/upload_pipeline.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <random>

#include "slora/core/status.hpp"
#include "slora/device/host_device.hpp"

namespace slora::forward {
namespace {

struct Pipeline : testing::Test {
  std::shared_ptr<device::Device> device =
      std::make_shared<device::Device>(device::host_device_api(), 0, 1);

  static std::vector<uint8_t> random_bytes(size_t count) {
    std::mt19937 random(7);
    std::vector<uint8_t> bytes(count);
    for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
    return bytes;
  }

  struct CopyParams {
    uint8_t* to;
    const uint8_t* from;
    uint64_t bytes;
  };
  static void run_copy(const CopyParams& params, device::ThreadTeam&) {
    std::memcpy(params.to, params.from, params.bytes);
  }

  static UploadPipeline::Job copy_job(const uint8_t* from, uint8_t* to, uint64_t bytes) {
    return {bytes, [=](uint8_t* out) { std::memcpy(out, from, bytes); },
            [=](void* stream, const uint8_t* staged) {
              device::enqueue_host<run_copy>(stream, CopyParams{to, staged, bytes});
            }};
  }
};

TEST_F(Pipeline, BringsEveryByteToItsPlaceWhateverTheSizes) {
  const std::vector<uint8_t> source = random_bytes(3'000'017);
  for (const int32_t readers : {1, 2, 5}) {
    // Odd, of one byte, exactly a buffer's, larger than a buffer.
    for (const uint64_t piece : {1'001u, 4'096u, 65'536u, 65'537u, 700'001u}) {
      const PipelineOptions options{readers, 65'536};
      std::vector<uint8_t> target(source.size());
      UploadPipeline pipeline(device, options);
      for (uint64_t at = 0; at < source.size(); at += piece) {
        const uint64_t bytes = std::min<uint64_t>(piece, source.size() - at);
        pipeline.add(copy_job(source.data() + at, target.data() + at, bytes));
      }
      pipeline.finish();
      EXPECT_EQ(target, source) << readers << " readers, pieces of " << piece;
      const uint64_t buffer = std::max<uint64_t>(options.buffer_bytes, piece);
      EXPECT_LE(pipeline.staging_bytes(), 2 * static_cast<uint64_t>(readers) * buffer);
    }
  }
}

TEST_F(Pipeline, HasMoreBuffersThanData) {
  const std::vector<uint8_t> source = random_bytes(10);
  std::vector<uint8_t> target(10);
  UploadPipeline pipeline(device, {8, 1 << 20});
  pipeline.add(copy_job(source.data(), target.data(), 10));
  pipeline.finish();
  EXPECT_EQ(target, source);
  EXPECT_EQ(pipeline.staging_bytes(), 1u << 20);
}

TEST_F(Pipeline, IsDoneWithNothingToDo) {
  UploadPipeline pipeline(device, {3, 1 << 20});
  pipeline.finish();
  EXPECT_EQ(pipeline.staging_bytes(), 0u);
}

// With two buffers a reader fills one while the other is still being copied.
TEST_F(Pipeline, ReadsWhileItCopies) {
  std::atomic<bool> is_second_read{false};
  std::atomic<bool> was_copying{false};
  struct WaitParams {
    std::atomic<bool>* is_second_read;
    std::atomic<bool>* was_copying;
  };
  UploadPipeline pipeline(device, {1, 64});
  pipeline.add({64, [](uint8_t*) {},
                [&](void* stream, const uint8_t*) {
                  device::enqueue_host_command(
                      stream,
                      [](const void* bytes, device::ThreadTeam&) {
                        const auto& params = *static_cast<const WaitParams*>(bytes);
                        for (int i = 0; i < 10'000 && !*params.is_second_read; ++i)
                          std::this_thread::sleep_for(std::chrono::milliseconds(1));
                        *params.was_copying = params.is_second_read->load();
                      },
                      std::array{WaitParams{&is_second_read, &was_copying}}.data(),
                      sizeof(WaitParams));
                }});
  pipeline.add({64, [&](uint8_t*) { is_second_read = true; }, [](void*, const uint8_t*) {}});
  pipeline.finish();
  EXPECT_TRUE(was_copying) << "the second piece was not read before the first was copied";
}

TEST_F(Pipeline, EndsWithTheWordsOfTheJobThatFailed) {
  for (const bool fails_in_read : {true, false}) {
    std::atomic<int> begun{0};
    UploadPipeline pipeline(device, {2, 64});
    const auto fail = [] { core::fail(core::Status::kFormat, "element 17 is NaN"); };
    try {
      for (int i = 0; i < 1000; ++i) {
        pipeline.add({64,
                      [&, i](uint8_t*) {
                        ++begun;
                        if (i == 5 && fails_in_read) fail();
                      },
                      [&, i](void*, const uint8_t*) {
                        if (i == 5 && !fails_in_read) fail();
                      }});
      }
      pipeline.finish();
      FAIL() << "the failure was lost";
    } catch (const core::Error& failure) {
      EXPECT_EQ(failure.status(), core::Status::kFormat);
      EXPECT_STREQ(failure.what(), "element 17 is NaN");
    }
    EXPECT_LT(begun, 1000);
    EXPECT_THROW(pipeline.finish(), core::Error);
  }
}

TEST_F(Pipeline, TellsOfACopyThatFailed) {
  UploadPipeline pipeline(device, {2, 64});
  pipeline.add({64, [](uint8_t*) {},
                [](void* stream, const uint8_t*) {
                  device::enqueue_host_command(
                      stream,
                      [](const void*, device::ThreadTeam&) {
                        core::fail(core::Status::kDeviceLost, "the copy failed");
                      },
                      "", 0);
                }});
  try {
    pipeline.finish();
    FAIL() << "the failure was lost";
  } catch (const core::Error& failure) {
    EXPECT_EQ(failure.status(), core::Status::kDeviceLost);
  }
}

TEST_F(Pipeline, IsAbandonedWithJobsQueued) {
  std::atomic<int> begun{0};
  {
    UploadPipeline pipeline(device, {1, 64});
    for (int i = 0; i < 3; ++i) {
      pipeline.add({64,
                    [&](uint8_t*) {
                      ++begun;
                      std::this_thread::sleep_for(std::chrono::milliseconds(20));
                    },
                    [](void*, const uint8_t*) {}});
    }
  }
  EXPECT_LE(begun, 3);
}

}  // namespace
}  // namespace slora::forward
