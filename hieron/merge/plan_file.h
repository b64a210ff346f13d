// Plans what a recipe file of any kind makes.
#pragma once

#include <memory>
#include <string>

#include "hieron/core/error.h"
#include "hieron/merge/plan.h"

namespace hieron {

// The last of the file's merges, or its mixture of experts. A search is refused.
//
// An Error only where there is nothing to look at (the file cannot be read, a bad option). Else
// everything that is wrong is in Plan::problems: first all that is wrong with the text, then every
// model that cannot be opened. Of several documents the first that cannot be planned stands for
// all.
Result<std::shared_ptr<const Plan>> plan_file(const std::string& path,
                                              const PlanOptions& options = {});

}  // namespace hieron
