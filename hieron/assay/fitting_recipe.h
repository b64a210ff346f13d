// Bytes that are not what a recipe declares: which recipe of the same models gives them?
//
// Cheap questions first: the declared recipe under other arithmetics and dtypes, its inputs in
// other orders, one key left out or put right; then the blind recovery of an audit, with the models
// that the recipe names as candidates. Nothing but a replay of the whole checkpoint counts as an
// answer.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "hieron/assay/declared.h"
#include "hieron/assay/replay.h"
#include "hieron/core/error.h"
#include "hieron/merge/plan.h"
#include "hieron/walk/walk.h"

namespace hieron {

struct DeclaredFile {
  std::string path;
  PlanOptions options;  // as it was planned; with its arithmetic and seed, if asked for
};

// `declared`: how the suspect compares with it; null where it is refused as it stands (a misspelt
// key). Nothing is searched for a mixture of experts, a search, or a recipe that cannot be read.
Result<std::optional<FitSearch>> find_fitting_recipe(
    const DeclaredFile& file, const Comparison* declared,
    const std::shared_ptr<const Checkpoint>& suspect, const WalkOptions& walk);

}  // namespace hieron
