// The audit: a suspect, its suspected parents and some controls go in; a verdict with its proof
// comes out.
//
// Estimates are made from a bounded sample; the proof is one pass over every element (or over the
// selection that
// --sample asks for). Thresholds: assay/thresholds.h. Theory: docs/assay.md.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "hieron/assay/result.h"
#include "hieron/core/error.h"
#include "hieron/core/prf.h"
#include "hieron/merge/experts.h"
#include "hieron/walk/walk.h"

namespace hieron {

struct AuditInput {
  std::shared_ptr<const Checkpoint> suspect;
  std::vector<std::shared_ptr<const Checkpoint>> parents;  // at least one; with one, a base as well
  std::shared_ptr<const Checkpoint> base;                  // may be null
  std::vector<std::shared_ptr<const Checkpoint>> controls;
};

struct AuditOptions {
  Seed seed = Seed::fresh();
  uint64_t sample_bytes = 0;  // per tensor and model; 0: every element is compared
  uint64_t more_bytes = 0;    // the same once more, where so few leave it undetermined; 0: never
  bool hash = false;          // SHA-256 of whole input files
  Seeds seeds = Seeds::kPopular;  // of random masks
  WalkOptions walk;
};

// All of them, the suspect first.
std::vector<std::shared_ptr<const Checkpoint>*> models_of(AuditInput& input);
// Those that have experts, with their experts in this layout.
Status lay_out_experts(AuditInput& input, ExpertLayout layout);

// Errors: models with nothing in common, unreadable data. A defect that an audit can go on past is
// a warning.
Result<AuditResult> audit(const AuditInput& input, const AuditOptions& options);

}  // namespace hieron
