#include "hieron/assay/verdict.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "hieron/core/text.h"

namespace hieron {
namespace {

MergeDecision undetermined(std::string reason) {
  return {VerdictKind::kUndetermined, true, {std::move(reason)}};
}

bool replay_holds(const MergeFacts& f) {
  return f.replayed && f.replay_share >= threshold::kReplayShare.value &&
         f.worst_tensor_share >= threshold::kReplayShare.value &&
         (!f.single_rounding || f.d16 >= threshold::kExactDepth.value);
}

// Guards that a merge verdict must pass, whichever it is. The reason why not, or nothing.
std::optional<std::string> failed_guard(const MergeFacts& f) {
  if (!f.power_passed) {
    return fmt::format(
        "A merge made on the fly from the same two ends was not found reliably (D16 "
        "{:.4f}, {:.4f} needed): the ends are too much alike for this test.",
        f.power, threshold::kPowerDepth.value);
  }
  if (!f.direction_passed) return f.direction_reason;
  if (f.best_self_check >= threshold::kControlDepth.value) {
    return fmt::format(
        "A self-check that must collapse did not (D16 {:.3f}, limit {:.1f}): depth "
        "says nothing about these weights.",
        f.best_self_check, threshold::kControlDepth.value);
  }
  if (f.best_control >= threshold::kControlDepth.value) {
    return fmt::format(
        "A control that took no part is explained too (D16 {:.3f}, limit {:.1f}): the "
        "test cannot tell the suspect from it, or the control is itself a blend.",
        f.best_control, threshold::kControlDepth.value);
  }
  return std::nullopt;
}

std::string name_some(const std::vector<std::string>& names) {
  constexpr size_t kShown = 3;
  std::vector<std::string> shown;
  for (size_t i = 0; i < std::min(names.size(), kShown); ++i) {
    shown.push_back('"' + printable(names[i]) + '"');
  }
  std::string text = fmt::format("{}", fmt::join(shown, ", "));
  if (names.size() > kShown) text += fmt::format(" and {} more", names.size() - kShown);
  return text;
}

}  // namespace

bool settled(VerdictKind kind) {
  switch (kind) {
    case VerdictKind::kCopy:
    case VerdictKind::kReformattedCopy:
    case VerdictKind::kExactMerge:
    case VerdictKind::kLayerStack:
    case VerdictKind::kEdit:
    case VerdictKind::kObfuscatedCopy:
      return true;
    default:
      return false;
  }
}

MergeDecision decide_merge(const MergeFacts& f) {
  if (static_cast<double>(f.informative_16) < threshold::kInformative.value) {
    return {
        std::nullopt,
        false,
        {fmt::format("Only {} elements are informative for these ends ({:.0f} needed): they are "
                     "too much alike to tell a blend.",
                     f.informative_16, threshold::kInformative.value)}};
  }
  const double rival = std::max(f.best_control, f.best_self_check);
  const bool exact = replay_holds(f) && (f.away_from_ends || f.apart_from_ends);
  const bool deep = f.d16 >= threshold::kChangedDepth.value &&
                    f.d16 >= threshold::kChangedRatio.value * rival && f.away_from_ends;
  if (!exact && !deep && f.away_from_ends && f.d16 >= threshold::kChangedDepth.value) {
    return undetermined(
        fmt::format("One blend explains {:.4f} of the informative elements, but a control or "
                    "self-check reaches "
                    "{:.4f}: a blend must stand out {:.0f} times.",
                    f.d16, rival, threshold::kChangedRatio.value));
  }
  if (!exact && !deep) {
    std::string why =
        !f.away_from_ends && f.d16 >= threshold::kChangedDepth.value
            ? fmt::format(
                  "The best blend lies at one of the ends (D16 {:.3f}): that is nearness to "
                  "one model, not a blend of two.",
                  f.d16)
            : fmt::format(
                  "The best blend explains {:.4f} of the informative elements (a merge "
                  "reaches 1, a changed merge {:.1f} and {:.0f} times its best control "
                  "{:.4f}).",
                  f.d16, threshold::kChangedDepth.value, threshold::kChangedRatio.value, rival);
    return {std::nullopt, false, {std::move(why)}};
  }
  if (auto reason = failed_guard(f)) return undetermined(std::move(*reason));
  MergeDecision decision;
  if (exact && f.changed == 0 && f.aligned >= threshold::kAligned.value) {
    decision.kind = VerdictKind::kExactMerge;
    decision.reasons.push_back(
        fmt::format("The replay reproduces {:.6f} of all aligned elements bit for bit, and no "
                    "difference is left that rounding does not explain.",
                    f.replay_share));
  } else {
    decision.kind = VerdictKind::kMergeWithChanges;
    if (f.aligned < threshold::kAligned.value) {
      decision.reasons.push_back(
          fmt::format("Only {:.1f} % of the suspect's parameters have a counterpart in both ends "
                      "({:.0f} % needed for an exact merge).",
                      100 * f.aligned, 100 * threshold::kAligned.value));
    }
    if (f.replayed && f.changed > 0) {
      decision.reasons.push_back(fmt::format(
          "{} elements differ from the replay by more than rounding, in {} tensor{}: {}.",
          with_commas(f.changed), f.changed_tensors.size(),
          f.changed_tensors.size() == 1 ? "" : "s", name_some(f.changed_tensors)));
    }
    decision.reasons.push_back(fmt::format(
        "One blend explains {:.4f} of the informative elements to the last bit; the best "
        "control or self-check {:.4f}.",
        f.d16, rival));
  }
  if (f.controls == 0) {
    decision.reasons.push_back(
        "No control was given: the self-checks show that the test can say no, but not against a "
        "real "
        "sibling.");
  } else {
    decision.reasons.push_back(
        fmt::format("{} control{} went through the same test: conformal p = 1/{} at best; the "
                    "strength lies in the exactness, the controls prove specificity.",
                    f.controls, f.controls == 1 ? "" : "s", f.controls + 1));
  }
  return decision;
}

}  // namespace hieron
