// A kernel of NCCL waits on the device for its peers and knows no time limit. So the watchdog looks
// every few milliseconds whether the group is broken, from whatever side, and then aborts the
// communicator, which ends the kernel; and whoever waits for the device waits here, with a limit.
#include "nccl_group.hpp"

#include <chrono>
#include <cstring>

#include "group_options.hpp"
#include "slora/comm/nccl_group.hpp"
#include "slora/core/log.hpp"
#include "thread_link.hpp"

namespace slora::comm {
namespace {

using core::fail;
using core::Status;
using core::str_cat;
using std::chrono::milliseconds;

constexpr auto kWatch = milliseconds(10);
// After an abort the kernels end within moments; a device that does not is lost.
constexpr auto kAfterAbort = milliseconds(5000);
// For the other ranks to leave too.
constexpr auto kLeave = std::chrono::duration<int32_t, std::milli>(2000);
// Spinning in synchronize() before it yields: a decode step takes a few milliseconds.
constexpr auto kSpin = milliseconds(20);

int64_t now_ns() {
  return std::chrono::nanoseconds(std::chrono::steady_clock::now().time_since_epoch()).count();
}

void expect(int32_t status, const device::ApiError& error) {
  if (status != 0) fail(static_cast<Status>(status), error.message);
}

void load(const CommApi* api) {
  if (!api) {
    fail(Status::kUnsupported,
         "the CUDA plugin has no collectives between GPUs: tensor parallelism is not available");
  }
  int32_t version = 0;
  device::ApiError error{};
  expect(api->load(&version, &error), error);
  core::log(core::LogLevel::kInfo, "NCCL ", version / 10000, ".", version / 100 % 100, ".",
            version % 100);
}

std::vector<uint8_t> make_id(const CommApi& api) {
  std::vector<uint8_t> id(kCommIdBytes);
  device::ApiError error{};
  expect(api.make_id(id.data(), &error), error);
  return id;
}

// The communicators of this process: destroyed together, after the last of its ranks has left.
class Communicators {
 public:
  Communicators(const CommApi& api, std::vector<std::shared_ptr<device::Device>> devices)
      : api_(api), devices_(std::move(devices)) {}
  Communicators(const Communicators&) = delete;
  ~Communicators() {
    // Several are ranks of one process, and none has work left: there is nobody to wait for.
    for (void* comm : comms_) {
      if (comms_.size() > 1) api_.abort(comm);
      api_.destroy(comm);
    }
  }

  void* comm(size_t idx) const { return comms_[idx]; }

  void begin_to_create(const std::vector<uint8_t>& id, const HostLink& link, size_t device_idx) {
    void* comm = nullptr;
    device::ApiError error{};
    expect(api_.create(devices_[device_idx]->handle(), id.data(), link.size(), link.tp_rank(),
                       link.time_limit_ms(), &comm, &error),
           error);
    comms_.push_back(comm);
  }

  // Destruction after a failure must not wait for ranks that will not come.
  void await_ready() {
    for (void* comm : comms_) {
      device::ApiError error{};
      const int32_t status = api_.await_ready(comm, &error);
      if (status == 0) continue;
      for (void* each : comms_) api_.abort(each);
      expect(status, error);
    }
  }

 private:
  const CommApi& api_;
  std::vector<std::shared_ptr<device::Device>> devices_;
  std::vector<void*> comms_;
};

}  // namespace

NcclGroup::NcclGroup(std::unique_ptr<HostLink> link, const CommApi& api, void* comm,
                     std::shared_ptr<void> owner)
    : link_(std::move(link)),
      breakage_(link_->breakage()),
      api_(api),
      comm_(comm),
      owner_(std::move(owner)) {
  watchdog_ = std::thread([this] { watch(); });
}

NcclGroup::~NcclGroup() {
  // Peers may still write their last acknowledgements into this rank's buffers.
  const bool is_whole = link_->leave(kLeave.count());
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
  }
  stopped_.notify_all();
  watchdog_.join();
  if (!is_whole) api_.abort(comm_);
}

void NcclGroup::expect(int32_t status, const device::ApiError& error) {
  if (status == 0) return;
  breakage_->set(str_cat("rank ", tp_rank(), " of ", size(), ": ", error.message));
  breakage_->check();
}

void NcclGroup::all_reduce(void* stream, void* data, int64_t count, core::DType dtype) {
  breakage_->check();
  if (count == 0) return;
  device::ApiError error{};
  expect(api_.all_reduce(comm_, stream, data, count, dtype, &error), error);
}

void NcclGroup::all_gather(void* stream, const void* send, void* recv, uint64_t bytes) {
  breakage_->check();
  if (bytes == 0) return;
  device::ApiError error{};
  expect(api_.all_gather(comm_, stream, send, recv, bytes, &error), error);
}

