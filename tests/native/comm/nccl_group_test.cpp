// The group of GPUs over a table that stands in for the plugin's: collectives of the host's thread
// groups, whose kernels wait for a lost rank for ever unless they are aborted, as NCCL's do.
#include "slora/comm/nccl_group.hpp"

#include <atomic>
#include <chrono>

#include "free_address.hpp"
#include "group_test.hpp"
#include "slora/comm/thread_group.hpp"

namespace slora::comm::test {
namespace {

using Clock = std::chrono::steady_clock;
using device::ApiError;

struct StandInComm {
  Group* group = nullptr;
};

// What the table's functions share. One test at a time.
struct StandIn {
  std::vector<std::unique_ptr<Group>> groups;
  std::atomic<int32_t> num_alive{0};
  std::atomic<int32_t> num_aborts{0};
  int32_t load_status = 0;
  std::atomic<bool> has_failed{false};
};
StandIn* g_stand_in = nullptr;

template <typename Body>
int32_t guarded(ApiError* error, const Body& body) {
  try {
    body();
    return 0;
  } catch (const core::Error& failure) {
    std::snprintf(error->message, sizeof error->message, "%s", failure.what());
    return static_cast<int32_t>(failure.status());
  }
}

Group& group_of(void* comm) { return *static_cast<StandInComm*>(comm)->group; }

int32_t load(int32_t* out_version, ApiError* error) {
  *out_version = 22703;
  return guarded(error, [] {
    if (g_stand_in->load_status != 0)
      core::fail(static_cast<core::Status>(g_stand_in->load_status), "NCCL could not be loaded");
  });
}

int32_t make_id(uint8_t* out_id, ApiError*) {
  std::fill_n(out_id, kCommIdBytes, uint8_t{42});
  return 0;
}

int32_t create(void*, const uint8_t* id, int32_t size, int32_t tp_rank, int32_t, void** out_comm,
               ApiError* error) {
  return guarded(error, [&] {
    if (id[0] != 42 || id[kCommIdBytes - 1] != 42) core::fail(core::Status::kBackend, "wrong id");
    if (g_stand_in->groups.empty()) {
      GroupOptions patient;
      patient.time_limit_ms = 3'600'000;
      g_stand_in->groups = make_thread_groups(size, patient);
    }
    *out_comm = new StandInComm{g_stand_in->groups[static_cast<size_t>(tp_rank)].get()};
    g_stand_in->num_alive.fetch_add(1);
  });
}

int32_t await_ready(void*, ApiError*) { return 0; }

void destroy(void* comm) {
  delete static_cast<StandInComm*>(comm);
  g_stand_in->num_alive.fetch_sub(1);
}

int32_t all_reduce(void* comm, void* stream, void* data, int64_t count, DType dtype,
                   ApiError* error) {
  return guarded(error, [&] { group_of(comm).all_reduce(stream, data, count, dtype); });
}

int32_t all_gather(void* comm, void* stream, const void* send, void* recv, uint64_t bytes,
                   ApiError* error) {
  return guarded(error, [&] { group_of(comm).all_gather(stream, send, recv, bytes); });
}

int32_t broadcast(void* comm, void* stream, void* data, uint64_t bytes, int32_t root,
                  ApiError* error) {
  return guarded(error, [&] { group_of(comm).broadcast(stream, data, bytes, root); });
}

int32_t check(void* comm, ApiError* error) {
  return guarded(error, [&] {
    if (g_stand_in->has_failed) core::fail(core::Status::kRankLost, "unhandled system error");
    group_of(comm).check();
  });
}

void abort(void* comm) {
  g_stand_in->num_aborts.fetch_add(1);
  group_of(comm).abort("the communicator was aborted");
}

constexpr CommApi kStandInApi = {sizeof(CommApi), kCommApiVersion, load,    make_id,
                                 create,          await_ready,     destroy, all_reduce,
                                 all_gather,      broadcast,       check,   abort};

class NcclGroups : public ::testing::Test {
 protected:
  NcclGroups() { g_stand_in = &stand_in_; }
  ~NcclGroups() override { EXPECT_EQ(stand_in_.num_alive, 0) << "a communicator is left"; }

  std::vector<std::unique_ptr<Group>> make(int32_t size, int32_t limit_ms = 20'000) {
    GroupOptions options;
    options.time_limit_ms = limit_ms;
    std::vector<std::shared_ptr<device::Device>> devices;
    for (int32_t i = 0; i < size; ++i)
      devices.push_back(std::make_shared<device::Device>(device::host_device_api(), 0, 1));
    return make_nccl_thread_groups(&kStandInApi, devices, options);
  }

