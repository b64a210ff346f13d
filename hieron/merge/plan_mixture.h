// A mixture of experts as a plan: what moe.h makes, copied tensor by tensor.
#pragma once

#include <memory>

#include "hieron/core/error.h"
#include "hieron/merge/plan.h"
#include "hieron/merge/recipe.h"

namespace hieron {

// Opens the models and plans. Plan::parents are the base and the experts' sources.
Result<std::shared_ptr<const Plan>> plan_mixture(const MoeRecipe& recipe,
                                                 const PlanOptions& options = {});

}  // namespace hieron