void NcclGroup::broadcast(void* stream, void* data, uint64_t bytes, int32_t root) {
  breakage_->check();
  if (bytes == 0) return;
  device::ApiError error{};
  expect(api_.broadcast(comm_, stream, data, bytes, root, &error), error);
}

void NcclGroup::begin_work() noexcept { work_begun_ns_ = now_ns(); }

int64_t NcclGroup::extended_limit_ms() const {
  const int64_t limit_ms = link_->time_limit_ms();
  return limit_ms + limit_ms / 4 + 1000;
}

void NcclGroup::watch() {
  std::unique_lock<std::mutex> lock(mutex_);
  while (!stop_) {
    if (breakage_->is_set()) return api_.abort(comm_);
    device::ApiError error{};
    const int64_t begun_ns = work_begun_ns_;
    if (begun_ns != kNoWork && now_ns() - begun_ns > extended_limit_ms() * 1'000'000)
      breakage_->set(str_cat("rank ", tp_rank(), " of ", size(),
                             " has not put a step on its device within the time limit of ",
                             link_->time_limit_ms(), " ms"));
    else if (api_.check(comm_, &error) != 0)
      breakage_->set(str_cat("rank ", tp_rank(), " of ", size(), ": ", error.message));
    else
      stopped_.wait_for(lock, kWatch);
  }
}

void NcclGroup::synchronize(device::Event& event) {
  const auto begin = std::chrono::steady_clock::now();
  auto deadline = begin + milliseconds(link_->time_limit_ms());
  bool is_extended = tp_rank() == 0;
  auto broken_at = std::chrono::steady_clock::time_point::max();
  try {
    while (!event.is_complete()) {
      const auto now = std::chrono::steady_clock::now();
      if (breakage_->is_set() && broken_at == std::chrono::steady_clock::time_point::max())
        broken_at = now;
      if (broken_at != std::chrono::steady_clock::time_point::max()) {
        // Its memory must not be given back while kernels run.
        if (now - broken_at > kAfterAbort) break;
      } else if (now >= deadline) {
        const int32_t silent = link_->find_silent_rank();
        if (silent < 0 && !is_extended) {
          // Rank 0 is there, and knows more: it asks all the others.
          is_extended = true;
          deadline = begin + milliseconds(extended_limit_ms());
        } else {
          break_for_lateness(silent);
        }
      }
      if (now - begin > kSpin) std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
  } catch (const core::Error&) {
    // An aborted kernel may leave an error on the device; why it was aborted is the better line.
    breakage_->check();
    throw;
  }
  breakage_->check();
}

void NcclGroup::break_for_lateness(int32_t silent) {
  const std::string late = str_cat(" within the time limit of ", link_->time_limit_ms(), " ms");
  breakage_->set(silent >= 0 ? str_cat("rank ", silent, " of ", size(),
                                       " gives no sign of life and the step did not end", late)
                             : str_cat("rank ", tp_rank(), " of ", size(),
                                       " waits for collectives that did not end", late,
                                       "; the processes of all ranks are there"));
}

std::unique_ptr<Group> make_nccl_group(std::unique_ptr<HostLink> link, const CommApi* api,
                                       std::shared_ptr<device::Device> device) {
  try {
    load(api);
    std::vector<uint8_t> id;
    if (link->tp_rank() == 0) id = make_id(*api);
    link->broadcast_message(id, 0);
    if (id.size() != kCommIdBytes)
      fail(Status::kFormat, "rank 0 sent an id of ", id.size(), " bytes, not ", kCommIdBytes);
    const auto owner = std::make_shared<Communicators>(*api, std::vector{std::move(device)});
    owner->begin_to_create(id, *link, 0);
    owner->await_ready();
    return std::make_unique<NcclGroup>(std::move(link), *api, owner->comm(0), owner);
  } catch (const core::Error& failure) {
    if (link) link->abort(failure.what());
    throw;
  }
}

std::vector<std::unique_ptr<Group>> make_nccl_thread_groups(
    const CommApi* api, const std::vector<std::shared_ptr<device::Device>>& devices,
    GroupOptions options) {
  const auto size = static_cast<int32_t>(devices.size());
  options = checked(options, size);
  load(api);
  const std::vector<uint8_t> id = make_id(*api);
  const auto mailroom = std::make_shared<Mailroom>(size, options.time_limit_ms);
  const auto owner = std::make_shared<Communicators>(*api, devices);
  std::vector<std::unique_ptr<HostLink>> links;
  for (size_t rank = 0; rank < devices.size(); ++rank) {
    links.push_back(std::make_unique<ThreadLink>(mailroom, static_cast<int32_t>(rank)));
    owner->begin_to_create(id, *links.back(), rank);
  }
  owner->await_ready();
  std::vector<std::unique_ptr<Group>> groups;
  for (size_t rank = 0; rank < devices.size(); ++rank) {
    groups.push_back(
        std::make_unique<NcclGroup>(std::move(links[rank]), *api, owner->comm(rank), owner));
  }
  return groups;
}

}  // namespace slora::comm
