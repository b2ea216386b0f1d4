// Groups inside one process: a rank a thread, or one rank alone.
#pragma once

#include <memory>
#include <vector>

#include "slora/comm/group.hpp"
#include "slora/device/device_api.hpp"

namespace slora::comm {

// `size` ranks of the host backend, 1..kMaxGroupSize; element r is rank r's, for use by one thread
// (abort and check: any). Each rank needs a device::Device of its own: a collective holds its
// stream's thread team while it waits for the other ranks.
std::vector<std::unique_ptr<Group>> make_thread_groups(int32_t size, GroupOptions options = {});

// Rank 0 of 1 on the backend of `api`: only an all_gather into another place enqueues anything.
std::unique_ptr<Group> make_solo_group(const device::DeviceApi& api);

}  // namespace slora::comm
