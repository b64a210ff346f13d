// What protects the innocent: controls, self-checks that must collapse, a power check that must
// succeed, and the direction of the blend. Run on every audit, through the same code as the
// suspect. docs/assay.md §8.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "hieron/assay/evidence/two_ends.h"
#include "hieron/assay/result.h"
#include "hieron/core/prf.h"

namespace hieron {

struct GuardInput {
  const Alignment& alignment;
  const Sample& sample;
  size_t suspect;
  Ends ends;
  Varies varies;  // controls get the same freedom as the suspect
  std::vector<size_t> controls;
  unsigned threads;
  Seed seed;
};

struct Guards {
  std::vector<NamedDepth> controls, self_checks;
  NamedDepth power;
  std::vector<double> grid;  // of alpha, for the picture
  std::vector<std::pair<std::string, std::vector<CurvePoint>>> control_curves;
  std::vector<CurvePoint> curve(const EndsFit& suspect) const;
};

Guards run_guards(const GuardInput& input);

// Each end refitted with the suspect in its place: only the true child is explained to the last
// bit.
struct DirectionCheck {
  Direction figures;
  std::string reason;  // why it failed, as a sentence
};
DirectionCheck check_direction(const GuardInput& input, double suspect_replay_share);

}  // namespace hieron
