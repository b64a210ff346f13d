// As DARE, but large changes are kept more often than small ones of the same row.   Deep et al.
// 2024; mergekit "della", "della_linear".
//
//   p = density − ε + 2ε·rank/(n − 1), rank of |d_k| in its row;  m_k ~ Bernoulli(p);  then as DARE
//
// Rows are those of the last dimension; a 1-D tensor is one row. The mask is a pure function of
// seed, tensor, input and element.
#include <array>

#include "hieron/merge/methods/table.h"
#include "hieron/merge/methods/task_vectors.h"

namespace hieron {
namespace {

constexpr std::array<ParameterInfo, 7> kLinear{{
    {"weight", ParameterType::kNumber, true, true, std::nullopt, "factor of this model's changes"},
    {"density", ParameterType::kNumber, true, false, 1.0, "mean probability that a change is kept"},
    {"epsilon", ParameterType::kNumber, true, false, 0.15,
     "the probabilities run from density − epsilon to density + epsilon"},
    {"lambda", ParameterType::kNumber, false, false, 1.0, "factor of the merged changes"},
    {"normalize", ParameterType::kBoolean, false, false, 0.0, "divide by the sum of the weights"},
    {"rescale", ParameterType::kBoolean, false, false, 1.0,
     "give what is kept the L1 norm of the whole"},
    {"int8_mask", ParameterType::kBoolean, false, false, 0.0,
     "no effect: mergekit saves memory with it"},
}};
constexpr std::array<ParameterInfo, 7> kTies{{
    {"weight", ParameterType::kNumber, true, true, std::nullopt, "factor of this model's changes"},
    {"density", ParameterType::kNumber, true, false, 1.0, "mean probability that a change is kept"},
    {"epsilon", ParameterType::kNumber, true, false, 0.15,
     "the probabilities run from density − epsilon to density + epsilon"},
    {"lambda", ParameterType::kNumber, false, false, 1.0, "factor of the merged changes"},
    {"normalize", ParameterType::kBoolean, false, false, 1.0, "divide by the sum of the weights"},
    {"rescale", ParameterType::kBoolean, false, false, 1.0,
     "give what is kept the L1 norm of the whole"},
    {"int8_mask", ParameterType::kBoolean, false, false, 0.0,
     "no effect: mergekit saves memory with it"},
}};

}  // namespace

const Method& della() {
  static const TaskVectorMethod method(
      {
          .name = "della",
          .summary = "changes dropped at random by their rank in the row, sign by majority",
          .formula = "p = density − ε + 2ε·rank/(n − 1); m_k ~ Bernoulli(p); v_k = "
                     "w_k·f_k·m_k·d_k; out = b + λ·Σ_{sign = s} v_k / Σ_{sign = s} w_k",
          .citation = "Deep et al., DELLA-Merging, 2024 (arXiv 2406.11617)",
          .parameters = kTies,
          .min_models = 1,
          .max_models = 255,
          .base = BaseModel::kRequired,
          .random = true,
      },
      {Sparsify::kRanked, true});
  return method;
}

const Method& della_linear() {
  static const TaskVectorMethod method(
      {
          .name = "della_linear",
          .summary = "changes dropped at random by their rank in the row, added",
          .formula = "p = density − ε + 2ε·rank/(n − 1); m_k ~ Bernoulli(p); v_k = "
                     "w_k·f_k·m_k·d_k; out = b + λ·Σ v_k / D",
          .citation = "Deep et al., DELLA-Merging, 2024 (arXiv 2406.11617)",
          .parameters = kLinear,
          .min_models = 1,
          .max_models = 255,
          .base = BaseModel::kRequired,
          .random = true,
      },
      {Sparsify::kRanked, false});
  return method;
}

}  // namespace hieron
