// Every threshold of the verdict, with its reason, in one table. Fixed before looking; printed in
// the report.
#pragma once

#include <span>
#include <string_view>

#include "hieron/recover/recover.h"

namespace hieron {

struct Threshold {
  std::string_view id;
  double value;
  std::string_view reason;
};

namespace threshold {
inline constexpr Threshold kCopyEqual{"copy.equal", 0.9999,
                                      "share of bit-equal elements that makes a copy"};
inline constexpr Threshold kCopyRole{"copy.role", 0.9,
                                     "share of bit-equal elements that every role of a copy must "
                                     "reach: a model with other experts is no copy"};
inline constexpr Threshold kReplayShare{
    "exact.replay", 0.999, "share of elements the replay reproduces, over all aligned elements"};
inline constexpr Threshold kExactDepth{"exact.d16", 0.999,
                                       "D16 of a merge with one rounding; true merges reach .9999"};
inline constexpr Threshold kAligned{
    "exact.aligned", 0.95,
    "share of the suspect's parameters that must be aligned with the parents'"};
inline constexpr Threshold kInformative{"informative", 100,
                                        "fewer informative elements than this say nothing"};
inline constexpr Threshold kControlDepth{
    "control.d16", 0.3,
    "a control or self-check at or above this means the test cannot say no here"};
inline constexpr Threshold kChangedDepth{"changes.d16", 0.2,
                                         "least D16 of a merge that was changed afterwards"};
inline constexpr Threshold kChangedRatio{
    "changes.ratio", 5, "and at least this many times the best control or self-check"};
inline constexpr Threshold kPeakDistance{"changes.peak", 0.01,
                                         "and a peak at least this far from every single parent"};
inline constexpr Threshold kPowerDepth{
    "power.d16", 0.999, "D16 that a merge made on the fly from the same parents must reach"};
inline constexpr Threshold kKinP{
    "kin.p", 1e-6, "p of the hidden-unit match below which two models are kin (Holm over models)"};
inline constexpr Threshold kStrangerP{"stranger.p", 0.01,
                                      "p above which nothing speaks for kinship"};
inline constexpr Threshold kBlindHolds{
    "blind.trial", kHolds,
    "share of the telling elements of the probes that a recipe found blind must reproduce"};
inline constexpr Threshold kBlindChanged{
    "blind.changed", 0.5,
    "share of the telling elements that the recipe of a merge changed afterwards still reproduces; "
    "wrong recipes reach .04 on other fine-tunes, .3 on sparse ones"};
inline constexpr Threshold kTripShare{
    "also.trip", 0.999,
    "share of the changed elements that one rounding to another format must explain"};
inline constexpr Threshold kTrainedRatio{
    "also.trained", 0.05,
    "change between two uploads, over what training changed in the controls, from which it is of "
    "the size of training"};
inline constexpr Threshold kTrainedOutside{
    "also.outside", 0.5,
    "and the share of its square that no other mix of the offered models accounts for"};
inline constexpr Threshold kStrange{
    "also.strange", 0.7,
    "change over the size of the first upload from which two uploads have little in common; "
    "strangers give the square root of 2; where training is known, it "
    "must also be twice as much"};
inline constexpr Threshold kKnownChanged{
    "fingerprint.changed", 0.5,
    "share that a merge with changes must explain of fingerprints, which show less of masks the "
    "other way round: an honest parent of a merge that drops changes reached .25"};
}  // namespace threshold

std::span<const Threshold> thresholds();

}  // namespace hieron
