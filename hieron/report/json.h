// The audit as schema hieron.audit/1 (docs/schema/audit.schema.json): what programs read.
//
// Keys keep the schema's order, numbers read back as the same double, NaN and whatever is not known
// are null. Strings from files are kept whole; bytes that are not UTF-8 become U+FFFD. One line per
// list item, so that two reports can be compared with diff; `seconds` stands last and is all that
// differs between two equal audits.
#pragma once

#include <string>

#include "hieron/assay/result.h"

namespace hieron {

std::string audit_json(const AuditResult& result);

}  // namespace hieron
