// Many checkpoints, few of which a suspect may have been made of: who is worth offering to an
// audit?
//
// Nothing is decided here. Headers and one sample of all drop those that do not fit and those that
// are the same model twice; what remains is fitted together, s = Σ w_k·x_k, and whoever the fit can
// do without is left out, one by one. The audit that follows has its own guards; those left out are
// its controls. docs/recovery.md §5.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "hieron/assay/audit.h"
#include "hieron/assay/result.h"
#include "hieron/core/error.h"

namespace hieron {

inline constexpr size_t kMostOfPool = 100;
inline constexpr size_t kMostParents = 8;   // from the pool
inline constexpr size_t kMostControls = 4;  // from the pool, where none is given

// A checkpoint of the pool; null and the reason if it cannot be read.
struct PoolEntry {
  std::string ref;
  std::shared_ptr<const Checkpoint> checkpoint;
  std::string unreadable;
};

// Adds to `input` the parents, and if it has none the controls, that the pool offers. Cost: one
// sample of about 2^17 elements of every model held in memory (1 MB each), and a second of work for
// a hundred of them.
Result<PoolReport> choose_from_pool(const std::vector<PoolEntry>& pool, AuditInput& input,
                                    const AuditOptions& options);

// The report as sentences, for people.
std::vector<std::string> pool_sentences(const PoolReport& report);

// The audit's result with what became of the pool.
void add_pool(AuditResult& result, PoolReport report);

// The same file under any name, or the same folder of files.
bool same_files(const Checkpoint& a, const Checkpoint& b);

}  // namespace hieron
