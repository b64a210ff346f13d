// The audit as one page to read, print, send and keep: no script, no fetch, every picture inline.
//
// Strings from files and refs are escaped (markup.h); a Content-Security-Policy forbids everything
// but the inline style, so that even a mistake here could not run or load anything. Same result,
// same bytes (`seconds` apart).
#pragma once

#include <string>

#include "hieron/assay/result.h"

namespace hieron {

std::string audit_html(const AuditResult& result);

}  // namespace hieron
