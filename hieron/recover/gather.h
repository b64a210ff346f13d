// From a sample of a suspect and its candidates to what the methods' `recover` looks at.
#pragma once

#include "hieron/core/error.h"
#include "hieron/merge/evidence.h"
#include "hieron/recover/candidates.h"
#include "hieron/recover/sample.h"

namespace hieron {

// Refused: nothing that all candidates have and in which they differ. The evidence refers to
// `given`, which must outlive it.
Result<Evidence> gather_evidence(const Candidates& given, const Sample& sample);

}  // namespace hieron
