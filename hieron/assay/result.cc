#include "hieron/assay/result.h"

#include <array>
#include <utility>

#include "hieron/edit/edit.h"

namespace hieron {
namespace {

constexpr std::array<std::pair<VerdictKind, std::string_view>, 10> kKinds{{
    {VerdictKind::kCopy, "copy"},
    {VerdictKind::kReformattedCopy, "reformatted-copy"},
    {VerdictKind::kExactMerge, "exact-merge"},
    {VerdictKind::kMergeWithChanges, "merge-with-changes"},
    {VerdictKind::kLayerStack, "layer-stack"},
    {VerdictKind::kEdit, "edit"},
    {VerdictKind::kFineTune, "fine-tune"},
    {VerdictKind::kObfuscatedCopy, "obfuscated-copy"},
    {VerdictKind::kIndependent, "independent"},
    {VerdictKind::kUndetermined, "undetermined"},
}};

constexpr std::array kThresholds{
    threshold::kCopyEqual,
    threshold::kCopyRole,
    threshold::kReplayShare,
    threshold::kExactDepth,
    threshold::kAligned,
    threshold::kInformative,
    threshold::kControlDepth,
    threshold::kChangedDepth,
    threshold::kChangedRatio,
    threshold::kPeakDistance,
    threshold::kPowerDepth,
    threshold::kKinP,
    threshold::kStrangerP,
    threshold::kKnownChanged,
    Threshold{"edit.replay", edit_threshold::kReplay,
              "share of what an edit changed that doing it again must reproduce"},
    Threshold{"edit.gap", edit_threshold::kGap,
              "fall of the singular values behind the rank of an adapter; measured 22 and more"},
    Threshold{"edit.rounding", edit_threshold::kRounding,
              "mean square of what an estimated edit leaves, in rounding errors: 1 for the model "
              "edited, 2 for another child of its origin"},
    Threshold{"edit.direction", edit_threshold::kDirectionNats,
              "nats by which the size of that rest must say which of the two is the later one"},
    Threshold{"edit.vector", edit_threshold::kSameDirection,
              "|cosine| of the vectors that two tensors lost"},
    Threshold{"edit.scattered", edit_threshold::kScattered,
              "borders between zeros and others, per element: whole rows of zeros have no "
              "direction"},
    threshold::kTripShare,
    threshold::kTrainedRatio,
    threshold::kTrainedOutside,
    threshold::kStrange};

}  // namespace

std::string_view name(VerdictKind kind) {
  for (const auto& [k, text] : kKinds) {
    if (k == kind) return text;
  }
  return "undetermined";
}

std::optional<VerdictKind> parse_verdict_kind(std::string_view text) {
  for (const auto& [kind, known] : kKinds) {
    if (known == text) return kind;
  }
  return std::nullopt;
}

std::span<const Threshold> thresholds() { return kThresholds; }

}  // namespace hieron
