// Groups over processes: how they find each other, and the group of processes of one host.
#pragma once

#include <memory>
#include <string>

#include "slora/comm/group.hpp"
#include "slora/comm/host_link.hpp"

namespace slora::comm {

// What a rank brings to the meeting point. Rank 0 listens at the address, the others connect to it;
// the connections stay as the way of messages between hosts.
//
// A rank proves that it knows the secret without sending it (HMAC-SHA256 over both sides' nonces),
// and rank 0 proves it in return. What follows is neither encrypted nor signed: the network between
// the ranks must be trusted, as NCCL's must.
struct JoinOptions {
  std::string address;  // host:port
  int32_t tp_rank = 0;
  int32_t size = 1;         // ranks other than 0: 0 takes rank 0's
  std::string secret;       // 1..4096 bytes, the same on every rank
  std::string fingerprint;  // at most 256 bytes: model and options in words; the same on every rank
  std::string version = library_version();  // the same on every rank
  int32_t join_limit_ms = 60'000;           // for all ranks to come; 1..86'400'000
  GroupOptions group;

  static const char* library_version();
};

// Blocks until every rank has come. kInvalidArgument, on both sides, where secret, version, size or
// fingerprint differ, naming both; kIo where a rank does not come in time.
std::unique_ptr<HostLink> join_processes(const JoinOptions& options);

// Collectives of the host backend, over POSIX shared memory: for processes of one host, called by
// all of them. kIo where a rank runs on another, kOutOfMemory where there is no room.
std::unique_ptr<Group> make_shared_memory_group(std::unique_ptr<HostLink> link,
                                                uint64_t piece_bytes = GroupOptions{}.piece_bytes);

// Both at once.
std::unique_ptr<Group> join_process_group(const JoinOptions& options);

}  // namespace slora::comm
