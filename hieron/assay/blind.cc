#include "hieron/assay/blind.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "hieron/assay/turned.h"
#include "hieron/core/text.h"
#include "hieron/merge/computed.h"
#include "hieron/merge/method.h"
#include "hieron/recover/nested.h"

namespace hieron {
namespace {

constexpr size_t kShownEquivalents = 8;
constexpr size_t kReplayed = 4;

bool varies(const Hypothesis& hypothesis) {
  const auto any = [](const ParameterValues& values) {
    return std::ranges::any_of(values, [](const auto& value) { return value.second.varies(); });
  };
  return any(hypothesis.parameters) ||
         std::ranges::any_of(hypothesis.inputs,
                             [&](const HypothesisInput& input) { return any(input.parameters); });
}

FoundRecipe describe(const Candidates& given, const Tried& best, std::span<const Tried> others,
                     std::string_view experts) {
  const auto yaml_of = [&](const Tried& tried) {
    Rendering rendering = tried.rendering;
    rendering.experts = experts;
    return recipe_yaml(tried.hypothesis, refs_of(given.alignment), rendering);
  };
  const auto refs = refs_of(given.alignment);
  const Hypothesis& hypothesis = best.hypothesis;
  FoundRecipe found;
  found.method = std::string(hypothesis.method);
  found.arithmetic = best.rendering.arithmetic;
  found.arithmetics = {{found.arithmetic, best.score.share()}};
  found.varies = varies(hypothesis) ? "tensor" : "global";
  if (hypothesis.base) found.base_model = refs[*hypothesis.base];
  found.seed = hypothesis.seed;
  found.normalize = false;
  double sum = 0;
  for (const HypothesisInput& input : hypothesis.inputs) {
    RecipeModel model{.ref = refs[input.model]};
    for (const auto& [name, value] : input.parameters) {
      if (value.varies()) continue;
      if (name == "weight") {
        model.weight = value.otherwise;
        sum += value.otherwise;
      } else {
        model.parameters.emplace_back(name, value.otherwise);
      }
    }
    found.models.push_back(std::move(model));
  }
  for (const auto& [name, value] : hypothesis.parameters) {
    if (name == "normalize") {
      found.normalize = value.otherwise != 0;
    } else if (!value.varies()) {
      found.parameters.emplace_back(name, value.otherwise);
    }
  }
  for (RecipeModel& model : found.models) {
    if (model.weight) model.effective = found.normalize ? *model.weight / sum : *model.weight;
  }
  found.yaml = yaml_of(best);
  for (const Tried& other : others) {
    if (found.equivalent.size() == kShownEquivalents) break;
    if (other.score.share() < best.score.share()) continue;
    std::string yaml = yaml_of(other);
    if (yaml != found.yaml) found.equivalent.push_back(std::move(yaml));
  }
  return found;
}

// Of the outer merge; the models of the inner one with the share that it leaves them.
FoundRecipe describe(const Candidates& given, const Nested& nested, std::string_view experts) {
  const auto refs = refs_of(given.alignment);
  const FoundRecipe inside = describe(given, nested.inner, {}, experts);
  Tried outer = nested.outer;
  double left = 0;
  std::erase_if(outer.hypothesis.inputs, [&](const HypothesisInput& input) {
    const bool inner = input.model >= refs.size();
    if (inner) left = input.parameters.at("weight").otherwise;
    return inner;
  });
  outer.hypothesis.parameters.insert_or_assign("normalize",
                                               0.0);  // they sum to one, and one of them is gone
  FoundRecipe found = describe(given, outer, {}, experts);
  for (RecipeModel model : inside.models) {
    if (model.effective) model.effective = *model.effective * left;
    found.models.push_back(std::move(model));
  }
  found.base_model = inside.base_model;
  found.normalize = true;
  found.inner = fmt::format("{:.4g} × ({})", left, recipe_in_words(inside));
  found.yaml = nested_yaml(nested, refs, experts);
  return found;
}

NamedDepth control_figures(const Candidates& given, size_t control, const TellingCount& score) {
  const bool passed = score.share() < threshold::kControlDepth.value;
  return {.name = given.alignment.models[control]->ref, .d16 = score.share(), .passed = passed};
}

double best_share(const std::vector<NamedDepth>& controls) {
  double best = 0;
  for (const NamedDepth& control : controls) best = std::max(best, control.d16);
  return best;
}

}  // namespace

Result<std::optional<BlindFinding>> find_blind(const Candidates& given, const Sample& sample,
                                               const Evidence& evidence,
                                               const std::vector<size_t>& controls,
                                               const Selection& selection, std::string_view experts,
                                               std::span<const std::string_view> methods) {
  const Recovery recovery = recover_recipe(given, evidence, methods);
  if (!recovery.best) return std::nullopt;
  const Tried& best = *recovery.best;
  if (!recovery.holds && best.score.share() < threshold::kChangedDepth.value) return std::nullopt;
  const Trial trial(given, evidence);
  std::optional<BlindFinding> found;
  std::vector<const Tried*> rivals{&best};
  for (const Tried& other : recovery.others) {
    const bool new_kind = other.hypothesis.method != rivals.back()->hypothesis.method ||
                          other.score.share() < rivals.back()->score.share();
    if (rivals.size() < kReplayed && new_kind) rivals.push_back(&other);
  }
  // What the probes cannot tell apart the whole model may.
  for (const Tried* tried : rivals) {
    const auto plan = trial.plan(tried->hypothesis, tried->rendering);
    if (!plan) continue;
    const auto made = computed_checkpoint(*plan);
    if (!made) continue;
    HIERON_TRY(Comparison whole, replay(**made, *given.alignment.models[0], given.walk, selection));
    if (found && whole.total.equal <= found->whole.total.equal) continue;
    found = BlindFinding{.best = *tried,
                         .holds = recovery.holds,
                         .recipe = describe(given, *tried, recovery.others, experts),
                         .whole = std::move(whole),
                         .controls = {},
                         .reversed = {}};
    if (found->whole.total.equal == found->whole.total.elements) break;
  }
  if (!found) return std::nullopt;
  BlindFinding& finding = *found;
  for (const size_t control : controls) {
    finding.controls.push_back(control_figures(
        given, control, trial.score_of(finding.best.hypothesis, finding.best.rendering, control)));
  }
  finding.reversed = reversed_input(given, sample, evidence, finding.best);
  return found;
}

Result<std::optional<BlindFinding>> find_nested(const Candidates& given, const Sample& sample,
                                                const Evidence& evidence, double least,
                                                const std::vector<size_t>& controls,
                                                const Selection& selection,
                                                std::string_view experts) {
  const std::optional<Nested> nested = recover_nested(given, evidence, least, controls);
  if (!nested) return std::nullopt;
  const auto made = computed_checkpoint(nested->plan);
  if (!made) return std::nullopt;
  HIERON_TRY(Comparison whole, replay(**made, *given.alignment.models[0], given.walk, selection));
  BlindFinding finding{.best = nested->outer,
                       .holds = nested->outer.score.share() >= kHolds,
                       .recipe = describe(given, *nested, experts),
                       .whole = std::move(whole),
                       .controls = {},
                       .reversed = {}};
  for (size_t i = 0; i < controls.size(); ++i) {
    finding.controls.push_back(control_figures(given, controls[i], nested->scores[i]));
  }
  finding.reversed = reversed_input(given, sample, evidence, finding.best);
  return finding;
}

BlindDecision decide_blind(const BlindFinding& finding, double aligned) {
  const Replay& total = finding.whole.total;
  const uint64_t missed = total.elements - total.equal;
  const uint64_t changed = missed - finding.whole.near;
  const double share = finding.best.score.share();
  const double rival = best_share(finding.controls);
  BlindDecision decision;
  const auto no = [&](std::string reason) {
    decision.reasons.push_back(std::move(reason));
    return decision;
  };
  if (total.elements == 0) return no("There was nothing to replay.");
  if (!finding.reversed.empty()) {
    return no(
        fmt::format("{} is explained just as well with the suspect among its parents: which "
                    "was made of which cannot be told.",
                    finding.reversed));
  }
  if (rival >= threshold::kControlDepth.value) {
    return no(
        fmt::format("The best recipe found reproduces a control that took no part too "
                    "({:.3f} of its telling elements, limit {:.1f}).",
                    rival, threshold::kControlDepth.value));
  }
  const bool linear = find_method(finding.best.hypothesis.method)->describe().weighted_sum;
  const double least = linear && !finding.controls.empty() ? threshold::kChangedDepth.value
                                                           : threshold::kBlindChanged.value;
  const bool exact = finding.holds && total.share >= threshold::kReplayShare.value && changed == 0;
  if (!exact && (share < least || share < threshold::kChangedRatio.value * rival)) {
    return no(
        fmt::format("The best recipe found, {}, reproduces {:.4f} of the telling elements "
                    "({:.1f} needed).",
                    finding.best.hypothesis.method, share, least));
  }
  const bool edit = finding.best.hypothesis.method == "passthrough";
  decision.reasons.push_back(fmt::format(
      "The replay reproduces {:.6f} of all compared elements bit for bit, and {:.6f} of "
      "those of the probes that differ from one of the models.",
      total.share, share));
  if (exact && aligned >= threshold::kAligned.value) {
    decision.kind = edit ? VerdictKind::kEdit : VerdictKind::kExactMerge;
  } else {
    decision.kind = VerdictKind::kMergeWithChanges;
    if (changed > 0) {
      decision.reasons.push_back(fmt::format(
          "{} elements differ from the replay by more than rounding.", with_commas(changed)));
    }
    if (aligned < threshold::kAligned.value) {
      decision.reasons.push_back(fmt::format(
          "Only {:.1f} % of the suspect's parameters were compared ({:.0f} % needed for an exact "
          "merge).",
          100 * aligned, 100 * threshold::kAligned.value));
    }
  }
  decision.reasons.push_back(
      finding.controls.empty()
          ? std::string("No control was given: add another fine-tune of the family with --control.")
          : fmt::format("The same recipe reproduces at most {:.4f} of the telling elements of {} "
                        "control{}.",
                        rival, finding.controls.size(), finding.controls.size() == 1 ? "" : "s"));
  return decision;
}

std::string recipe_in_words(const FoundRecipe& recipe) {
  std::vector<std::string> parts;
  if (!recipe.inner.empty()) {
    const RecipeModel& beside = recipe.models.front();
    return fmt::format("{:.4g} × {} + {}, which nobody published", *beside.effective, beside.ref,
                       recipe.inner);
  }
  const bool weighted = std::ranges::all_of(
      recipe.models, [](const RecipeModel& model) { return model.effective.has_value(); });
  if (recipe.method == "linear" && weighted) {
    for (const RecipeModel& model : recipe.models) {
      parts.push_back(fmt::format("{:.4g} × {}", *model.effective, model.ref));
    }
    return fmt::format("{}", fmt::join(parts, " + "));
  }
  for (const RecipeModel& model : recipe.models) {
    std::vector<std::string> figures;
    if (model.weight) figures.push_back(fmt::format("weight {:.4g}", *model.weight));
    for (const auto& [name, value] : model.parameters) {
      figures.push_back(fmt::format("{} {:.4g}", name, value));
    }
    parts.push_back(figures.empty() ? model.ref
                                    : fmt::format("{} ({})", model.ref, fmt::join(figures, ", ")));
  }
  std::string text = fmt::format("a {} merge of {}", recipe.method, fmt::join(parts, " and "));
  for (const auto& [name, value] : recipe.parameters) {
    text += fmt::format(", {} {:.4g}", name, value);
  }
  if (!recipe.base_model.empty()) text += fmt::format(", on the base {}", recipe.base_model);
  return text;
}

}  // namespace hieron
