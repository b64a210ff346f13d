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
#include <algorithm>
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

  // Two models, with or without a base: a t that the tensors' weights agree on, or their lines.
  std::vector<Hypothesis> recover(const Evidence& seen) const override {
    std::vector<Hypothesis> found;
    if (seen.fit_class != FitClass::kOther) {
      for (const Ends& ends : flat_ends(seen)) add_flat(seen, ends, found);
    }
    for (const Ends& ends : line_ends(seen)) add_lines(seen, ends, found);
    return found;
  }

 private:
  struct Ends {
    size_t first, second;
    std::optional<size_t> base;
  };

  static constexpr double kSpread = 10;  // of the tensors' t, in tolerances
  static constexpr double kSomeAgree = 0.5, kAllAgree = 0.98;
  static constexpr size_t kMostValues = 8, kMostBases = 8, kHeaviest = 3;
  static constexpr int kVaries = 100;

  // The used models; a base takes what they leave to one, which may be nothing.
  static std::vector<Ends> flat_ends(const Evidence& seen) {
    std::vector<Ends> found;
    if (seen.used.size() == 2) {
      const std::vector<size_t> pair = used_beside(seen, std::nullopt);
      found.push_back({pair[0], pair[1], std::nullopt});
    }
    for (const size_t base : seen.possible_bases()) {
      const std::vector<size_t> pair = used_beside(seen, base);
      if (pair.size() == 2) found.push_back({pair[0], pair[1], base});
      if (found.size() > kMostBases) break;
    }
    return found;
  }

  void add_flat(const Evidence& seen, const Ends& ends, std::vector<Hypothesis>& found) const {
    const std::vector<TensorEstimate> places = places_on_arcs(seen, ends.first, ends.second);
    if (places.empty()) return;
    const double tolerance = weight_tolerance(seen.fit_class);
    const Consensus all = consensus(places, kSpread * tolerance);
    if (all.share >= kSomeAgree) add_constant(seen, ends, all.value, seen.fit_class, {}, found);
    if (all.share >= kAllAgree) return;
    const Agreement agreement = [&](const WholeTensor& tensor, double t) {
      return elements_reproduced(tensor, between(ends, 1 - t, t, {}, 0));
    };
    const auto [t, digits] = value_by_tensor(seen, places, tolerance, agreement);
    ParameterValue rest = t;
    rest.otherwise = rest_of(t.otherwise);
    for (auto& [name, value] : rest.by_tensor) value = rest_of(value);
    found.push_back(between(ends, rest, t, {}, kVaries + 10 * digits));
  }

  // Any two of the models that matter most.
  static std::vector<Ends> line_ends(const Evidence& seen) {
    std::vector<size_t> models = heaviest_beside(seen, std::nullopt, kHeaviest);
    if (seen.base && std::ranges::find(models, *seen.base) == models.end()) {
      models.push_back(*seen.base);
    }
    std::vector<Ends> found;
    for (size_t i = 0; i < models.size(); ++i) {
      for (size_t j = i + 1; j < models.size(); ++j) {
        found.push_back({models[i], models[j], std::nullopt});
        for (const size_t base : seen.base ? std::vector{*seen.base} : models) {
          if (base != models[i] && base != models[j]) found.push_back({models[i], models[j], base});
        }
      }
    }
    return found;
  }

  void add_lines(const Evidence& seen, const Ends& ends, std::vector<Hypothesis>& found) const {
    const WholeTensor& tensor = *seen.probes.back();  // the largest
    for (const Lines lines : {Lines::kRows, Lines::kColumns}) {
      const auto t = t_of_lines(tensor, lines, ends.first, ends.second, ends.base);
      if (!t) continue;
      ParameterValues form{{"nuslerp_flatten", 0.0}};
      if (lines == Lines::kColumns) form.emplace("nuslerp_row_wise", 1.0);
      add_constant(seen, ends, t->t, t->exact ? FitClass::kOneRounding : FitClass::kOther, form,
                   found);
    }
  }

  // Both orders; t written as two shares, or as two weights in their ratio.
  void add_constant(const Evidence& seen, const Ends& ends, double t, FitClass known,
                    const ParameterValues& form, std::vector<Hypothesis>& found) const {
    if (!explains(seen, between(ends, 1 - t, t, form, 0))) return;
    const bool exact = known == FitClass::kOneRounding;
    if (!exact) t = refined(seen, ends, t, form);
    const std::vector<double> shares{1 - t, t};
    const double near = exact ? weight_tolerance(known) : kRefined;
    std::vector<RoundWeights> weights;
    for (const RoundPlace& place : round_places(t, near, kMostValues)) {
      weights.push_back({{place.rest, place.t}, place.complexity + 1});
    }
    for (RoundWeights& w :
         round_ratios(shares, exact ? ratio_tolerance(known) : kRefined, kMostRatios)) {
      w.complexity += 10;  // a share of 3 : 1 is no simpler than .75
      weights.push_back(std::move(w));
    }
    for (const RoundWeights& w : weights) {
      if (w.weights[0] + w.weights[1] == 0) continue;
      found.push_back(between(ends, w.weights[0], w.weights[1], form, w.complexity));
      found.push_back(between({ends.second, ends.first, ends.base}, w.weights[1], w.weights[0],
                              form, w.complexity + 1));
    }
  }

  // Where every operation rounds, t as that program would have it: first to thousandths, then to a
  // fifth of that. Many t give the same bytes.
  double refined(const Evidence& seen, const Ends& ends, double t,
                 const ParameterValues& form) const {
    std::pair<double, double> best{-1, t};  // how much is the same, t
    for (const double unit : {1e-3, 2e-4}) {
      const double middle = best.second;
      for (int step = -6; step <= 6; ++step) {
        const double other = middle + unit * step;
        for (const auto version : {mergekit::Version::k015, mergekit::Version::k014}) {
          const double same =
              share_reproduced(seen, *seen.probes.front(), between(ends, 1 - other, other, form, 0),
                               {.version = version});
          const bool nearer = std::abs(other - middle) < std::abs(best.second - middle);
          if (same > best.first || (same == best.first && nearer)) best = {same, other};
        }
      }
    }
    return best.second;
  }
  static constexpr double kRefined = 6e-4;
  static constexpr size_t kMostRatios = 30;

  Hypothesis between(const Ends& ends, ParameterValue first, ParameterValue second,
                     const ParameterValues& form, int complexity) const {
    Hypothesis hypothesis =
        plain_hypothesis(describe().name, std::array{ends.first, ends.second}, ends.base);
    hypothesis.inputs[0].parameters = {{"weight", std::move(first)}};
    hypothesis.inputs[1].parameters = {{"weight", std::move(second)}};
    hypothesis.parameters = form;
    hypothesis.complexity = complexity;
    return hypothesis;
  }
};

}  // namespace

const Method& nuslerp() {
  static const NuSlerp method;
  return method;
}

}  // namespace hieron
