#include "slora/comm/group.hpp"

namespace slora::comm {

void Group::synchronize(device::Event& event) {
  event.synchronize();
  check();
}

}  // namespace slora::comm
