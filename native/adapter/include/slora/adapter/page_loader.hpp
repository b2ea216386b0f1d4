// Copies host images into pool pages, layer by layer, on copy streams of its own.
//
// The layers of a load are cut into a few stages with an event each: a step that needs the adapter
// waits for the stage of a layer just before that layer, so the first layers run while the others
// are still on the link. Loads that a row waits for and loads ahead of need have a stream each: no
// row waits behind the copy of an adapter that it does not use.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "slora/device/device.hpp"
#include "slora/memory/arena.hpp"

namespace slora::adapter {

struct Adapter;

enum class LoadUrgency : uint8_t { kNow, kAhead };

// The events of one load under way. Events are reused: a wait that is enqueued holds the record it
// was made for.
struct LoadStages {
  std::deque<device::Event> events;  // one a stage, recorded in order
};

class PageLoader {
 public:
  PageLoader(const memory::Arena& arena, std::shared_ptr<device::Device> device);

  // Starts the copy of the adapter's image into its pages; sets `stages` and records `loaded`.
  void start(Adapter& adapter, LoadUrgency urgency);

  // Makes `compute` wait for the pages of a layer, where the load's stage of that layer begins;
  // called for every layer in order.
  void order_layer(const Adapter& adapter, int32_t layer_idx, device::Stream& compute) const;

  // The load has ended, or `loaded` was waited for.
  void finish(Adapter& adapter);

 private:
  int32_t stage_begin(int32_t stage) const;
  void copy_layers(const Adapter& adapter, int32_t begin, int32_t end, device::Stream& stream);

  const memory::Arena& arena_;
  std::shared_ptr<device::Device> device_;
  int32_t num_stages_;
  device::Stream now_;
  device::Stream ahead_;
  std::vector<std::unique_ptr<LoadStages>> idle_;
};

}  // namespace slora::adapter
