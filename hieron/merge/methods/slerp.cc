// Spherical interpolation: from the base to the other model along an arc, t of the way.   Shoemake
// 1985; mergekit "slerp".
//
//   w_0 = sin((1−t)Ω)/sin Ω,  w_1 = sin(tΩ)/sin Ω,  Ω = angle between the two tensors, flattened
//   |cos Ω| > 0.9995, or a tensor that is zero: w_0 = 1 − t,  w_1 = t
//
// The threshold is mergekit's: tensors that are nearly parallel, or nearly opposite, are
// interpolated along a line. (mergekit takes the angle to a zero tensor to be 90°.)
// Trace: per tensor a pair (w_0, w_1) that lies on the arc of that tensor's own Ω; one t for all
// tensors of a group.
#include <fmt/format.h>

#include <array>
#include <cmath>
#include <utility>

#include "hieron/core/elementary.h"
#include "hieron/merge/methods/gram.h"
#include "hieron/merge/methods/table.h"

namespace hieron {
namespace {

constexpr double kParallel = 0.9995;
constexpr double kFarthest = 1000;  // nobody means a t beyond it

constexpr std::array<ParameterInfo, 1> kParameters{{
    {"t", ParameterType::kNumber, false, true, std::nullopt,
     "how far along the arc: 0 gives the base, 1 the other model"},
}};

class Slerp final : public Method {
 public:
  const MethodInfo& describe() const override {
    static const MethodInfo about{
        .name = "slerp",
        .summary = "from one model to another along an arc",
        .formula =
            "out = (sin((1−t)Ω)·base + sin(tΩ)·other) / sin Ω, Ω = their angle;  "
            "|cos Ω| > 0.9995 or a zero tensor: (1−t)·base + t·other",
        .citation = "Shoemake, Animating rotation with quaternion curves, SIGGRAPH 1985; mergekit",
        .parameters = kParameters,
        .min_models = 2,
        .max_models = 2,
        .base = BaseModel::kMember,
    };
    return about;
  }

  std::optional<std::string> check(const TensorTask& task) const override {
    const double t = value_of(task.parameters->global, "t", 0.5);
    if (std::abs(t) <= kFarthest) return std::nullopt;
    return fmt::format("t {} is far outside of the arc; give a number from 0 to 1", t);
  }

  std::unique_ptr<TensorWork> start(const TensorTask& task) const override {
    const double t = value_of(task.parameters->global, "t", 0.5);
    const size_t from = task.base.value_or(0);
    return weigh_whole(task, Gather::kInnerProducts,
                       [t, from](const PairFigures& pairs) -> Weights {
                         const auto [first, second] = ends(pairs, t);
                         return from == 0 ? std::vector{first, second} : std::vector{second, first};
                       });
  }

 private:
  // The weights of the base and of the other.
  static std::pair<double, double> ends(const PairFigures& pairs, double t) {
    const double cosine_of_angle = pairs.cosine(0, 1);
    const bool zero = pairs(0, 0) == 0 || pairs(1, 1) == 0;
    if (zero || std::abs(cosine_of_angle) > kParallel) return {1 - t, t};
    const double angle = arc_cosine(cosine_of_angle), whole = sine(angle);
    return {sine((1 - t) * angle) / whole, sine(t * angle) / whole};
  }
};

}  // namespace

const Method& slerp() {
  static const Slerp method;
  return method;
}

}  // namespace hieron
