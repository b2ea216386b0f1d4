// Invariants that only a bug of ours can break: they end the call with kInternal, never the
// process.
#pragma once

#include "slora/core/status.hpp"

#define SLORA_CHECK(condition)                                                                    \
  do {                                                                                            \
    if (!(condition))                                                                             \
      ::slora::core::fail(::slora::core::Status::kInternal, "invariant broken: " #condition " (", \
                          __FILE__, ":", __LINE__, ")");                                          \
  } while (false)
