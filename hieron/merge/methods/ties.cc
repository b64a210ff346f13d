// The largest changes of each model, and of those only the sign that carries more weight.   Yadav
// et al. 2023; mergekit "ties".
//
//   keep the largest density·n of |x_k − b|;  s = Σ w_k·kept d_k;  out = b + λ·Σ of sign s / Σ w of
//   those
//
// Trace: elements equal to the base wherever no change was kept; where one model alone stays, its
// own value (normalize), or a fixed share of its change.
#include <array>

#include "hieron/merge/methods/table.h"
#include "hieron/merge/methods/task_vectors.h"

namespace hieron {
namespace {

constexpr std::array<ParameterInfo, 6> kParameters{{
    {"weight", ParameterType::kNumber, true, true, std::nullopt, "factor of this model's changes"},
    {"density", ParameterType::kNumber, true, false, 1.0,
     "share of this model's changes that is kept"},
    {"lambda", ParameterType::kNumber, false, false, 1.0, "factor of the merged changes"},
    {"normalize", ParameterType::kBoolean, false, false, 1.0, "divide by the sum of the weights"},
    {"rescale", ParameterType::kBoolean, false, false, 0.0,
     "give what is kept the L1 norm of the whole"},
    {"int8_mask", ParameterType::kBoolean, false, false, 0.0,
     "no effect: mergekit saves memory with it"},
}};

}  // namespace

const Method& ties() {
  static const TaskVectorMethod method(
      {
          .name = "ties",
          .summary = "the largest changes of each model, sign by majority",
          .formula = "keep the largest density·n of |d_k|; s = Σ w_k·d_k; out = b + λ·Σ_{sign = s} "
                     "w_k·d_k / Σ_{sign = s} w_k",
          .citation = "Yadav et al., TIES-Merging, NeurIPS 2023 (arXiv 2306.01708)",
          .parameters = kParameters,
          .min_models = 1,
          .max_models = 255,
          .base = BaseModel::kRequired,
      },
      {Sparsify::kMagnitude, true});
  return method;
}

}  // namespace hieron
