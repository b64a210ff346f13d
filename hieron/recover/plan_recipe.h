// A recipe whose models are at hand: planned without opening anything.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "hieron/core/error.h"
#include "hieron/merge/plan.h"

namespace hieron {

// `yaml` calls models[m] by names[m]; models that are null are not named.
Result<std::shared_ptr<const Plan>> plan_recipe(
    const std::string& yaml, const std::vector<std::string>& names,
    const std::vector<std::shared_ptr<const Checkpoint>>& models);

// "model-0", "model-1" …
std::vector<std::string> model_names(size_t count);

}  // namespace hieron
