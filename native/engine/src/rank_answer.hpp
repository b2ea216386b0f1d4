// How a call went on one rank, told to all of them, so that all go on or none does.
#pragma once

#include <string>
#include <vector>

#include "slora/comm/group.hpp"
#include "slora/comm/host_link.hpp"
#include "slora/core/status.hpp"

namespace slora::engine {

struct RankAnswer {
  core::Status status = core::Status::kOk;
  std::string message;
  uint64_t value = 0;  // what the ranks compare: a count, a fingerprint

  // Runs `body` and keeps what it throws.
  template <typename Body>
  void note(Body&& body) noexcept {
    try {
      body();
    } catch (const core::Error& failure) {
      fail(failure.status(), failure.what());
    } catch (const std::bad_alloc&) {
      fail(core::Status::kOutOfMemory, "host memory is exhausted");
    } catch (const std::exception& failure) {
      fail(core::Status::kInternal, failure.what());
    }
  }
  void fail(core::Status why, const char* words) noexcept;
  [[noreturn]] void raise() const { throw core::Error(status, message); }
};

// Every rank's answer in the order of ranks; those of other ranks name theirs.
std::vector<RankAnswer> exchange_answers(comm::Group& group, const RankAnswer& own);
// The same before there is a group, after work that may take minutes.
std::vector<RankAnswer> exchange_answers(comm::HostLink& link, const RankAnswer& own);
// Null if all went well.
const RankAnswer* first_failure(const std::vector<RankAnswer>& answers);
// Exchanges, and throws the first failure.
std::vector<RankAnswer> agree(comm::Group& group, const RankAnswer& own);

}  // namespace slora::engine
