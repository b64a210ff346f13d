// Plans what a recipe file of any kind makes.
#pragma once

#include <memory>
#include <string>

#include "hieron/core/error.h"
#include "hieron/merge/plan.h"

namespace hieron {

// The last of the file's merges, or its mixture of experts. A search is refused.
Result<std::shared_ptr<const Plan>> plan_file(const std::string& path,
                                              const PlanOptions& options = {});

}  // namespace hieron
