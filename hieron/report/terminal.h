// The audit for a person at a terminal: the verdict first, then its proof, in the order of a
// reader's questions.
//
// Whatever comes from a file or a ref is printed with control and bidi characters made visible, so
// that no name can move the cursor or hide text. Ends with a newline.
#pragma once

#include <span>
#include <string>

#include "hieron/assay/result.h"

namespace hieron {

struct TerminalStyle {
  int width = 100;      // columns; below 40 is read as 40
  bool colour = false;  // SGR sequences; the caller knows the terminal and NO_COLOR
  bool unicode = true;  // otherwise the output is 7-bit ASCII
};

// A file that was written along with the report: {"page", "report.html"}.
struct WrittenFile {
  std::string what, path;
};

std::string audit_text(const AuditResult& result, const TerminalStyle& style,
                       std::span<const WrittenFile> written = {});

}  // namespace hieron
