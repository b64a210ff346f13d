// Output tensors of a plan as rows of a walk.
#pragma once

#include <span>
#include <vector>

#include "hieron/merge/plan.h"
#include "hieron/walk/alignment.h"

namespace hieron {

// Some tensors of a plan, with only the models that take part in them.
struct WalkRows {
  std::vector<const Checkpoint*> models;
  std::vector<Row> rows;                            // one per tensor
  std::vector<std::vector<uint32_t>> input_models;  // per tensor: the walk's model of each input
};

WalkRows walk_rows(const Plan& plan, uint32_t first, uint32_t count);

}  // namespace hieron
