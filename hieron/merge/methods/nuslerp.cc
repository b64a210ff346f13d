// Spherical interpolation of two models by their weights, around the origin or around a base; whole
// tensors, rows or columns.   Shoemake 1985; mergekit "nuslerp".
//
//   t = w_1/(w_0 + w_1);  d_k = x_k − b (b = 0 without a base)
//   out = b + (sin((1−t)Ω)·d_0 + sin(tΩ)·d_1) / sin Ω,  Ω = angle between d_0 and d_1
//   |sin Ω| < 1e-8, or one of them zero: b + (1−t)·d_0 + t·d_1
//
// nuslerp_flatten: one Ω for the tensor. Else one for each vector along the last axis, or
// (nuslerp_row_wise, which in spite of its name takes the columns of a matrix) along the first.
// mergekit takes weights that sum to zero for t = 1/2, and the angle to a zero tensor to be 90°.
// Trace: as slerp's, a pair per tensor, row or column.
#include <array>
#include <cmath>
#include <utility>

#include "hieron/core/elementary.h"
#include "hieron/merge/methods/gram.h"
#include "hieron/merge/methods/table.h"

namespace hieron {
namespace {

constexpr double kNoSine = 1e-8;
constexpr double kFarthest = 1000;  // nobody means a t beyond it

constexpr std::array<ParameterInfo, 3> kParameters{{
    {"weight", ParameterType::kNumber, true, true, std::nullopt,
     "pull of this model; t is the second's share of the sum"},
    {"nuslerp_row_wise", ParameterType::kBoolean, false, false, 0.0,
     "without nuslerp_flatten: an angle for each vector along the first axis, not the last"},
    {"nuslerp_flatten", ParameterType::kBoolean, false, false, 1.0, "one angle for the tensor"},
}};

// w_1/(w_0 + w_1)
double share_of_second(const TensorTask& task) {
  double first = 0, second = 0;
  bool seen = false;
  for (size_t k = 0; k < task.parameters->per_model.size(); ++k) {
    if (k == task.base) continue;
    (seen ? second : first) = value_of(task.parameters->per_model[k], "weight", 1);
    seen = true;
  }
  return second / (first + second);
}

std::vector<double> weigh(const PairFigures& pairs, double t) {
  const double cosine_of_angle = pairs.cosine(0, 1);
  const bool zero = pairs(0, 0) == 0 || pairs(1, 1) == 0;
  if (zero || (1 - cosine_of_angle) * (1 + cosine_of_angle) < kNoSine * kNoSine) return {1 - t, t};
  const double angle = arc_cosine(cosine_of_angle), whole = sine(angle);
  return {sine((1 - t) * angle) / whole, sine(t * angle) / whole};
}

class NuSlerp final : public Method {
 public:
  const MethodInfo& describe() const override {
    static const MethodInfo about{
        .name = "nuslerp",
        .summary = "between two models along an arc, by weights; whole tensors, rows or columns",
        .formula =
            "out = b + (sin((1−t)Ω)·d_0 + sin(tΩ)·d_1) / sin Ω,  t = w_1/(w_0 + w_1), "
            "d_k = x_k − b;  |sin Ω| < 1e-8 or d_k = 0: b + (1−t)·d_0 + t·d_1",
        .citation = "Shoemake, Animating rotation with quaternion curves, SIGGRAPH 1985; mergekit",
        .parameters = kParameters,
        .min_models = 2,
        .max_models = 2,
        .base = BaseModel::kOptional,
    };
    return about;
  }

  std::optional<std::string> check(const TensorTask& task) const override {
    const double t = share_of_second(task);
    if (std::abs(t) <= kFarthest) return std::nullopt;
    return "the weights sum to zero or nearly so, and the arc has no such point; change a weight";
  }

  std::unique_ptr<TensorWork> start(const TensorTask& task) const override {
    const ParameterMap& global = task.parameters->global;
    Weigh by_angle = [t = share_of_second(task)](const PairFigures& pairs) -> Weights {
      return weigh(pairs, t);
    };
    if (value_of(global, "nuslerp_flatten", 1) != 0) {
      return weigh_whole(task, Gather::kInnerProducts, std::move(by_angle), task.base);
    }
    if (value_of(global, "nuslerp_row_wise", 0) != 0) {
      return weigh_columns(task, std::move(by_angle), task.base);
    }
    return weigh_rows(task, Gather::kInnerProducts, std::move(by_angle), task.base);
  }
};

}  // namespace

const Method& nuslerp() {
  static const NuSlerp method;
  return method;
}

}  // namespace hieron
