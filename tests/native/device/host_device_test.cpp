// The host backend keeps the promises of DeviceApi: order within a stream, waits across streams,
// every task once.
#include "slora/device/host_device.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <numeric>
#include <vector>

#include "slora/core/status.hpp"
#include "slora/device/device.hpp"

namespace slora::device {
namespace {

std::shared_ptr<Device> open_host(int32_t num_threads) {
  return std::make_shared<Device>(host_device_api(), 0, num_threads);
}

TEST(ThreadTeam, RunsEveryTaskOnceWhateverTheNumberOfThreads) {
  for (int32_t threads : {1, 2, 3, 8}) {
    ThreadTeam team(threads);
    for (int32_t tasks : {0, 1, 2, 7, 1000}) {
      std::vector<std::atomic<int>> runs(static_cast<size_t>(tasks));
      team.parallel_for(tasks, [&](int32_t task_idx, int32_t thread_idx) {
        ASSERT_LT(thread_idx, threads);
        runs[static_cast<size_t>(task_idx)].fetch_add(1);
      });
      for (auto& count : runs) ASSERT_EQ(count.load(), 1);
    }
  }
}

TEST(ThreadTeam, WakesAfterSleepingAndRunsManyLoopsInARow) {
  ThreadTeam team(3);
  std::atomic<int64_t> sum{0};
  for (int loop = 0; loop < 5000; ++loop) {
    team.parallel_for(
        3, [&](int32_t task_idx, int32_t) { sum.fetch_add(task_idx, std::memory_order_relaxed); });
  }
  EXPECT_EQ(sum.load(), 5000 * 3);
}

// What lies in a large block stays apart from the next one's, and the block goes back to the system
// at once: nothing is mapped there any more.
TEST(HostMemory, LargeBlocksAreAlignedApartAndGivenBack) {
  const auto device = open_host(1);
  constexpr uint64_t kHugePage = 2u << 20;
  std::vector<uint8_t*> freed;
  {
    std::vector<Buffer> blocks;
    for (const uint64_t bytes : {kHugePage, kHugePage + 1, 3 * kHugePage - 64, 5 * kHugePage}) {
      blocks.emplace_back(device, MemoryKind::kPinned, bytes);
      ASSERT_EQ(reinterpret_cast<uintptr_t>(blocks.back().data()) % kHugePage, 0u) << bytes;
      std::memset(blocks.back().data(), static_cast<int>(blocks.size()), bytes);
    }
    for (size_t i = 0; i < blocks.size(); ++i) {
      const uint8_t* data = blocks[i].data();
      for (uint64_t at = 0; at < blocks[i].bytes(); ++at) ASSERT_EQ(data[at], i + 1) << at;
      freed.push_back(blocks[i].data());
    }
  }
#if !defined(__SANITIZE_ADDRESS__)
  for (uint8_t* memory : freed) {
    EXPECT_EQ(msync(memory, 4096, MS_ASYNC), -1) << "still mapped";
    EXPECT_EQ(errno, ENOMEM);
  }
#endif
}

TEST(HostMemory, RefusesWhatThereIsNot) {
  const auto device = open_host(1);
  for (const uint64_t bytes : {uint64_t{1} << 62, ~uint64_t{0}, ~uint64_t{0} - (2u << 20)})
    EXPECT_THROW(Buffer(device, MemoryKind::kDevice, bytes), core::Error) << bytes;
}

struct AppendParams {
  std::vector<int>* list;
  int value;
};

void run_append(const AppendParams& params, ThreadTeam&) { params.list->push_back(params.value); }

TEST(HostStream, RecordsInsteadOfRunningAndReplaysInOrderAsOftenAsAsked) {
  const auto device = open_host(2);
  Stream stream(device, StreamKind::kCompute);
  std::vector<int> list;
  const auto append = [&](int value) {
    enqueue_host<run_append>(stream.handle(), AppendParams{&list, value});
  };
  append(1);
  const std::unique_ptr<Graph> graph = stream.record([&] {
    append(2);
    append(3);
  });
  EXPECT_GT(graph->bytes(), 0u);
  append(4);
  stream.launch(*graph);
  append(5);
  stream.launch(*graph);
  stream.synchronize();
  EXPECT_EQ(list, (std::vector<int>{1, 4, 2, 3, 5, 2, 3}));
}

struct OwningParams {
  std::shared_ptr<int>* owner;
};

TEST(HostStream, KeepsWhatARecordedCommandOwnsUntilGraphAndLaunchesAreGone) {
  const auto device = open_host(1);
  Stream stream(device, StreamKind::kCompute);
  const auto runs = std::make_shared<int>(0);
  const auto enqueue = [&] {
    const OwningParams params{new std::shared_ptr<int>(runs)};
    enqueue_host_command(
        stream.handle(),
        [](const void* bytes, ThreadTeam&) { ++**static_cast<const OwningParams*>(bytes)->owner; },
        &params, sizeof params,
        [](void* bytes) { delete static_cast<OwningParams*>(bytes)->owner; });
  };
  enqueue();
  stream.synchronize();
  EXPECT_EQ(runs.use_count(), 1);
  std::unique_ptr<Graph> graph = stream.record(enqueue);
  EXPECT_EQ(runs.use_count(), 2);
  for (int i = 0; i < 100; ++i) stream.launch(*graph);
  graph.reset();
  stream.synchronize();
  EXPECT_EQ(*runs, 101);
  EXPECT_EQ(runs.use_count(), 1);
}

TEST(HostStream, GoesOnAfterARecordingThatFailed) {
  const auto device = open_host(1);
  Stream stream(device, StreamKind::kCompute);
  Event event(device);
  std::vector<int> list;
  // Events count what was enqueued, which a replay would not.
  EXPECT_THROW(stream.record([&] {
    enqueue_host<run_append>(stream.handle(), AppendParams{&list, 1});
    event.record(stream);
  }),
               core::Error);
  EXPECT_THROW(stream.end_recording(), core::Error);
  enqueue_host<run_append>(stream.handle(), AppendParams{&list, 2});
  event.record(stream);
  event.synchronize();
  EXPECT_EQ(list, std::vector<int>{2});
}

void run_failure(const AppendParams& params, ThreadTeam&) {
  core::fail(core::Status::kInternal, "command ", params.value, " failed");
}

TEST(HostStream, RunsAllOfAGraphAndTellsItsFirstFailure) {
  const auto device = open_host(1);
  Stream stream(device, StreamKind::kCompute);
  std::vector<int> list;
  const std::unique_ptr<Graph> graph = stream.record([&] {
    enqueue_host<run_failure>(stream.handle(), AppendParams{&list, 1});
    enqueue_host<run_append>(stream.handle(), AppendParams{&list, 2});
    enqueue_host<run_failure>(stream.handle(), AppendParams{&list, 3});
  });
  stream.launch(*graph);
  try {
    stream.synchronize();
    FAIL() << "the failure was lost";
  } catch (const core::Error& failure) {
    EXPECT_STREQ(failure.what(), "command 1 failed");
  }
  EXPECT_EQ(list, std::vector<int>{2});
}

TEST(HostStream, RunsCommandsInOrderAndOutlastsAFullQueue) {
  const auto device = open_host(2);
  Stream stream(device, StreamKind::kCompute);
  std::vector<int> list;
  for (int i = 0; i < 20000; ++i) enqueue_host<run_append>(stream.handle(), AppendParams{&list, i});
  stream.synchronize();
  std::vector<int> expected(20000);
  std::iota(expected.begin(), expected.end(), 0);
  EXPECT_EQ(list, expected);
}

TEST(HostStream, WaitsForAnEventOfAnotherStream) {
  const auto device = open_host(1);
  Stream compute(device, StreamKind::kCompute);
  Stream copies(device, StreamKind::kCopy);
  Event copied(device);
  for (int round = 0; round < 200; ++round) {
    std::vector<int> source(1000, round), middle(1000, -1), target(1000, -1);
    copies.copy(middle.data(), source.data(), source.size() * sizeof(int));
    copied.record(copies);
    compute.wait(copied);
    compute.copy(target.data(), middle.data(), middle.size() * sizeof(int));
    compute.synchronize();
    ASSERT_EQ(target, source);
    ASSERT_TRUE(copied.is_complete());
  }
}

TEST(HostDevice, RefusesBadArgumentsWithValueAndLimit) {
  EXPECT_THROW(
      {
        try {
          open_host(257);
        } catch (const core::Error& error) {
          EXPECT_EQ(error.status(), core::Status::kInvalidArgument);
          EXPECT_STREQ(error.what(), "num_threads is 257, the limit is 0..256");
          throw;
        }
      },
      core::Error);
  EXPECT_THROW(Buffer(open_host(1), MemoryKind::kDevice, uint64_t{1} << 60), core::Error);
}

}  // namespace
}  // namespace slora::device
