// Which instruction set the kernels use: the best of this machine, or a lesser one that
// SLORA_HOST_ISA names.
#include <atomic>
#include <cstdlib>
#include <cstring>

#include "slora/core/log.hpp"
#include "slora/kernels/host_kernels.hpp"
#include "src/host/isa.hpp"

namespace slora::kernels {
namespace {

// From the plainest to the best.
std::vector<const IsaKernels*> available_tables() {
  std::vector<const IsaKernels*> tables{isa_generic()};
#if defined(SLORA_KERNELS_X86)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) tables.push_back(isa_avx2());
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
    tables.push_back(isa_avx512());
    if (__builtin_cpu_supports("avx512bf16")) tables.push_back(isa_avx512_bf16());
  }
#endif
  return tables;
}

const IsaKernels* find_table(const char* name) {
  for (const IsaKernels* table : available_tables()) {
    if (std::strcmp(table->name, name) == 0) return table;
  }
  return nullptr;
}

const IsaKernels* first_choice() {
  const IsaKernels* best = available_tables().back();
  const char* asked = std::getenv("SLORA_HOST_ISA");
  if (!asked || !*asked) return best;
  if (const IsaKernels* table = find_table(asked)) return table;
  core::log(core::LogLevel::kWarning, "SLORA_HOST_ISA=", asked,
            " is not one of this machine's; using ", best->name);
  return best;
}

std::atomic<const IsaKernels*>& current() {
  static std::atomic<const IsaKernels*> table{first_choice()};
  return table;
}

}  // namespace

const IsaKernels& isa() { return *current().load(std::memory_order_relaxed); }

const char* host_kernel_isa() { return isa().name; }

std::vector<const char*> host_isas() {
  std::vector<const char*> names;
  for (const IsaKernels* table : available_tables()) names.push_back(table->name);
  return names;
}

bool use_host_isa(const char* name) {
  const IsaKernels* table = find_table(name);
  if (table) current().store(table, std::memory_order_relaxed);
  return table != nullptr;
}

}  // namespace slora::kernels
