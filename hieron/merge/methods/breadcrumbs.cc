// The large changes without the largest: outliers and small changes are both dropped.   Davari and
// Belilovsky 2024; mergekit "breadcrumbs", "breadcrumbs_ties".
//
//   drop the largest gamma·n of |d_k|, keep the next density·n;  out = b + λ·Σ w_k·kept d_k / D
//
// If gamma and density leave no room, fewer outliers are dropped. (mergekit 0.1.4 keeps nothing at
// all where gamma·n is less than one.)
#include <array>

#include "hieron/merge/methods/table.h"
#include "hieron/merge/methods/task_vectors.h"

namespace hieron {
namespace {

constexpr std::array<ParameterInfo, 7> kParameters{{
    {"weight", ParameterType::kNumber, true, true, std::nullopt, "factor of this model's changes"},
    {"density", ParameterType::kNumber, true, false, 1.0,
     "share of this model's changes that is kept"},
    {"gamma", ParameterType::kNumber, true, false, 0.01,
     "share of the largest changes that is dropped"},
    {"lambda", ParameterType::kNumber, false, false, 1.0, "factor of the merged changes"},
    {"normalize", ParameterType::kBoolean, false, false, 0.0, "divide by the sum of the weights"},
    {"rescale", ParameterType::kBoolean, false, false, 0.0,
     "give what is kept the L1 norm of the whole"},
    {"int8_mask", ParameterType::kBoolean, false, false, 0.0,
     "no effect: mergekit saves memory with it"},
}};

}  // namespace

const Method& breadcrumbs() {
  static const TaskVectorMethod method(
      {
          .name = "breadcrumbs",
          .summary = "the large changes without the largest, added",
          .formula = "drop the largest gamma·n of |d_k|, keep the next density·n; out = b + λ·Σ "
                     "w_k·d_k / D",
          .citation = "Davari and Belilovsky, Model breadcrumbs, ECCV 2024 (arXiv 2312.06795)",
          .parameters = kParameters,
          .min_models = 1,
          .max_models = 255,
          .base = BaseModel::kRequired,
      },
      {Sparsify::kOutliers, false});
  return method;
}

const Method& breadcrumbs_ties() {
  static const TaskVectorMethod method(
      {
          .name = "breadcrumbs_ties",
          .summary = "the large changes without the largest, sign by majority",
          .formula = "drop the largest gamma·n of |d_k|, keep the next density·n; s = Σ w_k·d_k; "
                     "out = b + λ·Σ_{sign = s} w_k·d_k / D",
          .citation =
              "Davari and Belilovsky, ECCV 2024 (arXiv 2312.06795), with the election of TIES",
          .parameters = kParameters,
          .min_models = 1,
          .max_models = 255,
          .base = BaseModel::kRequired,
      },
      {Sparsify::kOutliers, true});
  return method;
}

}  // namespace hieron
