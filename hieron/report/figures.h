// What every report says, as numbers and sentences: the terminal and the page print these and
// cannot disagree.
//
// Nothing here is escaped for its medium; names are already made printable (core/text.h).
#pragma once

#include <string>
#include <vector>

#include "hieron/assay/result.h"

namespace hieron {

// A share in [0, 1] with five decimals, cut instead of rounded where rounding would print 1 for
// less: "0.99999".
std::string show_share(double share);
// The same in percent: "100 %" only if it is all, "0 %" only if it is nothing.
std::string show_percent(uint64_t part, uint64_t whole);
// Alpha with the digits that its hard bounds support, 3 to 8 of them; and the bounds with one more.
std::string show_alpha(double alpha, double low, double high);
std::string show_bounds(double low, double high);

// "p = 3e-05"; an underflow is "p < 1e-300".
std::string show_p(double p);

// "exact-merge" as a heading: "Exact merge".
std::string title(VerdictKind kind);

// One line of the table of figures. NaN where a figure does not exist.
struct FigureRow {
  std::string kind;  // "suspect" | "control" | "self-check" | "power check" | "direction"
  std::string name;
  double d4, d16, d64;
  std::string alpha;
  std::string outcome;  // "collapsed", "found", …; empty for the suspect
  bool passed;
};
std::vector<FigureRow> figure_rows(const AuditResult& result);

struct Statement {
  std::string about, text;
};
// Replay, evidence, direction, what happened after the merge, what stays unexplained, kinship:
// those there are.
std::vector<Statement> findings(const AuditResult& result);
// What a second upload (--also) is beside the first, where they differ, and by what one measures
// that; empty if there is none.
std::vector<Statement> second_upload(const AuditResult& result);
// How much was read and what that means. What was skipped is a list of its own in the result.
std::vector<Statement> limits(const AuditResult& result);

// Every arithmetic with its share; "exact; also f32-once, f32-fma; bf16-delta reproduces 0.97812".
std::string arithmetic_summary(const FoundRecipe& recipe);

// The command line that repeats this audit, quoted for a POSIX shell. Empty `seed`: none is given.
std::string repeat_command(const AuditResult& result);

}  // namespace hieron
