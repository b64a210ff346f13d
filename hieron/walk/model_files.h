// What tells look at of a checkpoint: its folder, its metadata, where its tensors lie.
#pragma once

#include "hieron/model/tells.h"
#include "hieron/walk/checkpoint.h"

namespace hieron {

// Refers to names of the checkpoint, which must outlive it.
ModelFiles model_files(const Checkpoint& checkpoint);

}  // namespace hieron
