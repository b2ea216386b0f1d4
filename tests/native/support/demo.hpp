// The demo model with its eighteen adapters, loaded once a test program and dtype.
#pragma once

#include <nlohmann/json.hpp>

#include <fstream>
#include <map>

#include "support/runner.hpp"

namespace slora::test {

inline const std::vector<std::string>& demo_adapter_names() {
  static const std::vector<std::string> names = {
      "arith",   "chat",  "devil",     "fairytale",   "german", "json",
      "kjv",     "latin", "manpage",   "piglatin",    "poem",   "python",
      "reverse", "roman", "sentiment", "shakespeare", "spell",  "upper"};
  return names;
}

inline std::string demo_path(const std::string& rest) {
  return std::string(SLORA_ASSETS) + "/demo-model/" + rest;
}

inline nlohmann::json read_json(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw std::runtime_error("cannot open " + path);
  return nlohmann::json::parse(file);
}

// A pool with room for a few adapters and a few sequences of the demo model. A rank's pages shrink
// with the ranks, so that the same bytes would hold more of them and press nobody; aligned adapters
// keep half of their rows whole, so that the largest needs 82 pages on four ranks and 40 on one.
inline uint64_t cramped_pool_bytes(const Ranks& ranks) {
  const uint64_t bytes = (8u << 20) / ranks.tp_size;
  const bool is_aligned = ranks.lora_sharding == SLORA_LORA_SHARDING_ALIGNED;
  return is_aligned && ranks.tp_size > 2 ? bytes / 2 * 3 : bytes;
}

struct DemoEngine {
  DemoEngine(int32_t dtype, slora_engine_options options, int32_t num_threads = 0,
             const Ranks& ranks = ranks_under_test()) {
    model = load_model(demo_path("base"), dtype, num_threads, ranks);
    engine = create_engine(model.get(), options);
    for (const std::string& name : demo_adapter_names()) {
      adapters[name] = load_adapter(engine.get(), demo_path("adapters/" + name));
    }
  }

  // Empty name or "base": no adapter.
  std::vector<slora_adapter_weight> use(const std::string& name) const {
    if (name.empty() || name == "base") return {};
    return {{adapter_info(adapters.at(name).get()).adapter_id, 1.0f, 0}};
  }

  ModelHandle model;
  EngineHandle engine;
  std::map<std::string, AdapterHandle> adapters;
};

}  // namespace slora::test
