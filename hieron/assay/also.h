// "The wrong files were uploaded; these are the right ones": a second upload of a model beside the
// first. What changed, where and how much; whether the change is of the size that training has in
// this family; whether the offered models alone explain the second one too. docs/assay.md §11.
//
// Nobody is accused by this: bytes show changes, not why they were made.
#pragma once

#include <memory>

#include "hieron/assay/audit.h"

namespace hieron {

// `first`: the audit of input.suspect with the same options. Reads both uploads once more and
// audits the second one in the first one's place.
Result<SecondUpload> compare_uploads(const AuditInput& input,
                                     const std::shared_ptr<const Checkpoint>& second,
                                     const AuditOptions& options, const AuditResult& first);

}  // namespace hieron
