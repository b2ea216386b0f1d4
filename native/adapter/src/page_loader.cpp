// Long runs of neighbouring pages go by plain copies, one a layer; what is scattered goes by
// copy_pages, many pages a launch.
#include "slora/adapter/page_loader.hpp"

#include <algorithm>

#include "slora/adapter/adapter.hpp"
#include "slora/core/check.hpp"

namespace slora::adapter {
namespace {

// More stages let compute begin earlier; each costs an event, a wait and, for scattered pages, a
// launch.
constexpr int32_t kMaxStages = 8;

// A run of at least this many bytes a layer is copied by itself: below, the start of a copy, some
// microseconds, weighs more than its bytes (bench_cuda_load prints both).
constexpr int64_t kMinCopyBytes = 256 << 10;

struct Run {
  int32_t begin;  // position in the adapter's pages
  int32_t count;
};

// Cuts ascending page ids into runs of neighbours.
template <typename Visit>
void for_each_run(const std::vector<int32_t>& pages, Visit&& visit) {
  const auto num_pages = static_cast<int32_t>(pages.size());
  for (int32_t begin = 0, end; begin < num_pages; begin = end) {
    end = begin + 1;
    while (end < num_pages &&
           pages[static_cast<size_t>(end)] == pages[static_cast<size_t>(end - 1)] + 1) {
      ++end;
    }
    visit(Run{begin, end - begin});
  }
}

}  // namespace

PageLoader::PageLoader(const memory::Arena& arena, std::shared_ptr<device::Device> device)
    : arena_(arena),
      device_(std::move(device)),
      num_stages_(std::min(kMaxStages, arena.geometry().num_layers)),
      now_(device_, device::StreamKind::kCopy),
      ahead_(device_, device::StreamKind::kCopy) {}

int32_t PageLoader::stage_begin(int32_t stage) const {
  return static_cast<int32_t>(int64_t{stage} * arena_.geometry().num_layers / num_stages_);
}

void PageLoader::start(Adapter& adapter, LoadUrgency urgency) {
  SLORA_CHECK(!adapter.stages);
  if (idle_.empty()) {
    auto made = std::make_unique<LoadStages>();
    for (int32_t i = 0; i < num_stages_; ++i) made->events.emplace_back(device_);
    idle_.push_back(std::move(made));
  }
  adapter.stages = std::move(idle_.back());
  idle_.pop_back();
  device::Stream& stream = urgency == LoadUrgency::kNow ? now_ : ahead_;
  for (int32_t stage = 0; stage < num_stages_; ++stage) {
    copy_layers(adapter, stage_begin(stage), stage_begin(stage + 1), stream);
    adapter.stages->events[static_cast<size_t>(stage)].record(stream);
  }
  adapter.loaded.record(stream);
}

void PageLoader::copy_layers(const Adapter& adapter, int32_t begin, int32_t end,
                             device::Stream& stream) {
  const memory::ArenaGeometry& geometry = arena_.geometry();
  device::PageCopy scattered{};
  scattered.slice = arena_.slice(begin);
  scattered.source = adapter.image.layer_data(begin);
  scattered.slice_bytes = geometry.slice_bytes();
  scattered.layer_bytes = static_cast<int64_t>(adapter.image.layer_bytes());
  scattered.page_bytes = geometry.page_bytes;
  scattered.num_layers = end - begin;
  const auto flush = [&] {
    if (scattered.num_pages > 0) stream.copy(scattered);
    scattered.num_pages = 0;
  };
  for_each_run(adapter.pages, [&](const Run& run) {
    const int32_t first_page = adapter.pages[static_cast<size_t>(run.begin)];
    if (run.count * geometry.page_bytes >= kMinCopyBytes) {
      for (int32_t layer = begin; layer < end; ++layer) {
        stream.copy(arena_.page(layer, first_page),
                    adapter.image.layer_data(layer) + run.begin * geometry.page_bytes,
                    static_cast<uint64_t>(run.count * geometry.page_bytes));
      }
      return;
    }
    for (int32_t i = 0; i < run.count; ++i) {
      scattered.sources[scattered.num_pages] = run.begin + i;
      scattered.targets[scattered.num_pages] = first_page + i;
      if (++scattered.num_pages == device::kMaxCopyPages) flush();
    }
  });
  flush();
}

void PageLoader::order_layer(const Adapter& adapter, int32_t layer_idx,
                             device::Stream& compute) const {
  if (!adapter.stages) return;
  // The stage of a layer: the last whose begin is not past it.
  const auto stage = static_cast<int32_t>(
      (int64_t{layer_idx} * num_stages_ + num_stages_ - 1) / arena_.geometry().num_layers);
  if (stage < num_stages_ && stage_begin(stage) == layer_idx)
    compute.wait(adapter.stages->events[static_cast<size_t>(stage)]);
}

void PageLoader::finish(Adapter& adapter) {
  if (adapter.stages) idle_.push_back(std::move(adapter.stages));
}

}  // namespace slora::adapter
