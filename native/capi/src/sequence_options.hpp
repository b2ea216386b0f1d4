// Reads slora_sequence_options: copies, and checks every number against the limits that engine.h
// states.
#pragma once

#include "handles.hpp"

namespace slora::capi {

engine::SequenceOptions read_sequence_options(const slora_sequence_options& in);

}  // namespace slora::capi
