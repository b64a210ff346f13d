// Merges that no two ends explain: any method, any number of parents, found blind and proven by
// replaying the recipe on the whole suspect.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "hieron/assay/replay.h"
#include "hieron/assay/result.h"
#include "hieron/recover/candidates.h"
#include "hieron/recover/recover.h"
#include "hieron/recover/sample.h"

namespace hieron {

struct BlindFinding {
  Tried best;  // the recipe that reproduces most
  bool holds = false;
  FoundRecipe recipe;
  Comparison whole;                  // the suspect against its replay, over the selection
  std::vector<NamedDepth> controls;  // d16: share of the control that the same recipe reproduces
  std::string reversed;              // an input that such a recipe explains just as well
};

// Nothing: no recipe reproduces enough to be worth replaying. `experts`: as in recovered_yaml.h.
// `methods`: as in recover/recover.h.
Result<std::optional<BlindFinding>> find_blind(const Candidates& given, const Sample& sample,
                                               const Evidence& evidence,
                                               const std::vector<size_t>& controls,
                                               const Selection& selection, std::string_view experts,
                                               std::span<const std::string_view> methods = {});

// A merge of a merge that nobody published, if it reproduces more of the elements that tell than
// `least`.
Result<std::optional<BlindFinding>> find_nested(const Candidates& given, const Sample& sample,
                                                const Evidence& evidence, double least,
                                                const std::vector<size_t>& controls,
                                                const Selection& selection,
                                                std::string_view experts);

// The verdict on a finding, as for two ends (docs/assay.md §8). `aligned`: share of the suspect's
// parameters that were compared.
struct BlindDecision {
  std::optional<VerdictKind> kind;
  std::vector<std::string> reasons;
};
BlindDecision decide_blind(const BlindFinding& finding, double aligned);

// "a ties merge of A and B on the base C", "0.5 × A + 0.3 × B + 0.2 × C".
std::string recipe_in_words(const FoundRecipe& recipe);

}  // namespace hieron
