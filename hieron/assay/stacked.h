// The audit's look for layer stacks: the map of layers, and the proof that a stack by it is the
// suspect.
#pragma once

#include <optional>

#include "hieron/assay/replay.h"
#include "hieron/assay/result.h"
#include "hieron/recover/candidates.h"

namespace hieron {

struct StackedFinding {
  FoundRecipe recipe;
  Comparison whole;
  bool has_direction = true;  // as in recover/stack.h
};

// Nothing: no stack, or one whose replay is not the suspect.
Result<std::optional<StackedFinding>> find_stacked(const Candidates& given,
                                                   const Selection& selection);

}  // namespace hieron
