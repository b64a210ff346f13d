#include "hieron/assay/result.h"

#include <array>
#include <utility>

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
    threshold::kCopyEqual,    threshold::kCopyRole,     threshold::kReplayShare,
    threshold::kExactDepth,   threshold::kAligned,      threshold::kInformative,
    threshold::kControlDepth, threshold::kChangedDepth, threshold::kChangedRatio,
    threshold::kPeakDistance, threshold::kPowerDepth,   threshold::kKinP,
    threshold::kStrangerP,
};

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
