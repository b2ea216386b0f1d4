// Exports of adapter.h.
#include "handles.hpp"

using namespace slora;

namespace slora::capi {
namespace {

engine::AdapterOptions read_options(const slora_engine& engine, const slora_adapter_options& in) {
  engine::AdapterOptions options;
  if (in.share_image_of) {
    if (in.path || in.synthetic_lora_rank > 0) {
      fail(Status::kInvalidArgument, "path must be null and synthetic_lora_rank 0, it is ",
           in.synthetic_lora_rank, ", where share_image_of is set");
    }
    if (in.share_image_of->engine != engine.engine)
      fail(Status::kInvalidArgument, "share_image_of is an adapter of another engine");
    options.image_of_id = in.share_image_of->adapter->id;
  } else if (in.synthetic_lora_rank > 0) {
    if (in.path)
      fail(Status::kInvalidArgument, "path must be null where synthetic_lora_rank is set");
    constexpr uint32_t kLargestRank = 65536;
    if (in.synthetic_lora_rank > kLargestRank) {
      fail(Status::kInvalidArgument, "synthetic_lora_rank is ", in.synthetic_lora_rank,
           ", the limit is ", kLargestRank);
    }
  } else {
    options.path = read_text(in.path, in.path_bytes, "path");
  }
  options.synthetic_lora_rank = in.synthetic_lora_rank;
  options.synthetic_seed = in.synthetic_seed;
  options.synthetic_modules = in.synthetic_modules;
  options.is_pinned = in.pinned != 0;
  return options;
}

slora_adapter_info describe(const slora_adapter& handle) {
  const adapter::Adapter& adapter = *handle.adapter;
  const adapter::ImageLayout& layout = adapter.image.layout();
  const engine::AdapterState state = handle.engine->adapter_state(adapter);
  slora_adapter_info info = SLORA_ADAPTER_INFO_INIT;
  info.max_lora_rank = static_cast<uint32_t>(layout.max_lora_rank);
  info.adapter_id = adapter.id;
  info.num_modules = static_cast<uint32_t>(layout.num_adapted);
  info.num_pages = static_cast<uint32_t>(layout.num_pages);
  info.image_bytes = layout.image_bytes;
  info.wasted_bytes = layout.wasted_bytes;
  info.num_sequences = state.num_sequences;
  info.residency = static_cast<int32_t>(state.residency);
  info.modules = layout.module_mask;
  info.pinned = adapter.is_pinned.load() ? 1 : 0;
  return info;
}

}  // namespace
}  // namespace slora::capi

extern "C" {

slora_adapter* slora_adapter_load(slora_engine* engine, const slora_adapter_options* options,
                                  slora_error* error) {
  return capi::guarded_create<slora_adapter>("slora_adapter_load", error, [&] {
    capi::require(engine, "engine");
    const slora_adapter_options in = capi::read_struct(options, "options");
    capi::CallerProgress progress(in.progress);
    auto* handle = new slora_adapter{
        engine->engine, engine->engine->load_adapter(capi::read_options(*engine, in), &progress)};
    capi::count_handle("slora_adapter", 1);
    return handle;
  });
}

int32_t slora_adapter_get_info(const slora_adapter* adapter, slora_adapter_info* out_info,
                               slora_error* error) {
  return capi::guarded("slora_adapter_get_info", error, [&] {
    capi::require(adapter, "adapter");
    capi::write_struct(out_info, capi::describe(*adapter), "out_info");
    return core::Status::kOk;
  });
}

int32_t slora_adapter_set_pinned(slora_adapter* adapter, uint8_t pinned, slora_error* error) {
  return capi::guarded("slora_adapter_set_pinned", error, [&] {
    capi::require(adapter, "adapter");
    if (pinned > 1)
      core::fail(core::Status::kInvalidArgument, "pinned is ", static_cast<int>(pinned),
                 ", the limit is 0..1");
    adapter->engine->set_pinned(*adapter->adapter, pinned != 0);
    return core::Status::kOk;
  });
}

void slora_adapter_unload(slora_adapter* adapter) {
  if (!adapter) return;
  capi::guarded("slora_adapter_unload", nullptr, [&] {
    adapter->engine->unload_adapter(adapter->adapter);
    return core::Status::kOk;
  });
  capi::count_handle("slora_adapter", -1);
  delete adapter;
}

}  // extern "C"
