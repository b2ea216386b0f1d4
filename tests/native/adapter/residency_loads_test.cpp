// Loads: images arrive whole in whatever pages there are, and layer by layer.
#include <algorithm>

#include "residency_test.hpp"

namespace slora::adapter {
namespace {

// Pages small enough to travel by copy_pages, and large enough that a run travels by itself; in
// pools broken up at random.
TEST_F(ResidencyTest, ImagesArriveWholeInScatteredAndInNeighbouringPages) {
  std::mt19937 random(7);
  for (const int64_t page_bytes : {int64_t{64}, int64_t{12}, int64_t{96 << 10}}) {
    adapters_.clear();
    make(96, 11, EvictionKind::kLru, device::host_device_api(), page_bytes);
    std::vector<int32_t> kv(96);
    ASSERT_TRUE(pool_->try_acquire(memory::PageOwner::kKv, kv));
    std::shuffle(kv.begin(), kv.end(), random);
    // A run of 40 and holes anywhere else.
    for (int32_t page = 50; page < 90; ++page) pool_->release(page);
    std::erase_if(kv, [](int32_t page) { return page >= 50 && page < 90; });
    for (int i = 0; i < 30; ++i) pool_->release(kv[static_cast<size_t>(i)]);
    for (const int32_t pages : {5, 44, 1, 20}) load(add(pages));
    for (const auto& adapter : adapters_) expect_in_pages(*adapter);
    expect_valid();
    for (const auto& adapter : adapters_) cache_->drop(*adapter);
  }
}

// ---- the order of copies, events and waits

struct Call {
  enum Kind { kCopy, kRecord, kWait } kind;
  void* stream;
  const uint8_t* target;  // of copies
  void* event;
};
std::vector<Call> g_calls;

// The host's table, which also writes down what was asked in which order.
const device::DeviceApi* recording_api() {
  static const device::DeviceApi api = [] {
    device::DeviceApi table = *device::host_device_api();
    table.copy_async = [](void* stream, void* to, const void* from, uint64_t bytes,
                          device::ApiError* error) {
      g_calls.push_back({Call::kCopy, stream, static_cast<const uint8_t*>(to), nullptr});
      return device::host_device_api()->copy_async(stream, to, from, bytes, error);
    };
    table.copy_pages = [](void* stream, const device::PageCopy* copy, device::ApiError* error) {
      for (int32_t layer = 0; layer < copy->num_layers; ++layer)
        for (int32_t i = 0; i < copy->num_pages; ++i)
          g_calls.push_back(
              {Call::kCopy, stream,
               copy->slice + layer * copy->slice_bytes + copy->targets[i] * copy->page_bytes,
               nullptr});
      return device::host_device_api()->copy_pages(stream, copy, error);
    };
    table.event_record = [](void* event, void* stream, device::ApiError* error) {
      g_calls.push_back({Call::kRecord, stream, nullptr, event});
      return device::host_device_api()->event_record(event, stream, error);
    };
    table.stream_wait_event = [](void* stream, void* event, device::ApiError* error) {
      g_calls.push_back({Call::kWait, stream, nullptr, event});
      return device::host_device_api()->stream_wait_event(stream, event, error);
    };
    return table;
  }();
  return &api;
}

// Before layer l compute has waited for an event that follows every copy into layer l on its
// stream, and before layer 0 for none that follows the last layer's: the first layers run while the
// others are copied.
TEST_F(ResidencyTest, ALayerWaitsForItsOwnPagesAndNotForLaterLayers) {
  for (const int32_t num_layers : {1, 3, 8, 22, 32}) {
    adapters_.clear();
    make(16, num_layers, EvictionKind::kLru, recording_api());
    Adapter& adapter = add(5);
    device::Stream compute(device_, device::StreamKind::kCompute);
    g_calls.clear();
    ASSERT_TRUE(cache_->try_load(adapter, LoadUrgency::kNow));
    const std::vector<Call> copies = g_calls;
    const auto layer_of = [&](const uint8_t* target) {
      return static_cast<int32_t>((target - arena_->slice(0)) / arena_->geometry().slice_bytes());
    };
    // The layers whose copies all come before the record of `event`.
    const auto layers_before = [&](const void* event) {
      std::vector<int32_t> pages(static_cast<size_t>(num_layers));
      for (const Call& call : copies) {
        if (call.kind == Call::kRecord && call.event == event) break;
        if (call.kind == Call::kCopy) ++pages[static_cast<size_t>(layer_of(call.target))];
      }
      int32_t layers = 0;
      while (layers < num_layers && pages[static_cast<size_t>(layers)] == 5) ++layers;
      return layers;
    };
    int32_t waited = 0;
    for (int32_t layer = 0; layer < num_layers; ++layer) {
      g_calls.clear();
      cache_->order_layer(adapter, layer, compute);
      for (const Call& call : g_calls) {
        ASSERT_EQ(call.kind, Call::kWait);
        ASSERT_EQ(call.stream, compute.handle());
        waited = std::max(waited, layers_before(call.event));
      }
      ASSERT_GT(waited, layer) << "layer " << layer << " of " << num_layers << " may run too early";
      ASSERT_LE(waited, layer + (num_layers + 7) / 8) << "layer " << layer << " waits too long";
    }
    compute.synchronize();
    cache_->drop(adapter);
  }
}

TEST_F(ResidencyTest, LoadsAheadOfNeedHaveAStreamOfTheirOwn) {
  make(32, 2, EvictionKind::kLru, recording_api());
  Adapter& now = add(4);
  Adapter& ahead = add(4);
  g_calls.clear();
  ASSERT_TRUE(cache_->try_load(ahead, LoadUrgency::kAhead));
  const void* ahead_stream = g_calls.front().stream;
  g_calls.clear();
  ASSERT_TRUE(cache_->try_load(now, LoadUrgency::kNow));
  for (const Call& call : g_calls) EXPECT_NE(call.stream, ahead_stream);
}

}  // namespace
}  // namespace slora::adapter
