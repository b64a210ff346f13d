// A recovered recipe as people write it: mergekit YAML, with the arithmetic that reproduces the
// suspect.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "hieron/assay/recipe_search.h"
#include "hieron/assay/result.h"

namespace hieron {

// `experts`: how the suspect stores its experts, where the parents store them otherwise; else
// empty.
FoundRecipe recovered_recipe(const Alignment& alignment, const RoleTable& roles,
                             const CandidateRecipe& recipe, const GroupedFit& grouped,
                             std::string_view experts);

// Every tensor taken whole from one of the models (index by row): linear with weights 1 and 0.
FoundRecipe exchanged_recipe(const Alignment& alignment, const RoleTable& roles,
                             const std::vector<std::optional<size_t>>& origin,
                             std::string_view experts);

}  // namespace hieron
