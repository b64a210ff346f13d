// Recipes tried on a few whole tensors of the suspect, by the engine that merges.
//
// A hypothesis is written as a recipe, planned and computed like any other; so what is found runs,
// and no formula stands twice. docs/recovery.md §3.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "hieron/merge/evidence.h"
#include "hieron/merge/hypothesis.h"
#include "hieron/merge/plan.h"
#include "hieron/merge/telling.h"
#include "hieron/recover/candidates.h"

namespace hieron {

// Of all candidates the one for which the share is least: a replay that is no more than a copy of
// the nearest model is worth nothing.
struct Tried {
  Hypothesis hypothesis;
  Rendering rendering;
  TellingCount score;  // on all probes
};

class Trial {
 public:
  // Both must outlive it.
  Trial(const Candidates& given, const Evidence& evidence);

  // Every rendering of every hypothesis, on the smallest probe; the best of them on all. Best
  // first, ties by complexity, then in the order given. Long lists only until one of the simpler
  // hypotheses reproduces everything.
  std::vector<Tried> best_of(std::span<const Hypothesis> hypotheses) const;

  // The whole of the suspect's tensors as this recipe makes them.
  Result<std::shared_ptr<const Plan>> plan(const Hypothesis& hypothesis,
                                           const Rendering& rendering) const;

  // Every rendering of every hypothesis, not tried.
  std::vector<Tried> rendered(std::span<const Hypothesis> hypotheses) const;

  // What the recipe makes; of one without random masks, the probes alone.
  Result<std::shared_ptr<const Checkpoint>> computed(const Hypothesis& hypothesis,
                                                     const Rendering& rendering) const;

  // How much of `model` (a number of the alignment, such as a control) the recipe reproduces, on
  // the probes.
  TellingCount score_of(const Hypothesis& hypothesis, const Rendering& rendering,
                        size_t model) const;

 private:
  using Models = std::vector<std::shared_ptr<const Checkpoint>>;
  using Probes = std::span<const std::shared_ptr<const WholeTensor>>;

  Models cut_to_probes() const;
  Hypothesis for_probes(Hypothesis hypothesis) const;
  std::vector<Rendering> renderings(const Hypothesis& hypothesis) const;
  Result<std::shared_ptr<const Plan>> plan_with(const Models& models, const Hypothesis& hypothesis,
                                                const Rendering& rendering) const;
  TellingCount score(const Hypothesis& hypothesis, const Rendering& rendering, Probes probes) const;

  const Candidates& given_;
  const Evidence& evidence_;
  std::vector<std::string> names_;  // of the models inside recipes
  Models cut_;                      // with the tensors of the probes alone: soon planned
};

}  // namespace hieron
