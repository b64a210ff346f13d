// A direction taken out of every tensor that writes along it: W − strength · v·(vᵀW), or its mirror
// image for tensors that hold it in their rows.
#pragma once

#include <optional>
#include <vector>

#include "hieron/edit/matrices.h"

namespace hieron {

struct RemovedDirection {
  double strength;                    // mean over the tensors; below 0: it was put in
  double least, most;                 // of one tensor
  double agreement;                   // least |cosine| of a tensor's direction to the common one
  std::vector<ExplainedRow> replays;  // by tensor given, all elements
};

// `rows`: tensors that changed, each by a matrix of rank one. Nothing: they have no direction in
// common, or what changed is not the model's own component along it.
Result<std::optional<RemovedDirection>> removed_direction(const EditCase& given,
                                                          const std::vector<size_t>& rows,
                                                          size_t model);

}  // namespace hieron
