// The checkpoints that --pool names: those in a folder, or in a file with a REF a line.
#pragma once

#include <string>
#include <vector>

#include "hieron/assay/pool.h"
#include "hieron/core/error.h"

namespace hieron {

// By name, or in the file's order; lines that are empty or begin with # are none. No path: no
// checkpoints. Refused: a path that is neither, a folder that is a checkpoint itself or has none,
// more than kMostOfPool.
Result<std::vector<std::string>> list_pool(const std::string& path);

// What cannot be read is an entry without checkpoint.
std::vector<PoolEntry> open_pool(const std::vector<std::string>& refs, const ModelSource& source);

}  // namespace hieron
