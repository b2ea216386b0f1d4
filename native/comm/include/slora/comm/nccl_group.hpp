// Groups of GPUs: collectives by the plugin's CommApi (NCCL), messages as for threads or processes.
#pragma once

#include <memory>
#include <vector>

#include "slora/comm/comm_api.hpp"
#include "slora/comm/process_group.hpp"
#include "slora/device/device.hpp"

namespace slora::comm {

// This process's rank on `device`; the others are processes on this or other hosts and call this
// too. kUnsupported where `api` is null (a plugin without collectives), kBackend where NCCL is
// missing.
std::unique_ptr<Group> make_nccl_group(std::unique_ptr<HostLink> link, const CommApi* api,
                                       std::shared_ptr<device::Device> device);

// Ranks as threads of this process, element r on devices[r]; one device alone is a group of one.
std::vector<std::unique_ptr<Group>> make_nccl_thread_groups(
    const CommApi* api, const std::vector<std::shared_ptr<device::Device>>& devices,
    GroupOptions options = {});

}  // namespace slora::comm
