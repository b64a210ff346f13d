// Output tensors of plans as rows of a walk.
#pragma once

#include <span>
#include <vector>

#include "hieron/merge/plan.h"
#include "hieron/walk/alignment.h"

namespace hieron {

// Some tensors of plans that make the same ones, with only the models that take part in them. What
// several plans read is there once.
struct WalkRows {
  std::vector<const Checkpoint*> models;  // columns; twice where a tensor is merged with another
                                          // one of its model
  std::vector<Row> rows;                  // one per tensor
  // Per plan and tensor: the column of each input.
  std::vector<std::vector<std::vector<uint32_t>>> columns;
};

WalkRows walk_rows(std::span<const Plan* const> plans, uint32_t first, uint32_t count);

}  // namespace hieron
