// The decision: from figures to a verdict, by the thresholds alone. Pure; knows no file and no
// model.
#pragma once

#include <string>
#include <vector>

#include "hieron/assay/result.h"

namespace hieron {

// What the two-ends tests and the proof found, in the terms of the verdict table (docs/assay.md
// §8).
struct MergeFacts {
  double d16 = 0;  // of the suspect, with the coefficients varying as found
  uint64_t informative_16 = 0;
  bool single_rounding = false;   // of the identified arithmetic
  bool away_from_ends = false;    // some coefficient is more than kPeakDistance from 0 and from 1
  bool apart_from_ends = false;   // full depth, and its hard bounds exclude 0 and 1
  double aligned = 0;             // share of the suspect's parameters that both ends have
  bool replayed = false;          // a recipe was found and the proof was run
  double replay_share = 0;        // over all aligned elements
  double worst_tensor_share = 1;  // least share among tensors with enough informative elements
  uint64_t changed = 0;           // misses that rounding does not explain
  std::vector<std::string> changed_tensors;
  uint64_t controls = 0;
  double best_control = 0, best_self_check = 0;  // D16
  bool power_passed = false;
  double power = 0;
  bool direction_passed = true;
  std::string direction_reason;  // "PARENT is itself a blend of SUSPECT and X"
};

// Is nothing left to explain: all of the suspect is accounted for by the models offered?
bool settled(VerdictKind kind);

struct MergeDecision {
  std::optional<VerdictKind> kind;   // nothing: these ends do not explain the suspect
  bool blocked = false;              // kind is kUndetermined: a peak is there but a guard failed
  std::vector<std::string> reasons;  // sentences, most important first
};

MergeDecision decide_merge(const MergeFacts& facts);

}  // namespace hieron
