// config.json of the result: the donor's, with other numbers of layers, another dtype, another
// vocabulary.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "hieron/merge/findings.h"
#include "hieron/merge/opened_recipe.h"
#include "hieron/merge/plan.h"

namespace hieron {

// `vocabulary`: rows, if the recipe decides them. Empty if the donor has no configuration. A number
// of layers that nobody knows where to write is a problem.
std::string output_config(const Plan& plan, const OpenedRecipe& opened,
                          std::optional<uint64_t> vocabulary, Findings& findings);

}  // namespace hieron
