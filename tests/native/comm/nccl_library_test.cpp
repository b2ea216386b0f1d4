// Finding NCCL: what is tried is told, and a library that is no NCCL or too old is refused. The
// stand-ins are built by the test's CMake list.
#include "src/cuda/nccl_library.hpp"

#include <gtest/gtest.h>

#include <cstdlib>

namespace slora::comm::cuda {
namespace {

std::string reason_with(const char* path) {
  setenv("SLORA_NCCL_LIBRARY", path, 1);
  std::string reason;
  EXPECT_EQ(load_nccl(reason), nullptr);
  unsetenv("SLORA_NCCL_LIBRARY");
  return reason;
}

TEST(NcclLibrary, TellsWhatWasTried) {
  const std::string missing = reason_with("/nowhere/libnccl.so.2");
  EXPECT_EQ(missing.find("NCCL could not be loaded (/nowhere/libnccl.so.2: cannot open"), 0u)
      << missing;
  EXPECT_NE(missing.find("; SLORA_NCCL_LIBRARY may name its libnccl.so.2"), std::string::npos);
  EXPECT_NE(reason_with(SLORA_NOT_NCCL).find(" has no ncclGetVersion"), std::string::npos);
  EXPECT_NE(reason_with(SLORA_OLD_NCCL).find(" is NCCL 2.11.4, the least is 2.14.0"),
            std::string::npos);
  EXPECT_NE(reason_with(SLORA_BARE_NCCL).find(" has no ncclGetUniqueId, ncclCommInitRankConfig, "),
            std::string::npos);
}

TEST(NcclLibrary, IsLoadedWithoutMulticastUnlessToldOtherwise) {
  unsetenv("NCCL_NVLS_ENABLE");
  reason_with("/nowhere/libnccl.so.2");
  EXPECT_STREQ(getenv("NCCL_NVLS_ENABLE"), "0");
  setenv("NCCL_NVLS_ENABLE", "1", 1);
  reason_with("/nowhere/libnccl.so.2");
  EXPECT_STREQ(getenv("NCCL_NVLS_ENABLE"), "1");
}

}  // namespace
}  // namespace slora::comm::cuda
