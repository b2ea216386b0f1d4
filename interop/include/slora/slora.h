/* SLoRA's C ABI, whole: include this one. The manual is in the headers it names, in the order in which to read them. */
#ifndef SLORA_H
#define SLORA_H

#include "types.h"
#include "model.h"
#include "engine.h"
#include "adapter.h"
#include "measure.h"

#endif /* SLORA_H */
