#include "hieron/assay/masked.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "hieron/assay/turned.h"
#include "hieron/core/text.h"
#include "hieron/recover/gather.h"

namespace hieron {
namespace {

// The method that leaves such masks; where one parent shows no election, the one without.
std::string_view method_of(const MaskEstimate& estimate) {
  const bool elected = estimate.elected;
  switch (estimate.family) {
    case MaskFamily::kRandom:
      return elected ? "dare_ties" : "dare_linear";
    case MaskFamily::kRanked:
      return elected ? "della" : "della_linear";
    case MaskFamily::kOutliers:
      return elected ? "breadcrumbs_ties" : "breadcrumbs";
    default:
      return "ties";
  }
}

double to_digits(double value, int digits) {
  const double unit = std::pow(10.0, digits);
  return std::round(value * unit) / unit;
}

// What stays of a random mask is usually divided by its share.
double weight_of(const MaskEstimate& estimate, const MaskEstimate::Parent& parent) {
  return random_masks(estimate) ? parent.factor * parent.density : parent.factor;
}

FoundRecipe describe(const Candidates& given, const MaskEstimate& estimate,
                     std::string_view experts) {
  constexpr int kDigits = 2;
  const std::vector<std::string> refs = refs_of(given.alignment);
  Hypothesis hypothesis{.method = method_of(estimate), .inputs = {}, .base = estimate.base};
  FoundRecipe found;
  found.method = std::string(hypothesis.method);
  found.base_model = refs[estimate.base];
  found.normalize = false;
  found.arithmetic = "exact";
  for (const MaskEstimate::Parent& parent : estimate.parents) {
    const double weight = to_digits(weight_of(estimate, parent), kDigits);
    const double density = to_digits(parent.density, kDigits);
    ParameterValues values{{"weight", weight}, {"density", density}};
    RecipeModel model{.ref = refs[parent.model], .weight = weight, .effective = weight};
    model.parameters.emplace_back("density", density);
    const auto also = [&](const char* name, double value) {
      values.emplace(name, to_digits(value, kDigits));
      model.parameters.emplace_back(name, to_digits(value, kDigits));
    };
    if (estimate.family == MaskFamily::kRanked) also("epsilon", parent.epsilon);
    if (estimate.family == MaskFamily::kOutliers) also("gamma", parent.gamma);
    hypothesis.inputs.push_back({parent.model, std::move(values)});
    found.models.push_back(std::move(model));
  }
  hypothesis.parameters.emplace("normalize", 0.0);
  Rendering rendering;
  rendering.experts = experts;
  found.yaml = recipe_yaml(hypothesis, refs, rendering);
  return found;
}

}  // namespace

bool random_masks(const MaskEstimate& estimate) {
  return estimate.family == MaskFamily::kRandom || estimate.family == MaskFamily::kRanked;
}

std::optional<MaskedFinding> find_masked(const Candidates& given, const Sample& sample,
                                         const Evidence& evidence,
                                         const std::vector<size_t>& controls,
                                         std::string_view experts) {
  const std::optional<MaskEstimate> estimate = mask_estimate(evidence);
  if (!estimate) return std::nullopt;
  MaskedFinding finding{*estimate, describe(given, *estimate, experts), {}};
  for (const size_t control : controls) {
    const Turned turned(given, sample, control);
    Candidates others{turned.alignment, turned.models, given.roles,
                      given.candidates, given.base,    given.walk};
    others.seeds = Seeds::kNone;
    others.selection = given.selection;
    NamedDepth figures{.name = given.alignment.models[control]->ref, .d16 = 0, .passed = true};
    if (const auto of_control = gather_evidence(others, turned.sample)) {
      if (const auto explained = mask_estimate(*of_control)) figures.d16 = explained->explained;
    }
    figures.passed = figures.d16 < threshold::kControlDepth.value;
    finding.controls.push_back(std::move(figures));
  }
  return finding;
}

BlindDecision decide_masked(const MaskedFinding& finding) {
  const MaskEstimate& estimate = finding.estimate;
  BlindDecision decision;
  for (const NamedDepth& control : finding.controls) {
    if (control.passed) continue;
    decision.reasons.push_back(
        fmt::format("Masks explain {:.3f} of {}, a control that took no part, too (limit {:.1f}).",
                    control.d16, control.name, threshold::kControlDepth.value));
    return decision;
  }
  decision.kind = VerdictKind::kMergeWithChanges;
  decision.reasons.push_back(fmt::format(
      "Of {} elements in {} tensors that tell, {:.4f} are the base with some of the parents' "
      "changes, each whole or not at all; by chance {:.4f} would be.",
      with_commas(estimate.elements), estimate.tensors, estimate.explained, estimate.by_chance));
  if (random_masks(estimate)) {
    decision.reasons.push_back(
        "Which were kept is random, and the seed was not among those tried: --seed-search full "
        "tries all of torch's.");
  }
  decision.reasons.push_back(
      finding.controls.empty()
          ? std::string("No control was given: add another fine-tune of the family with --control.")
          : fmt::format("No such masks explain {} control{}.", finding.controls.size(),
                        finding.controls.size() == 1 ? "" : "s"));
  return decision;
}

std::string masks_in_words(const Candidates& given, const MaskEstimate& estimate) {
  std::vector<std::string> parts;
  for (const MaskEstimate::Parent& parent : estimate.parents) {
    parts.push_back(fmt::format("{:.1f} % of the changes of {} (times {:.3g})",
                                100 * parent.density, given.alignment.models[parent.model]->ref,
                                parent.factor));
  }
  return fmt::format("{}, on the base {}", fmt::join(parts, " and "),
                     given.alignment.models[estimate.base]->ref);
}

}  // namespace hieron
