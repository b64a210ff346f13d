// model.safetensors.index.json: which shard holds which tensor.
//
//   {"metadata": {"total_size": bytes, …}, "weight_map": {tensor:
//   "model-00001-of-00004.safetensors", …}}
//
// Shard names are plain file names: "../x", "/x", "a/b", empty, NUL and control characters are
// refused.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "hieron/core/error.h"

namespace hieron {

struct ShardIndex {
  std::vector<std::pair<std::string, std::string>> weight_map;  // tensor, shard; in file order
  std::vector<std::string> shards;                              // distinct, in name order
  std::map<std::string, std::string>
      metadata;  // scalars as text ("total_size", "mergekit_version" …)
};

Result<ShardIndex> parse_shard_index(std::string_view json, const std::string& file);

// Canonical text: metadata.total_size, then weight_map in name order, two-space indent.
std::string write_shard_index(const std::vector<std::pair<std::string, std::string>>& weight_map,
                              uint64_t total_size);

}  // namespace hieron
