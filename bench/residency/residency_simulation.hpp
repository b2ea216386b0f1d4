// Replays a trace of requests through the real pool and residency cache, with pages of a few bytes
// and time that is counted: what an eviction policy is worth, without a card.
//
// A step gives every running sequence one token and takes kStepSeconds and the time of the loads
// that its rows wait for. Admission is first come, first served with the scheduler's own rule: the
// prompt, the adapter and one page a running sequence must fit into free pages and those of idle
// adapters. After each step the adapters of the queue's head are loaded ahead, as the engine does.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "slora/adapter/page_room.hpp"
#include "slora/adapter/residency_cache.hpp"
#include "slora/core/status.hpp"
#include "slora/device/host_device.hpp"

namespace slora::bench {

struct TraceRequest {
  double seconds;
  int32_t adapter;
  int32_t prompt_tokens;
  int32_t output_tokens;
};

struct SimulationOptions {
  adapter::EvictionKind eviction = adapter::EvictionKind::kLru;
  int32_t num_pages = 7168;  // 56 GiB of Llama-7B pages
  int32_t max_rows = 256;
  std::vector<int32_t> adapter_pages = {16, 8, 4, 2};  // in turn: ranks 64, 32, 16, 8 on q, k, v, o
  int32_t num_adapters = 0;
  int32_t prefetch = 64;  // waiting requests whose adapters are named as needed soon
  int32_t max_batch_tokens = 2048;
  double end_seconds = 1e9;  // stop there
  std::function<std::unique_ptr<adapter::PageRoom>(memory::PagePool&, adapter::ResidencyCache&)>
      room = adapter::unified_room;
};

struct SimulationResult {
  uint64_t requests = 0;  // that ended
  uint64_t admitted = 0;  // again after a preemption too
  uint64_t warm = 0;      // of those: found their adapter resident
  adapter::ResidencyCounters residency;
  double wait_seconds = 0;  // of rows for loads
  double seconds = 0;       // until the last request has ended
  uint64_t preemptions = 0;
};

class ResidencySimulation {
 public:
  explicit ResidencySimulation(const SimulationOptions& options)
      : options_(options),
        device_(std::make_shared<device::Device>(device::host_device_api(), 0, 1)),
        arena_(device_, {options.num_pages, 1, kTokensPerPage, kPageBytes, kPageBytes / 4}),
        pool_(options.num_pages),
        cache_(pool_, arena_, device_, options.eviction),
        room_(options.room(pool_, cache_)) {
    for (int32_t i = 0; i < options.num_adapters; ++i) {
      const int32_t pages =
          options.adapter_pages[static_cast<size_t>(i) % options.adapter_pages.size()];
      adapter::ImageLayout layout;
      layout.num_layers = 1;
      layout.num_pages = pages;
      layout.image_bytes = static_cast<uint64_t>(pages * kPageBytes);
      adapter::PackedImage image(layout, {kPageBytes / 4, core::DType::kF32},
                                 adapter::heap_image_allocator());
      adapters_.push_back(std::make_unique<adapter::Adapter>(
          static_cast<uint64_t>(i) + 1,
          std::make_shared<adapter::AdapterContent>(std::move(image), device::Buffer(), ""),
          device::Buffer(), device_));
      adapters_.back()->item.load_bytes = static_cast<uint64_t>(pages) * kLoadBytesPerPage;
    }
  }

  ~ResidencySimulation() {
    for (const auto& adapter : adapters_) cache_.drop(*adapter);
  }

  SimulationResult run(const std::vector<TraceRequest>& trace) {
    size_t next = 0;
    while ((next < trace.size() || !waiting_.empty() || !running_.empty()) &&
           now_ < options_.end_seconds) {
      if (waiting_.empty() && running_.empty()) now_ = std::max(now_, trace[next].seconds);
      for (; next < trace.size() && trace[next].seconds <= now_; ++next)
        waiting_.push_back({&trace[next], 0, 0});
      step();
    }
    result_.seconds = now_;
    result_.residency = cache_.counters();
    return result_;
  }

 private:
  static constexpr int32_t kTokensPerPage = 16;
  static constexpr int64_t kPageBytes = 64;
  static constexpr uint64_t kLoadBytesPerPage = 8u << 20;  // 32 layers of 256 KiB
  static constexpr double kStepSeconds = 0.025;
  static constexpr double kLinkBytesPerSecond = 50e9;

  struct Running {
    const TraceRequest* request;
    int32_t done;  // output tokens
    int32_t pages;
    std::vector<int32_t> kv = {};
  };

  adapter::Adapter& adapter_of(const Running& sequence) {
    return *adapters_[static_cast<size_t>(sequence.request->adapter)];
  }

  int32_t pages_of(const Running& sequence) const {
    return (sequence.request->prompt_tokens + sequence.done + kTokensPerPage) / kTokensPerPage;
  }

