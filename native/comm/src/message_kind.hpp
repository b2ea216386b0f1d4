// The exchanges of messages that a group knows.
#pragma once

#include <cstdint>

namespace slora::comm {

enum class MessageKind : uint32_t { kBarrier = 1, kBroadcast = 2, kAllGather = 3 };

inline const char* message_kind_name(MessageKind kind) {
  switch (kind) {
    case MessageKind::kBarrier:
      return "barrier";
    case MessageKind::kBroadcast:
      return "broadcast_message";
    case MessageKind::kAllGather:
      return "all_gather_messages";
  }
  return "an unknown exchange";
}

}  // namespace slora::comm
