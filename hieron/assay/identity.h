// Exactly which bytes were audited: the files of a checkpoint, their sizes, and their SHA-256 if
// asked for.
#pragma once

#include "hieron/assay/result.h"
#include "hieron/core/error.h"
#include "hieron/walk/checkpoint.h"

namespace hieron {

Result<ModelIdentity> identify(const Checkpoint& model, bool hash, unsigned threads);

}  // namespace hieron
