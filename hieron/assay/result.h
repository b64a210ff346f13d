// The answer of an audit: one object that the terminal, the JSON and the HTML page all show.
//
// The fields are those of schema hieron.audit/1 (docs/schema/audit.schema.json); NaN and nullopt
// print as null.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "hieron/assay/thresholds.h"
#include "hieron/model/roles.h"
#include "hieron/model/tells.h"

namespace hieron {

enum class VerdictKind : uint8_t {
  kCopy,
  kReformattedCopy,
  kExactMerge,
  kMergeWithChanges,
  kLayerStack,
  kEdit,
  kFineTune,
  kObfuscatedCopy,
  kIndependent,
  kUndetermined,
};
std::string_view name(VerdictKind kind);  // "exact-merge" …
std::optional<VerdictKind> parse_verdict_kind(std::string_view name);

struct FileIdentity {
  std::string path;
  uint64_t bytes;
  std::string sha256;  // empty: not known
};

struct ModelIdentity {
  std::string ref;     // as typed
  std::string commit;  // empty: not known
  std::vector<FileIdentity> files;
};

struct Verdict {
  VerdictKind kind = VerdictKind::kUndetermined;
  std::vector<std::string> of;          // refs
  std::string sentence;                 // one that a journalist could quote
  std::vector<std::string> reasons;     // each a sentence: which thresholds were met, which not
  std::vector<std::string> falsifiers;  // what would prove it wrong
};

struct RecipeModel {
  std::string ref;
  std::optional<double> weight{}, effective{}, low{}, high{};  // absent where it varies
  std::vector<std::pair<std::string, double>> parameters{};    // beside the weight: density …
};

struct ArithmeticShare {
  std::string name;
  double share;  // of the elements replayed
};

// Where a layer of a stack comes from.
struct FoundLayer {
  std::string model;
  uint64_t layer;
  std::optional<double> scale;  // of some of its tensors, if there is one for all of those
};

struct FoundRecipe {
  std::string method;
  std::vector<RecipeModel> models;
  std::string base_model;  // empty: none
  bool normalize = true;
  std::vector<std::pair<std::string, double>> parameters{};  // of the merge, beside normalize
  std::optional<uint64_t> seed{};                            // of random masks
  std::string varies = "global";
  std::string arithmetic;
  std::vector<ArithmeticShare> arithmetics;
  std::vector<std::string> equivalent;  // other YAML with the same bytes
  std::vector<FoundLayer> layers;       // of a layer stack, by layer of the suspect
  std::string inner;                    // of a merge that is merged again: in words
  std::string yaml;
};

struct ElementPlace {
  std::string tensor;
  uint64_t element;
  std::string file;
  uint64_t offset;
};

struct Replay {
  uint64_t elements = 0, equal = 0;  // aligned elements replayed
  double share = 0, share_informative = 0;
  uint64_t tensors = 0, tensors_equal = 0;
  std::optional<ElementPlace> first_difference;
};

struct NamedDepth {
  std::string name;  // a ref, or a self-check
  double d16 = 0;
  double alpha = std::numeric_limits<double>::quiet_NaN();
  bool passed = true;
};

struct CurvePoint {
  double alpha;
  double share;  // of the elements informative at 16 that admit this alpha
};

struct DepthFigures {
  std::string ends[2];
  double alpha, low, high;
  double d4, d16, d64;
  uint64_t informative, informative_16;
  double bits;
  std::vector<NamedDepth> controls, self_checks;
  NamedDepth power;
  std::vector<CurvePoint> curve;  // the suspect's: the picture
  std::vector<std::pair<std::string, std::vector<CurvePoint>>> control_curves;
};

struct Direction {
  bool passed = true;
  std::vector<NamedDepth> others;  // each parent refitted with the suspect as an end
};

struct ChangedPlace {
  std::string scope, name;  // "tensor" | "role" | "layer"
  double rate;
};

// What was done to a single model.
struct Edit {
  std::string of;    // ref
  std::string kind;  // "low-rank" …
  std::optional<uint64_t> rank;
  std::vector<Role> targets;  // whose tensors it changed
  std::optional<double> strength;
};

struct AfterMerge {
  uint64_t checked = 0, changed = 0;
  double upper_rate_95 = 0, mean_update_ulp_95 = 0;
  std::vector<ChangedPlace> where;
};

struct TensorFigures {
  std::string name;
  TensorRole role;
  uint64_t elements = 0, read = 0, informative = 0, informative_16 = 0;
  double alpha = std::numeric_limits<double>::quiet_NaN(), low = alpha, high = alpha, d16 = alpha;
  double equal = std::numeric_limits<double>::quiet_NaN();  // share of `read` that the replay (or
                                                            // the copy) reproduces
  std::string
      state;  // "equal" | "explained" | "changed" | "unexplained" | "uninformative" | "skipped"
};

struct RoleCoverage {
  Role role;
  uint64_t parameters = 0, read = 0, informative = 0;
};

struct Kinship {
  std::string with;          // ref
  uint64_t matrices, units;  // hidden units compared
  uint64_t matched;  // units matched to their own index: Poisson(matrices) between strangers
  double p;
};

struct Unexplained {
  double share, low, high;  // of the squared change from the nearer end
};

struct Sampling {
  std::string mode;  // "full" | "sample"
  uint64_t bytes_read = 0, bytes_total = 0;
  std::string seed, bound;
  std::optional<uint64_t> requests = {};  // to a hub; none where none was asked
};

struct SkippedTensor {
  std::string tensor, reason;
};

// A checkpoint of --pool and what became of it.
struct PoolMember {
  std::string ref;
  std::string state;             // "parent", "base", "control": offered as that; "aside"
  std::string reason;            // a clause
  std::optional<double> gain{};  // share of what the nearest model leaves, lost without this one
  std::optional<double> peak{};  // D16 of the blend of it and the base
};

struct PoolReport {
  std::vector<PoolMember> members;
  std::vector<std::vector<std::string>> near_copies;  // of one another, by ref
};

struct AuditResult {
  ModelIdentity suspect;
  std::optional<ModelIdentity> base;
  std::vector<ModelIdentity> parents, controls;
  Verdict verdict;
  std::optional<FoundRecipe> recipe;
  std::optional<Replay> replay;
  std::optional<DepthFigures> depth;
  std::optional<Direction> direction;
  std::optional<Edit> edit;
  std::optional<AfterMerge> after_merge;
  std::vector<Kinship> kinship;
  std::vector<TensorFigures> tensors;
  std::vector<RoleCoverage> coverage;
  std::optional<Unexplained> unexplained;
  Sampling sampling;
  std::vector<SkippedTensor> skipped;
  std::vector<Tell> tells;
  std::optional<PoolReport> pool;
  std::vector<std::string> warnings;
  double seconds = 0;
};

}  // namespace hieron
