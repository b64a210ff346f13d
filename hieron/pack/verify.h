// Does a pack's verdict follow from its bytes? And are they still what its models have?
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "hieron/pack/archive.h"
#include "hieron/pack/pack.h"

namespace hieron {

// A model's weight file again, from wherever it came. Null: it cannot be had (no URL, not asked
// for); an error: it should be there and is not.
using OpenOriginal = std::function<Result<std::shared_ptr<const File>>(const PackedModel& model,
                                                                       const PackedWeights& file)>;

// Blocks to fetch once more: drawn by `seed` from those whose originals can be had, all of them if
// there are no more than `blocks`.
struct Refetch {
  OpenOriginal open;
  uint64_t blocks = UINT64_MAX;
  Seed seed = Seed::fresh();
};

struct Refetched {
  uint64_t blocks = 0, equal = 0, bytes = 0;
  uint64_t without_original = 0;  // blocks
};

struct PackCheck {
  std::string sha256;                          // of evidence.json
  std::string version;                         // that made it
  uint64_t models = 0, blocks = 0, bytes = 0;  // of weights
  // A sentence each; none of any: the pack holds.
  std::vector<std::string> changed;      // bytes that are not those that were packed
  std::vector<std::string> differences;  // of the report from what the audit says now
  std::vector<std::string> elsewhere;    // blocks that differ from the originals
  std::optional<AuditResult> result;     // of the audit, run again; none if bytes were changed
  std::optional<Refetched> refetched;

  bool holds() const { return changed.empty() && differences.empty() && elsewhere.empty(); }
};

// A folder with an evidence.json, or a .tar?
bool is_evidence(const std::string& path);

// Errors: what cannot be read as a pack at all. What can be and was changed is in the answer.
Result<PackCheck> verify_pack(const std::string& path, const WalkOptions& walk,
                              const std::optional<Refetch>& refetch);

}  // namespace hieron
