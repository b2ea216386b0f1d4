// Adapters without files, for benchmarks and tests: cheap enough to make thousands.
#include <cmath>

#include "slora/adapter/adapter_source.hpp"
#include "slora/core/dtype.hpp"
#include "slora/core/status.hpp"

namespace slora::adapter {
namespace {

using core::fail;
using core::Status;
using model::TensorRef;

// splitmix64 (Steele et al. 2014).
uint64_t next_random(uint64_t& state) {
  uint64_t x = state += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

// Uniform in [-bound, bound], four values out of each random word, rounded to bf16.
void fill_uniform(uint16_t* values, int64_t count, float bound, uint64_t& state) {
  const float step = bound / 32768.0f;
  uint64_t bits = 0;
  for (int64_t i = 0; i < count; ++i) {
    bits = i % 4 == 0 ? next_random(state) : bits >> 16;
    values[i] = core::float_to_bf16((static_cast<float>(bits & 0xffffu) - 32767.5f) * step);
  }
}

TensorRef tensor(const char* name, const uint16_t* values, int64_t rows, int64_t columns) {
  TensorRef ref;
  ref.name = name;
  ref.file = "(synthetic)";
  ref.dtype = core::DType::kBF16;
  ref.shape = {rows, columns};
  ref.data = reinterpret_cast<const uint8_t*>(values);
  ref.bytes = static_cast<uint64_t>(rows * columns) * sizeof(uint16_t);
  return ref;
}

uint32_t checked_mask(const model::ModuleTable& table, uint32_t mask) {
  const int32_t num_modules = table.num_modules();
  const uint32_t all = num_modules >= 32 ? UINT32_MAX : (1u << num_modules) - 1;
  if ((mask & ~all) != 0) {
    fail(Status::kInvalidArgument, "synthetic module mask ", mask,
         " names a module past the model's ", num_modules);
  }
  return mask == 0 ? all : mask;
}

}  // namespace

AdapterSource synthetic_adapter(const model::ModuleTable& table, uint64_t seed, int32_t lora_rank,
                                uint32_t module_mask) {
  constexpr int32_t kMaxLoraRank = 65536;
  if (lora_rank < 1 || lora_rank > kMaxLoraRank) {
    fail(Status::kInvalidArgument, "synthetic lora_rank ", lora_rank, " is not in [1, ",
         kMaxLoraRank, "]");
  }
  const uint32_t mask = checked_mask(table, module_mask);
  int64_t num_values = 0;
  for (int32_t m = 0; m < table.num_modules(); ++m) {
    const model::LinearModule& module = table.modules[static_cast<size_t>(m)];
    if (mask >> m & 1u)
      num_values += lora_rank * (module.in_dim + module.out_dim) * table.num_layers;
  }
  const auto storage = std::make_shared<std::vector<uint16_t>>(static_cast<size_t>(num_values));
  AdapterSource source;
  source.storage = storage;
  uint16_t* at = storage->data();
  uint64_t state = seed;
  for (int32_t layer_idx = 0; layer_idx < table.num_layers; ++layer_idx) {
    for (int32_t m = 0; m < table.num_modules(); ++m) {
      if (!(mask >> m & 1u)) continue;
      const model::LinearModule& module = table.modules[static_cast<size_t>(m)];
      uint16_t* a = at;
      uint16_t* b = a + lora_rank * module.in_dim;
      at = b + lora_rank * module.out_dim;
      fill_uniform(a, lora_rank * module.in_dim,
                   1.0f / std::sqrt(static_cast<float>(module.in_dim)), state);
      fill_uniform(b, lora_rank * module.out_dim,
                   1.0f / std::sqrt(static_cast<float>(module.out_dim)), state);
      source.modules.push_back({layer_idx, m, lora_rank, 1.0f,
                                tensor("lora_A", a, lora_rank, module.in_dim),
                                tensor("lora_B", b, module.out_dim, lora_rank)});
    }
  }
  return source;
}

}  // namespace slora::adapter
