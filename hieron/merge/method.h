// A merge method: one file, both directions. It describes itself, computes a tensor, and recognises
// its own work.
//
// The frame (plan, walk, executor, replay) does everything else: files, order, memory, dtypes,
// threads. A method sees one output tensor at a time as a TensorWork: as many passes over its
// inputs as the formula needs (norms, quantiles), then one that writes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "hieron/core/dtype.h"
#include "hieron/core/error.h"
#include "hieron/core/shape.h"
#include "hieron/kernels/arithmetic.h"
#include "hieron/merge/hypothesis.h"

namespace hieron {

enum class ParameterType : uint8_t { kNumber, kBoolean, kInteger, kText };

struct ParameterInfo {
  std::string_view name;
  ParameterType type;
  bool per_model;                  // given for each model; else once for the merge
  bool required;                   // of every model but the base
  std::optional<double> standard;  // the default
  std::string_view about;
};

// What `base_model` is to a method.
enum class BaseModel : uint8_t {
  kUnused,    // a model like any other, if it is listed; lends its config
  kMember,    // one of the models; added to them if it is not listed
  kOptional,  // the origin of the differences, if it is given
  kRequired,  // the origin of the differences
};

struct MethodInfo {
  std::string_view name;     // mergekit's, where it has the method
  std::string_view summary;  // one line
  std::string_view formula;
  std::string_view citation;  // the source of the formula
  std::span<const ParameterInfo> parameters;
  size_t min_models, max_models;  // the base not counted where it is an origin
  BaseModel base = BaseModel::kUnused;
  bool weighted_sum = false;  // has every model of kernels/arithmetic.h
  bool random = false;        // draws masks: the seed decides the result
};

using ParameterMap = std::map<std::string, double, std::less<>>;

// One output tensor's parameters, resolved for that tensor: gradients, filters and precedence are
// done with.
struct TensorParameters {
  std::vector<ParameterMap> per_model;  // one map per operand, in input order
  ParameterMap global;
};

// A parameter that the resolved maps hold, or `otherwise`.
double value_of(const ParameterMap& parameters, std::string_view name, double otherwise);

// What a method is told about the output tensor it will compute.
struct TensorTask {
  std::string name;  // the output's
  Shape shape;
  uint64_t elements = 0;
  std::shared_ptr<const TensorParameters> parameters;
  std::vector<DType> inputs;   // of the operands, as apply() gets them
  std::optional<size_t> base;  // the operand that is the base model, where the method has an origin
  DType out = DType::kBF16;    // what apply() stores
  Arithmetic arithmetic = Arithmetic::kExact;
  uint64_t seed = 0;                                          // of random masks
  std::map<std::string, std::string, std::less<>> text = {};  // parameters that are text: files
};

// A stretch of the tensor: `count` elements from `first`, of every input, in input order.
struct Piece {
  uint64_t first;
  size_t count;
  std::span<const Operand> operands;
};

// One per thread; grows to what is needed and stays.
struct WorkScratch {
  BlendScratch blend;
  std::vector<double> f64;
  std::vector<float> f32;
  std::vector<uint64_t> u64;
  std::vector<uint32_t> u32, keys;
  std::vector<uint8_t> flags, masks;
  std::vector<Operand> operands;
};

// One output tensor under way. While wants_pass(), the whole tensor is shown to look() and the pass
// is ended; then apply() may be called for any stretch, any number of times.
//
// Pieces come in any order, on several threads at once; borders inside the tensor are multiples of
// grain(). What a pass gathers must not depend on how the tensor was cut: figures per grain, added
// up in a fixed order.
class TensorWork {
 public:
  virtual ~TensorWork() = default;
  virtual uint64_t grain() const { return 1; }  // elements: a row, a leaf
  // Bytes that are kept for the whole tensor while it is under way.
  virtual uint64_t held() const { return 0; }
  virtual bool wants_pass() const { return false; }
  virtual void look(const Piece&, WorkScratch&) {}
  virtual Status end_pass() { return {}; }
  virtual void apply(const Piece& piece, std::byte* out, WorkScratch& scratch) const = 0;
};

struct Evidence;  // merge/evidence.h

class Method {
 public:
  virtual ~Method() = default;
  virtual const MethodInfo& describe() const = 0;

  // Refuses parameters that make no sense for a tensor (weights that sum to zero …): the reason, as
  // a clause.
  virtual std::optional<std::string> check(const TensorTask&) const { return std::nullopt; }

  // Begins an output tensor. The correctly rounded value of the formula, or f64 with one rounding
  // at the end; element-wise formulas also in the other models of kernels/arithmetic.h.
  virtual std::unique_ptr<TensorWork> start(const TensorTask& task) const = 0;

  // Recipes of this method that could have left what was seen, simplest first; replay decides.
  virtual std::vector<Hypothesis> recover(const Evidence&) const { return {}; }
};

std::span<const Method* const> methods();          // all, in the order of `hieron methods`
const Method* find_method(std::string_view name);  // null if unknown

}  // namespace hieron
