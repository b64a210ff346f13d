// A merge that was never written, as a checkpoint: it can be read, audited, compared or merged
// again.
#pragma once

#include <memory>
#include <string>

#include "hieron/core/error.h"
#include "hieron/merge/plan.h"
#include "hieron/walk/checkpoint.h"

namespace hieron {

// Tensors of the plan as ComputedTensors. Element-wise methods compute any range; a method that
// looks at the whole tensor first does so once, when the tensor is first read. Reads are
// thread-safe.
Result<std::shared_ptr<const Checkpoint>> computed_checkpoint(
    const std::shared_ptr<const Plan>& plan);

// A recipe file, planned with default options and the recipe's own arithmetic.
Result<std::shared_ptr<const Checkpoint>> open_recipe(const std::string& path,
                                                      const PlanOptions& options = {});

// Any REF: a recipe (.yml, .yaml), or whatever open_checkpoint takes. The models of a recipe are
// read whole.
Result<std::shared_ptr<const Checkpoint>> open_ref(const std::string& ref,
                                                   const ModelSource& source = {});

}  // namespace hieron
