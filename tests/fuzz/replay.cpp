// Runs a fuzzer's property once on each file of a folder, without a fuzzing engine: what was found
// once stays found in every build of the tests.
#include <cstdio>
#include <vector>

#include "fuzz.hpp"

int main(int argc, char** argv) {
  int num_inputs = 0;
  for (int i = 1; i < argc; ++i) {
    for (const auto& entry : std::filesystem::directory_iterator(argv[i])) {
      std::ifstream file(entry.path(), std::ios::binary);
      const std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
      std::printf("%s\n", entry.path().c_str());
      std::fflush(stdout);
      LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
      ++num_inputs;
    }
  }
  if (num_inputs == 0) std::fprintf(stderr, "no inputs\n");
  return num_inputs == 0 ? 1 : 0;
}
