// What an audit reads of its models when it reads a sample.
#pragma once

#include "hieron/assay/audit.h"
#include "hieron/model/roles.h"
#include "hieron/walk/alignment.h"
#include "hieron/walk/selection.h"

namespace hieron {

// Everything, or so much of each tensor as the options say: the same elements for the same names,
// shapes and seed, whatever the alignment is for.
Selection audit_selection(const Alignment& alignment, const RoleTable& roles,
                          const AuditOptions& options);

}  // namespace hieron
