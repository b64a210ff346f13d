// A recipe file that the command line names.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "hieron/core/error.h"
#include "hieron/merge/recipe.h"

namespace hieron {

// The merges of a file, in the order in which they are made. A mixture of experts (which is no
// merge) and a search are refused, with what they are.
Result<std::vector<Recipe>> read_merges(const std::string& path,
                                        const std::optional<std::string>& arithmetic);

}  // namespace hieron
