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
