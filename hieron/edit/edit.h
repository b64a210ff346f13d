// What is done to a single model instead of merging: an adapter merged in, weights set to zero, a
// direction taken out, integers and back, another order of the hidden units.
//
// Each kind of edit has a file of its own. It looks at the suspect and at one model and says what
// the edit of that model would explain of the suspect; who among several models explains most is
// decided in search.cc. docs/recovery.md §7.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "hieron/core/error.h"
#include "hieron/model/roles.h"
#include "hieron/walk/walk.h"

namespace hieron {

enum class EditKind : uint8_t {
  kDtypeTrip,
  kPruned,
  kRequantised,
  kLowRank,
  kDirectionRemoved,
  kTruncated,
  kUnitsPermuted,  // the same function: no edit but a copy in disguise
};
std::string_view name(EditKind kind);  // "low-rank" …, as schema hieron.audit/1 spells it

// The suspect (model 0 of the alignment) and everything it is compared with.
struct EditCase {
  const Alignment& alignment;
  const RoleTable& roles;
  Selection quick;  // a bounded sample: enough to see that an edit does not hold
  Selection whole;  // what a proof must cover
  WalkOptions walk;
};

struct ExplainedRow {
  uint64_t read = 0;   // compared
  uint64_t equal = 0;  // bit for bit what the edited model has there
  uint64_t first_miss = ~uint64_t{0};
};

struct EditFinding {
  EditKind kind;
  size_t model = 0;  // that was edited
  std::optional<uint64_t> rank{};
  std::vector<Role> targets{};  // of the tensors that the edit changed, each once
  std::optional<double> strength{};
  std::string what;  // goes on after "SUSPECT is MODEL …"
  std::vector<std::string> reasons{};
  std::vector<ExplainedRow> rows{};  // by row of the alignment
  // The edited model predicts every bit. Otherwise the edit was estimated from the suspect itself:
  // `rows` says how far the estimate goes, and the residual is no larger than rounding.
  bool predicted = true;

  uint64_t read() const;
  uint64_t equal() const;
};

// Edits that predict every bit from the model alone, at the cost of a pass; and those that take
// linear algebra.
enum class EditSearch : uint8_t { kPredicted, kEstimated };

// The edit of one of `models` that explains the suspect, if there is one and no other model is
// explained as well by an edit of that kind. `reasons` gets what speaks against one that was seen.
// Memory: about walk.memory, and the matrices of one tensor (kMostElements in matrices.h).
Result<std::optional<EditFinding>> find_edit(const EditCase& given,
                                             const std::vector<size_t>& models, EditSearch search,
                                             std::vector<std::string>& reasons);

// Thresholds of this folder, with their reasons.
namespace edit_threshold {
// A replay that is a function of the model alone: all but stray elements.
inline constexpr double kReplay = 0.999;
// The same for a trip through a coarse format, in which a near relative of the model may look like
// it; and for weights that were kept, or moved, as they are.
inline constexpr double kTrip = 0.99999, kKept = 0.9999;
// Of elements that differ from the model: fewer say nothing.
inline constexpr uint64_t kLeastChanged = 100;
// Changes from zero to kept and back, per element of the fewer: two or so where single weights were
// pruned, one in a row's length where whole rows were.
inline constexpr double kScattered = 0.2;
// Mean square of what an estimated edit leaves, in squares of a rounding error. The right model
// gives 1; a model that was itself rounded on another way from a common origin gives 2.
inline constexpr double kRounding = 1.5;
// σ_i/σ_{i+1} at the rank of an adapter: measured 22 to 116; full fine-tunes have none above 3.
inline constexpr double kGap = 10;
// |cosine| of the directions of two tensors.
inline constexpr double kSameDirection = 0.99;
// Nats by which the rounding must speak for "the suspect was made of the model" against the
// reverse.
inline constexpr double kDirectionNats = 20;
}  // namespace edit_threshold

}  // namespace hieron
