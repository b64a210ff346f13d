// What an audit reads of its models when it reads a sample, and what that may leave unseen.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "hieron/assay/audit.h"
#include "hieron/model/roles.h"
#include "hieron/walk/alignment.h"
#include "hieron/walk/selection.h"

namespace hieron {

// Everything, or so much of each tensor as the options say: the same elements for the same names,
// shapes and seed, whatever the alignment is for.
Selection audit_selection(const Alignment& alignment, const RoleTable& roles,
                          const AuditOptions& options);

// Tells files far away of all that fit and proof will read, in one go; of `controls` (numbers of
// models), the fit's part. Refused: more than may be downloaded.
Status announce_sample(const Alignment& alignment, const Selection& all, const Selection& fit,
                       std::span<const size_t> controls);

// Elements of the suspect that were read, and that there are.
struct ReadElements {
  uint64_t read = 0, all = 0;
};
ReadElements read_of(const AuditResult& result);

// What the part that was read says of the rest, as sentences (docs/assay.md §10).
std::string sample_bound(const AuditResult& result, const Alignment& alignment,
                         const RoleTable& roles);

}  // namespace hieron
