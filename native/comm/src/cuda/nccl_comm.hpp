// The plugin's table of collectives.
#pragma once

#include "slora/comm/comm_api.hpp"

namespace slora::comm::cuda {

const CommApi* nccl_comm_api();

}  // namespace slora::comm::cuda
