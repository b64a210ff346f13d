// Audit results to print: one of each kind of answer, made up but with figures like those of
// docs/assay.md.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "hieron/assay/result.h"

namespace hieron::samples {

AuditResult exact_merge();  // an LSTM of ten tensors, three controls, every check passed
AuditResult
merge_with_changes();  // a decoder of 24 layers; one tensor was altered, one head is not compared
AuditResult fine_tune();     // kin of the base, explained by no blend
AuditResult edit();          // a direction taken out of the one parent
AuditResult undetermined();  // nothing but a suspect and a reason
AuditResult hostile();       // names that try to be markup, terminal codes, paths and broken UTF-8
AuditResult large(int layers, int experts);  // layers × experts × 3 tensors and an attention each

// All of them but `large`, with names for files.
std::vector<std::pair<std::string, AuditResult>> all();

}  // namespace hieron::samples
