// What opening a checkpoint consists of, wherever its files lie. Used inside walk only.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "hieron/core/error.h"
#include "hieron/format/shard_index.h"
#include "hieron/hub/reference.h"
#include "hieron/walk/checkpoint.h"

namespace hieron {

inline constexpr std::string_view kStandardIndex = "model.safetensors.index.json";
inline constexpr std::string_view kStandardFile = "model.safetensors";

// The weights among the files of a folder: an index that names them, or the files themselves.
struct WeightFiles {
  std::vector<std::string> files;
  std::string index;  // empty: none
};
std::optional<WeightFiles> weight_files(std::vector<std::string> names);

Result<ShardIndex> read_index(const std::string& path);

// A model of a hub. With Access::kWhole its weights are downloaded into the cache first.
Result<std::shared_ptr<const Checkpoint>> open_on_hub(const std::string& ref,
                                                      const HubReference& reference, Hub& hub,
                                                      Access access);

}  // namespace hieron
