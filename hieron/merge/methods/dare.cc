// Changes dropped at random, the rest enlarged to make up for it; added (linear), or only those of
// the sign that carries more weight (ties).   Yu et al. 2024; mergekit "dare_linear", "dare_ties".
//
//   m_k ~ Bernoulli(density);  f_k = Σ|d_k| / Σ|m_k·d_k| if rescale
//   v_k = w_k·f_k·m_k·d_k;  out = b + λ·Σ v_k / D
//
// The mask is a pure function of seed, tensor, input and element (random_mask.h).
// Trace: a share 1 − density of the elements where only one model differs equals the base; the rest
// differs by one factor per tensor and model.
#include <array>

#include "hieron/merge/methods/table.h"
#include "hieron/merge/methods/task_vectors.h"

namespace hieron {
namespace {

constexpr std::array<ParameterInfo, 6> kParameters{{
    {"weight", ParameterType::kNumber, true, true, std::nullopt, "factor of this model's changes"},
    {"density", ParameterType::kNumber, true, false, 1.0, "probability that a change is kept"},
    {"lambda", ParameterType::kNumber, false, false, 1.0, "factor of the merged changes"},
    {"normalize", ParameterType::kBoolean, false, false, 0.0, "divide by the sum of the weights"},
    {"rescale", ParameterType::kBoolean, false, false, 1.0,
     "give what is kept the L1 norm of the whole"},
    {"int8_mask", ParameterType::kBoolean, false, false, 0.0,
     "no effect: mergekit saves memory with it"},
}};

}  // namespace

const Method& dare_linear() {
  static const TaskVectorMethod method(
      {
          .name = "dare_linear",
          .summary = "changes dropped at random, the rest enlarged and added",
          .formula = "m_k ~ Bernoulli(density); v_k = w_k·f_k·m_k·d_k, f_k = Σ|d_k|/Σ|m_k·d_k|; "
                     "out = b + λ·Σ v_k / D",
          .citation = "Yu et al., Language models are super Mario, ICML 2024 (arXiv 2311.03099)",
          .parameters = kParameters,
          .min_models = 1,
          .max_models = 255,
          .base = BaseModel::kRequired,
          .random = true,
      },
      {Sparsify::kRandom, false});
  return method;
}

const Method& dare_ties() {
  static const TaskVectorMethod method(
      {
          .name = "dare_ties",
          .summary = "changes dropped at random, the rest enlarged, sign by majority",
          .formula = "v_k as in dare_linear; s = Σ v_k; out = b + λ·Σ_{sign = s} v_k / D",
          .citation = "Yu et al., ICML 2024 (arXiv 2311.03099), with the election of TIES",
          .parameters = kParameters,
          .min_models = 1,
          .max_models = 255,
          .base = BaseModel::kRequired,
          .random = true,
      },
      {Sparsify::kRandom, true});
  return method;
}

}  // namespace hieron
