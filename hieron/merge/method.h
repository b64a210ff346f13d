// A merge method: one file, both directions. It describes itself, computes blocks, and recognises
// its own work.
//
// The frame (plan, walk, executor, replay) does everything else: files, order, memory, dtypes,
// threads. A method that needs a figure of the whole tensor (a norm, a quantile) states how many
// doubles a leaf contributes; the executor then reads the tensor twice, adds the leaves up in a
// fixed tree, and hands the sum to apply.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "hieron/core/dtype.h"
#include "hieron/core/error.h"
#include "hieron/kernels/arithmetic.h"

namespace hieron {

enum class ParameterType : uint8_t { kNumber, kBoolean, kInteger };

struct ParameterInfo {
  std::string_view name;
  ParameterType type;
  bool per_model;  // given for each model; else once for the merge
  bool required;
  std::optional<double> standard;  // the default
  std::string_view about;
};

struct MethodInfo {
  std::string_view name;     // mergekit's
  std::string_view summary;  // one line
  std::string_view formula;
  std::string_view citation;  // the source of the formula
  std::span<const ParameterInfo> parameters;
  size_t min_models, max_models;
};

// One output tensor's parameters, resolved for that tensor: gradients, filters and precedence are
// done with.
struct TensorParameters {
  std::vector<std::map<std::string, double, std::less<>>>
      per_model;  // one map per operand, in input order
  std::map<std::string, double, std::less<>> global;
};

// What the fit saw of a suspect, for `recover`. Two ends: s = alpha·ends[0] + (1 − alpha)·ends[1].
struct Observation {
  DType dtype;              // the suspect's, after undoing an upcast
  double alpha, low, high;  // peak of the depth, and its hard bounds
  bool single_rounding;     // the cells hold it (class E); otherwise low..high is an estimate of an
                            // effective weight
};

// A recipe to try by replay: weights for the ends in order, and whether they are normalised.
struct Hypothesis {
  Combination combination;
  std::string_view method;  // the mergekit name
  int complexity;           // digits needed to write it; ties among equal replays go to the lowest
};

class Method {
 public:
  virtual ~Method() = default;
  virtual const MethodInfo& describe() const = 0;

  // Doubles that one leaf of kLeaf elements contributes to the tensor's statistics; 0 for
  // element-wise methods.
  virtual size_t statistics_size(size_t /*models*/) const { return 0; }
  virtual void statistics(std::span<const Operand>, size_t /*count*/,
                          std::span<double> /*leaf*/) const {}

  // Refuses parameters that make no sense for a tensor (weights that sum to zero …): the reason, as
  // a clause.
  virtual std::optional<std::string> check(const TensorParameters&) const { return std::nullopt; }

  // Computes `count` elements of one output tensor into `out`, stored as out_dtype.
  virtual void apply(const TensorParameters& parameters, std::span<const double> statistics,
                     Arithmetic arithmetic, std::span<const Operand> operands, DType out_dtype,
                     std::byte* out, size_t count, BlendScratch& scratch) const = 0;

  // Recipes of this method that could have left what was observed, simplest first; replay decides.
  virtual std::vector<Hypothesis> recover(const Observation&) const { return {}; }
};

std::span<const Method* const> methods();          // all, in the order of `hieron methods`
const Method* find_method(std::string_view name);  // null if unknown

}  // namespace hieron
