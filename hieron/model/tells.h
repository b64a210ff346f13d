// Tells: hints in small files about how a checkpoint was made. Never a verdict by themselves.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace hieron {

struct Tell {
  std::string id;        // "mergekit-index-version", "mergekit-config-file", …
  std::string sentence;  // what was seen, where
  std::string weight;    // "strong hint" | "hint" | "weak hint"
};

// `folder`: the checkpoint's folder (may be empty); `metadata`: of its headers and index.
std::vector<Tell> tells(const std::string& folder,
                        const std::map<std::string, std::string>& metadata,
                        const std::string& config_json);

}  // namespace hieron
