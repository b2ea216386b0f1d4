// The meeting of processes at rank 0's address: who may join, and the refusal in words.
#pragma once

#include <vector>

#include "slora/comm/process_group.hpp"
#include "socket.hpp"

namespace slora::comm {

struct Meeting {
  int32_t size = 1;
  // Connections that have passed the handshake: of rank 0 one for each other rank (element 0 is
  // empty), of another rank one, to rank 0.
  std::vector<Socket> sockets;
};

// Errors as join_processes says.
Meeting rendezvous(const JoinOptions& options);

}  // namespace slora::comm
