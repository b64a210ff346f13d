// Does a recipe fit the models it names? Problems and warnings with their lines.
#pragma once

#include "hieron/merge/findings.h"
#include "hieron/merge/opened_recipe.h"
#include "hieron/merge/plan.h"

namespace hieron {

// Also works out the layers of every source of a slice (SliceSource::first, last).
void check_recipe(const Plan& plan, OpenedRecipe& opened, Findings& findings);

}  // namespace hieron