  void step() {
    now_ += kStepSeconds;
    for (size_t i = 0; i < running_.size();) {
      if (grow(running_[i])) {
        ++i;
      } else {
        preempt_latest();
      }
    }
    admit();
    prefetch();
    settle_loads();
    collect();
  }

  // Steps run ahead by one: what ended in a step is let go when the next one is under way, and the
  // scheduler, which counts pages as they were before that, learns of the adapters' a step later.
  void collect() {
    unseen_pages_ = 0;
    for (size_t i = 0; i < running_.size();) {
      if (running_[i].done < running_[i].request->output_tokens) {
        ++running_[i++].done;
        continue;
      }
      const adapter::Adapter& adapter = adapter_of(running_[i]);
      unseen_pages_ += adapter.num_sequences == 1 ? adapter.num_pages() : 0;
      end(i);
      ++result_.requests;
    }
  }

  void admit() {
    int32_t tokens = static_cast<int32_t>(running_.size());
    while (!waiting_.empty() && running_.size() < static_cast<size_t>(options_.max_rows) &&
           tokens < options_.max_batch_tokens) {
      Running& sequence = waiting_.front();
      adapter::Adapter& adapter = adapter_of(sequence);
      const int32_t to_hold = adapter.num_sequences == 0 ? adapter.num_pages() : 0;
      if (!running_.empty() && pages_of(sequence) + to_hold + int32_t(running_.size()) >
                                   pool_.num_free() + cache_.num_idle_pages() - unseen_pages_) {
        return;
      }
      tokens += sequence.request->prompt_tokens;
      ++result_.admitted;
      cache_.hold(adapter);
      cache_.set_in_plan(adapter, true);
      if (adapter.residency != adapter::Residency::kHost) {
        ++result_.warm;
      } else {
        load_now(adapter);
      }
      cache_.begin_step(adapter);
      cache_.set_in_plan(adapter, false);
      running_.push_back(std::move(sequence));
      waiting_.pop_front();
      if (grow(running_.back())) continue;
      expect_room(running_.size() > 1);
      return preempt_latest();
    }
  }

  void load_now(adapter::Adapter& adapter) {
    adapter::Adapter* const loaded = &adapter;
    expect_room(room_->make({0, {&loaded, 1}, 0}) == core::Status::kOk &&
                cache_.try_load(adapter, adapter::LoadUrgency::kNow));
    const double load = double(adapter.item.load_bytes) / kLinkBytesPerSecond;
    result_.wait_seconds += load;
    now_ += load;
  }

  void prefetch() {
    std::vector<adapter::Adapter*> wanted;
    for (size_t i = 0; i < std::min(waiting_.size(), static_cast<size_t>(options_.prefetch)); ++i) {
      adapter::Adapter* adapter = &adapter_of(waiting_[i]);
      if (std::find(wanted.begin(), wanted.end(), adapter) == wanted.end())
        wanted.push_back(adapter);
    }
    cache_.set_wanted(wanted);
    cache_.load_wanted(*room_, static_cast<int32_t>(running_.size()));
  }

  static void expect_room(bool holds) {
    if (!holds) core::fail(core::Status::kInternal, "the simulated pool is too small");
  }

  bool grow(Running& sequence) {
    if (sequence.done >= sequence.request->output_tokens) return true;
    const int32_t more = pages_of(sequence) - static_cast<int32_t>(sequence.kv.size());
    if (more <= 0) return true;
    if (room_->make({more, {}, 0}) != core::Status::kOk) return false;
    const size_t held = sequence.kv.size();
    sequence.kv.resize(held + static_cast<size_t>(more));
    return pool_.try_acquire(memory::PageOwner::kKv, std::span(sequence.kv).subspan(held));
  }

  void release(Running& sequence) {
    for (const int32_t page : sequence.kv) pool_.release(page);
    sequence.kv.clear();
    cache_.end_step(adapter_of(sequence));
    cache_.let_go(adapter_of(sequence));
  }

  void end(size_t i) {
    release(running_[i]);
    running_.erase(running_.begin() + static_cast<std::ptrdiff_t>(i));
  }

  void preempt_latest() {
    release(running_.back());
    running_.back().done = 0;
    waiting_.push_front(std::move(running_.back()));
    running_.pop_back();
    ++result_.preemptions;
  }

  void settle_loads() {
    while (cache_.num_loading_pages() > 0) {
      cache_.poll();
      std::this_thread::yield();
    }
    cache_.take_events(nullptr, 0);
  }

  SimulationOptions options_;
  std::shared_ptr<device::Device> device_;
  memory::Arena arena_;
  memory::PagePool pool_;
  adapter::ResidencyCache cache_;
  std::unique_ptr<adapter::PageRoom> room_;
  std::vector<std::unique_ptr<adapter::Adapter>> adapters_;
  std::deque<Running> waiting_;
  std::vector<Running> running_;
  double now_ = 0;
  int32_t unseen_pages_ = 0;
  SimulationResult result_;
};

}  // namespace slora::bench
