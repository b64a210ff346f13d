// A checkpoint from files that are open already, wherever their bytes come from.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "hieron/core/error.h"
#include "hieron/format/shard_index.h"
#include "hieron/walk/checkpoint.h"

namespace hieron {

struct CheckpointParts {
  std::string ref, commit{};
  std::string folder;      // of the small files
  std::string index_file;  // that names the shards, in the folder; empty: none
  std::vector<CheckpointFile> files{};
  std::vector<std::string> warnings{};
};

// Headers and the index are read and checked against each other, whatever opens the checkpoint.
// `shards`: the index file, if it was read already.
Result<std::shared_ptr<const Checkpoint>> assemble_checkpoint(
    CheckpointParts parts, std::optional<ShardIndex> shards = {});

// The index that an open checkpoint was opened by; empty: none.
std::string index_file_of(const Checkpoint& checkpoint);

}  // namespace hieron
