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
#include "hieron/merge/traces/input_choices.h"
#include "hieron/merge/traces/parameter_curves.h"
#include "hieron/merge/traces/probe_run.h"
#include "hieron/merge/traces/recover_angles.h"
#include "hieron/merge/traces/round_weights.h"

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

  // Two models, and a t that their weights agree on, from either end.
  std::vector<Hypothesis> recover(const Evidence& seen) const override {
    if (seen.fit_class == FitClass::kOther || seen.used.size() != 2) return {};
    const std::vector<size_t> models = used_beside(seen, std::nullopt);
    const std::vector<TensorEstimate> places = places_on_arcs(seen, models[0], models[1]);
    if (places.empty()) return {};
    const double tolerance = weight_tolerance(seen.fit_class);
    const Consensus all = consensus(places, kSpread * tolerance);
    std::vector<Hypothesis> found;
    if (all.share >= kSomeAgree && explains(seen, from(models[0], models[1], all.value, 0))) {
      for (const RoundPlace& place : round_places(all.value, tolerance, kMostValues)) {
        found.push_back(from(models[0], models[1], place.t, place.complexity));
        found.push_back(from(models[1], models[0], place.rest, place.complexity));
      }
    }
    if (all.share < kAllAgree) {
      const Agreement agreement = [&](const WholeTensor& tensor, double t) {
        return elements_reproduced(tensor, from(models[0], models[1], t, 0));
      };
      auto [t, digits] = value_by_tensor(seen, places, tolerance, agreement);
      const int complexity = kVaries + 10 * digits;
      found.push_back(from(models[0], models[1], t, complexity));
      t.otherwise = rest_of(t.otherwise);
      for (auto& [name, value] : t.by_tensor) value = rest_of(value);
      found.push_back(from(models[1], models[0], t, complexity));
    }
    return found;
  }

 private:
  static constexpr double kSpread = 10;  // of the tensors' t, in tolerances
  static constexpr double kSomeAgree = 0.5, kAllAgree = 0.98;
  static constexpr size_t kMostValues = 12;
  static constexpr int kVaries = 95;  // one list for two weights

  Hypothesis from(size_t base, size_t other, ParameterValue t, int complexity) const {
    Hypothesis hypothesis = plain_hypothesis(describe().name, std::array{base, other}, base);
    hypothesis.parameters = {{"t", std::move(t)}};
    hypothesis.complexity = complexity;
    return hypothesis;
  }

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
