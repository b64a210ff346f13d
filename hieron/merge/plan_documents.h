// Several merges of one file, of which only the last is wanted: the others are never written.
#pragma once

#include <memory>
#include <vector>

#include "hieron/core/error.h"
#include "hieron/merge/plan.h"
#include "hieron/merge/recipe.h"

namespace hieron {

// Plans the last of several documents (as parse_recipes orders them); the documents it is made from
// are computed as they are read. A plan of one recipe is make_plan's. Plan::recipe.text is the
// whole file's, and documents that nothing is made from are warned of.
//
// The plan of a document that has problems is returned in place of the last one's.
//
// Refused: a document that others are made from and that gets a vocabulary or chat template of its
// own, for that has to be in a folder.
Result<std::shared_ptr<const Plan>> plan_documents(std::vector<Recipe> recipes,
                                                   const PlanOptions& options = {});

}  // namespace hieron
