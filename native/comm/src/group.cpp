// Unless a group knows better: wait for the event, then look whether the group is broken.
#include "slora/comm/group.hpp"

namespace slora::comm {

void Group::synchronize(device::Event& event) {
  event.synchronize();
  check();
}

}  // namespace slora::comm
