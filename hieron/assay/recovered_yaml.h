// A recovered recipe as people write it: mergekit YAML, with the arithmetic that reproduces the
// suspect.
#pragma once

#include <optional>
#include <vector>

#include "hieron/assay/recipe_search.h"
#include "hieron/assay/result.h"

namespace hieron {

FoundRecipe recovered_recipe(const Alignment& alignment, const RoleTable& roles,
                             const CandidateRecipe& recipe, const GroupedFit& grouped);

// Every tensor taken whole from one of the models (index by row): linear with weights 1 and 0.
FoundRecipe exchanged_recipe(const Alignment& alignment, const RoleTable& roles,
                             const std::vector<std::optional<size_t>>& origin);

}  // namespace hieron