  StandIn stand_in_;
};

TEST_F(NcclGroups, RunRandomOperations) {
  for (const int32_t size : {1, 2, 3}) {
    stand_in_.groups.clear();
    auto groups = make(size);
    const auto thrown = on_all_ranks(groups, [](Group& group) {
      RankDevice rank;
      run_random_program(group, rank, 17, 500);
    });
    for (const std::string& line : thrown) EXPECT_EQ(line, "");
    groups.clear();
    EXPECT_EQ(stand_in_.num_alive, 0);
  }
}

TEST_F(NcclGroups, ADeviceThatWaitsForEverIsEndedInTime) {
  auto groups = make(2, 300);
  RankDevice rank;
  device::Event event(rank.device);
  std::vector<float> data(10, 1.0f);
  const auto begin = Clock::now();
  groups[0]->all_reduce(rank.stream.handle(), data.data(), 10, DType::kF32);
  event.record(rank.stream);
  try {
    groups[0]->synchronize(event);
    FAIL() << "nobody else came";
  } catch (const core::Error& failure) {
    EXPECT_EQ(failure.status(), core::Status::kRankLost);
    EXPECT_STREQ(failure.what(),
                 "rank 0 of 2 waits for collectives that did not end within the time limit of 300 "
                 "ms; the processes of all ranks are there");
  }
  EXPECT_LT(Clock::now() - begin, std::chrono::seconds(20));
  EXPECT_GE(stand_in_.num_aborts, 1);
  EXPECT_THROW(groups[1]->check(), core::Error);
}

TEST_F(NcclGroups, AHostThatStopsInsideItsDeviceIsEndedInTime) {
  auto groups = make(2, 300);
  { const Work work(groups[1].get()); }
  {
    const Work work(groups[0].get());
    std::this_thread::sleep_for(std::chrono::milliseconds(600));
    EXPECT_NO_THROW(groups[0]->check()) << "within the limit and what it is extended by";
    std::this_thread::sleep_for(std::chrono::milliseconds(1200));
    // Both: no collective of either would ever end.
    EXPECT_GE(stand_in_.num_aborts, 2);
  }
  try {
    groups[1]->check();
    FAIL() << "rank 0 stood still";
  } catch (const core::Error& failure) {
    EXPECT_EQ(failure.status(), core::Status::kRankLost);
    EXPECT_STREQ(failure.what(),
                 "rank 0 of 2 has not put a step on its device within the time limit of 300 ms");
  }
}

TEST_F(NcclGroups, ABreakageFromTheHostsAbortsTheDevices) {
  auto groups = make(3);
  const auto thrown = on_all_ranks(groups, [](Group& group) {
    if (group.tp_rank() == 1) {
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
      return group.abort("told to");
    }
    RankDevice rank;
    device::Event event(rank.device);
    std::vector<float> data(10, 1.0f);
    group.all_reduce(rank.stream.handle(), data.data(), 10, DType::kF32);
    event.record(rank.stream);
    group.synchronize(event);
  });
  const std::string line = "rank 1 of 3 gave up: told to";
  EXPECT_EQ(thrown, (std::vector<std::string>{line, "", line}));
}

TEST_F(NcclGroups, AFailureOfNcclBreaksTheGroup) {
  auto groups = make(2);
  stand_in_.has_failed = true;
  for (int waited = 0; waited < 5000; waited += 10) {
    try {
      groups[1]->check();
    } catch (const core::Error& failure) {
      const std::string line = failure.what();
      EXPECT_NE(line.find(" of 2: unhandled system error"), std::string::npos) << line;
      return;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  FAIL() << "the watchdog saw nothing";
}

TEST_F(NcclGroups, WithoutTheTableOrTheLibraryAreRefused) {
  const auto device = std::make_shared<device::Device>(device::host_device_api(), 0, 1);
  try {
    make_nccl_thread_groups(nullptr, {device, device});
    FAIL();
  } catch (const core::Error& failure) {
    EXPECT_EQ(failure.status(), core::Status::kUnsupported);
    EXPECT_STREQ(failure.what(),
                 "the CUDA plugin has no collectives between GPUs: tensor parallelism is not "
                 "available");
  }
  stand_in_.load_status = static_cast<int32_t>(core::Status::kBackend);
  try {
    make(2);
    FAIL();
  } catch (const core::Error& failure) {
    EXPECT_EQ(failure.status(), core::Status::kBackend);
    EXPECT_STREQ(failure.what(), "NCCL could not be loaded");
  }
}

TEST_F(NcclGroups, JoinAsProcessesDo) {
  // The ranks' sides of one rendezvous, as threads: the link and the passing of the id are those of
  // processes.
  JoinOptions options;
  options.address = free_address();
  options.size = 3;
  options.secret = "s";
  std::vector<std::string> thrown(3);
  std::vector<std::thread> threads;
  GroupOptions patient;
  stand_in_.groups = make_thread_groups(3, patient);
  for (int32_t tp_rank = 0; tp_rank < 3; ++tp_rank) {
    threads.emplace_back([&, tp_rank] {
      try {
        JoinOptions own = options;
        own.tp_rank = tp_rank;
        RankDevice rank;
        const auto group = make_nccl_group(join_processes(own), &kStandInApi, rank.device);
        run_random_program(*group, rank, 23, 300);
      } catch (const core::Error& failure) {
        thrown[static_cast<size_t>(tp_rank)] = failure.what();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::string& line : thrown) EXPECT_EQ(line, "");
  EXPECT_EQ(stand_in_.num_aborts, 0);
}

}  // namespace
}  // namespace slora::comm::test
