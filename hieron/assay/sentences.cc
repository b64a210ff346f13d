#include "hieron/assay/sentences.h"

#include <fmt/format.h>

#include "hieron/core/text.h"

namespace hieron {
namespace {

constexpr int kFittedWeights = 70;  // complexity of weights that nobody wrote down so

}  // namespace

void write_ends_sentence(const std::string& suspect, const MergeFacts& facts,
                         const FoundRecipe& recipe, const Replay& replay, Verdict& verdict) {
  const auto parts = [&] {
    std::string text;
    for (const RecipeModel& model : recipe.models) {
      if (!text.empty()) text += " + ";
      text += model.effective ? fmt::format("{:.4g} × {}", *model.effective, model.ref)
                              : fmt::format("{} (weight varies by {})", model.ref, recipe.varies);
    }
    return text;
  };
  if (verdict.kind == VerdictKind::kExactMerge) {
    verdict.sentence = fmt::format(
        "{} is {}: recomputing that blend gives {} of its {} compared weights, bit for bit{}.",
        suspect, parts(), replay.equal == replay.elements ? "every one" : with_commas(replay.equal),
        with_commas(replay.elements),
        replay.equal == replay.elements ? "" : ", the rest but for rounding");
    verdict.falsifiers.push_back(
        "One weight that the recipe does not reproduce (none was found; hieron verify repeats "
        "it).");
  } else if (facts.changed == 0 && facts.replayed) {
    verdict.sentence = fmt::format(
        "{} is {}, give or take rounding: {} of {} compared weights are that blend bit for bit, "
        "and the "
        "others differ by no more than the arithmetic of an unknown program would.",
        suspect, parts(), with_commas(replay.equal), with_commas(replay.elements));
    verdict.falsifiers.push_back(
        "A program whose arithmetic gives other weights than these from the "
        "same recipe and parents, where this one claims rounding.");
  } else if (2 * facts.changed_tensors.size() > replay.tensors) {
    verdict.sentence = fmt::format(
        "{} lies close to {}: {} of {} compared weights are that blend bit for bit, the others "
        "differ "
        "in most tensors, by later training or by a share of a further model, which cannot be "
        "told "
        "apart here.",
        suspect, parts(), with_commas(replay.equal), with_commas(replay.elements));
    verdict.falsifiers.push_back(
        "A further parent that, once offered, explains the remaining differences.");
  } else {
    verdict.sentence = fmt::format(
        "{} is {}, changed afterwards: {} of {} compared weights are that blend bit for bit, {} "
        "are "
        "not.",
        suspect, parts(), with_commas(replay.equal), with_commas(replay.elements),
        with_commas(replay.elements - replay.equal));
    verdict.falsifiers.push_back(
        fmt::format("Weights that this recipe reproduces no better than chance: here it "
                    "reproduces {:.4f} of those "
                    "where the ends differ, a model that took no part {:.4f} at best.",
                    replay.share_informative, facts.best_control));
  }
  verdict.falsifiers.push_back(
      "A model that certainly took no part and reaches a depth like the suspect's in the same "
      "test.");
  verdict.falsifiers.push_back(
      "An older date or hash that shows one of the ends to have been made from the suspect.");
}

void write_recipe_sentence(const std::string& suspect, const BlindFinding& finding,
                           Verdict& verdict) {
  const Replay& whole = finding.whole.total;
  const std::string what = recipe_in_words(finding.recipe);
  const std::string all = whole.equal == whole.elements ? "every one" : with_commas(whole.equal);
  const uint64_t changed = whole.elements - whole.equal - finding.whole.near;
  if (verdict.kind == VerdictKind::kMergeWithChanges &&
      finding.best.hypothesis.complexity >= kFittedWeights && 1000 * changed < whole.elements) {
    verdict.sentence = fmt::format(
        "{} is {}, give or take the last digits of its weights, which were fitted: {} of {} "
        "compared weights are what that recipe gives, bit for bit.",
        suspect, what, all, with_commas(whole.elements));
    verdict.falsifiers.push_back("Later changes so small that they pass for such digits.");
  } else if (verdict.kind == VerdictKind::kMergeWithChanges) {
    verdict.sentence = fmt::format(
        "{} is {}, changed afterwards: {} of {} compared weights are what that recipe gives, bit "
        "for bit.",
        suspect, what, all, with_commas(whole.elements));
    verdict.falsifiers.push_back(
        "Another recipe, or a further parent, that explains the remaining differences.");
  } else {
    verdict.sentence = fmt::format(
        "{} is {}: recomputing that recipe gives {} of its {} compared weights, bit for bit{}.",
        suspect, what, all, with_commas(whole.elements),
        whole.equal == whole.elements ? "" : ", the rest but for rounding");
    verdict.falsifiers.push_back(
        "One weight that the recipe does not reproduce (none was found; hieron verify repeats "
        "it).");
  }
  verdict.falsifiers.push_back(
      "A model that certainly took no part and that the same recipe reproduces as well.");
  verdict.falsifiers.push_back(
      "An older date or hash that shows one of the parents to have been made from the suspect.");
}

void write_masks_sentence(const Candidates& given, const MaskedFinding& finding, Verdict& verdict) {
  verdict.sentence = fmt::format(
      "{} is a masked merge: it carries {}; {:.1f} % of the elements that tell are so, but {}, "
      "so "
      "that there is no replay.",
      given.alignment.models[0]->ref, masks_in_words(given, finding.estimate),
      100 * finding.estimate.explained,
      random_masks(finding.estimate) ? "the random numbers that chose them are not known"
                                     : "what it was computed with is not known to the last digit");
  verdict.falsifiers.push_back(
      "A model that certainly took no part and whose changes are found in the suspect as often.");
}

}  // namespace hieron
