// Blind recovery: from a suspect and candidates to a recipe whose replay is equal, without being
// told the method.
//
// Cheap tests first; it stops at the first recipe that holds on the probes. Nothing is decided
// here: the whole replay is (assay/replay.h). docs/recovery.md.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "hieron/merge/evidence.h"
#include "hieron/recover/trial.h"

namespace hieron {

struct Recovery {
  std::optional<Tried> best;  // the best recipe found, whether it holds or not
  bool holds = false;         // it reproduces the probes
  std::vector<Tried> others;  // that hold too, best first
  size_t tried = 0;           // hypotheses
};

// `methods`: the names of those that may have been used; none: all.
Recovery recover_recipe(const Candidates& given, const Evidence& evidence,
                        std::span<const std::string_view> methods = {});

// Share of the telling elements of the probes that a recipe must reproduce to hold.
inline constexpr double kHolds = 0.999;

}  // namespace hieron
