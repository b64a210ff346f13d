// The other way round: is a model, rather than the suspect, what was made of the others? An honest
// parent is not accused through its own child.
#pragma once

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "hieron/recover/candidates.h"
#include "hieron/recover/sample.h"
#include "hieron/recover/trial.h"

namespace hieron {

// Another model in the suspect's place, and the suspect in its own.
struct Turned {
  Turned(const Candidates& given, const Sample& sample, size_t model);

  Alignment alignment;
  Sample sample;
  std::vector<std::shared_ptr<const Checkpoint>> models;
};

// A model that a recipe of the kind found explains by the suspect just as well as the recipe does
// the suspect: then equality has no direction. Empty: none. `forward`: the suspect's evidence.
std::string reversed_input(const Candidates& given, const Sample& sample, const Evidence& forward,
                           const Tried& best);

// A model of which masks explain more than `explained` by the suspect's changes from another one.
// What was dropped in making a model is in the others, so that they look like blends of it.
struct Unmasked {
  size_t model;
  double explained;  // masked_share
};
std::optional<Unmasked> masked_the_other_way(const Candidates& given, const Sample& sample,
                                             const std::set<size_t>& models, double explained);

}  // namespace hieron
