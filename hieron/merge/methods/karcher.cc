// The Karcher mean of the models' directions (the point on the sphere with the least sum of squared
// arcs to them), at their mean length.   Grove and Karcher 1973; mergekit "karcher".
//
//   u_k = x_k/‖x_k‖;  μ = the mean of the u_k, made a unit;  then, at most max_iter times, while
//   ‖τ‖ ≥ tol: τ = Σ (θ_k/sin θ_k)·(u_k − ⟨μ,u_k⟩μ)/n,  θ_k = angle from μ to u_k;   μ ← cos‖τ‖·μ +
//   sin‖τ‖·τ/‖τ‖ out = (mean of all ‖x_k‖)·μ
//
// All of it on the matrix of cosines: μ and τ are kept as combinations of the u_k. A tensor that is
// zero has no direction and only shortens the mean. mergekit also drops tensors shorter than tol,
// and writes zeros if all are; here only the angle is measured by it.
// Trace: per tensor, nearly equal shares of the unit tensors; extrapolated by the arcs' curvature.
#include <algorithm>
#include <array>
#include <cmath>

#include "hieron/core/elementary.h"
#include "hieron/merge/methods/gram.h"
#include "hieron/merge/methods/table.h"
#include "hieron/merge/traces/input_choices.h"
#include "hieron/merge/traces/probe_run.h"
#include "hieron/merge/traces/recover_angles.h"

namespace hieron {
namespace {

constexpr double kCancelled = 1e-6;  // a shorter mean of unit vectors is no direction in f64

constexpr std::array<ParameterInfo, 2> kParameters{{
    {"max_iter", ParameterType::kInteger, false, false, 10.0, "most steps"},
    {"tol", ParameterType::kNumber, false, false, 1e-5, "a step shorter than this is the last"},
}};

// A combination of unit vectors of which the cosines are known.
class Directions {
 public:
  Directions(const PairFigures& pairs, std::vector<size_t> which)
      : pairs_(pairs), which_(std::move(which)) {}

  size_t size() const { return which_.size(); }

  // ⟨Σ c_j·u_j, u_i⟩
  double component(std::span<const double> c, size_t i) const {
    std::vector<double> terms;
    for (size_t j = 0; j < size(); ++j) {
      terms.push_back(c[j] * pairs_.cosine(which_[i], which_[j]));
    }
    return orderless_sum(std::move(terms));
  }

  double length(std::span<const double> c) const {
    std::vector<double> terms;
    for (size_t i = 0; i < size(); ++i) terms.push_back(c[i] * component(c, i));
    return std::sqrt(std::max(0.0, orderless_sum(std::move(terms))));
  }

 private:
  const PairFigures& pairs_;
  const std::vector<size_t> which_;
};

// θ/sin θ of an angle's cosine; 1 at 0.
double stretch(double cosine_of_angle) {
  const double angle = arc_cosine(cosine_of_angle);
  return angle == 0 ? 1 : angle / sine(angle);
}

// One step from μ; false if it was shorter than tol, and not taken.
bool step(const Directions& directions, std::vector<double>& mu, double tol) {
  const size_t n = directions.size();
  std::vector<double> tau(n), along(n);
  for (size_t i = 0; i < n; ++i) {
    const double d = std::clamp(directions.component(mu, i), -1.0, 1.0);
    tau[i] = stretch(d) / static_cast<double>(n);
    along[i] = tau[i] * d;
  }
  const double back = orderless_sum(along);
  for (size_t i = 0; i < n; ++i) tau[i] -= back * mu[i];
  const double arc = directions.length(tau);
  if (!(arc >= tol)) return false;
  for (size_t i = 0; i < n; ++i) mu[i] = cosine(arc) * mu[i] + sine(arc) / arc * tau[i];
  const double length = directions.length(mu);
  for (double& m : mu) m /= length;
  return true;
}

Weights weigh(const PairFigures& pairs, int max_iter, double tol) {
  std::vector<double> lengths, weights(pairs.vectors());
  std::vector<size_t> which;
  for (size_t k = 0; k < pairs.vectors(); ++k) {
    lengths.push_back(pairs.length(k));
    if (lengths[k] > 0) which.push_back(k);
  }
  if (which.empty()) return weights;
  const Directions directions(pairs, which);
  std::vector<double> mu(which.size(), 1 / static_cast<double>(which.size()));
  const double mean = directions.length(mu);
  if (mean < kCancelled) {
    return std::unexpected(
        "the models' directions cancel, so that there is no mean direction; leave a model out, or "
        "merge by linear");
  }
  for (double& m : mu) m /= mean;
  for (int i = 0; i < max_iter && step(directions, mu, tol); ++i) {
  }
  const double length = orderless_sum(lengths) / static_cast<double>(lengths.size());
  for (size_t i = 0; i < which.size(); ++i) weights[which[i]] = length * mu[i] / lengths[which[i]];
  return weights;
}

class Karcher final : public Method {
 public:
  const MethodInfo& describe() const override {
    static const MethodInfo about{
        .name = "karcher",
        .summary = "mean direction of the models on the sphere, at their mean length",
        .formula =
            "out = (Σ‖x_k‖/n)·μ,  μ on the unit sphere with the least Σ angle(μ, x_k)²; "
            "max_iter steps from the mean of x_k/‖x_k‖, or until one is shorter than tol",
        .citation =
            "Grove and Karcher, How to conjugate C1-close group actions, Math. Z. 132, 1973; "
            "mergekit (arXiv 2603.04972)",
        .parameters = kParameters,
        .min_models = 1,
        .max_models = 256,
        .base = BaseModel::kMember,
    };
    return about;
  }

  std::optional<std::string> check(const TensorTask& task) const override {
    const ParameterMap& global = task.parameters->global;
    const double steps = value_of(global, "max_iter", 10), tol = value_of(global, "tol", 1e-5);
    if (!(steps >= 0 && steps <= 1e6)) return "max_iter is not from 0 to 1,000,000; 10 is usual";
    if (!(tol >= 0)) return "tol is negative; 1e-5 is usual";
    return std::nullopt;
  }

  std::unique_ptr<TensorWork> start(const TensorTask& task) const override {
    const ParameterMap& global = task.parameters->global;
    const auto steps = static_cast<int>(value_of(global, "max_iter", 10));
    const double tol = value_of(global, "tol", 1e-5);
    return weigh_whole(task, Gather::kInnerProducts,
                       [steps, tol](const PairFigures& pairs) { return weigh(pairs, steps, tol); });
  }

  // Nearly equal shares of the unit tensors. The steps end by themselves, unless there are few.
  std::vector<Hypothesis> recover(const Evidence& seen) const override {
    const std::vector<size_t> models = used_beside(seen, std::nullopt);
    if (seen.fit_class == FitClass::kOther || models.size() < 2 || models.size() > kMostModels) {
      return {};
    }
    const LengthOf length_of = [](const WholeTensor& tensor, size_t m) {
      return length(tensor, m, std::nullopt);
    };
    const std::vector<double> shares = shares_of_lengths(seen, models, std::nullopt, length_of);
    const double equal = 1 / static_cast<double>(models.size());
    const auto near = [&](double share) { return std::abs(share - equal) <= kUnequal * equal; };
    if (shares.empty() || !std::ranges::all_of(shares, near)) return {};
    std::vector<Hypothesis> found;
    Hypothesis hypothesis = plain_hypothesis(describe().name, models);
    // In bf16 the steps overshoot, in a way of their own for each order.
    const bool rounded = seen.fit_class == FitClass::kSeveralRoundings;
    if (!rounded && !explains(seen, hypothesis)) return {};
    add_orders(seen, hypothesis, kOrdered, found, rounded);
    for (const double steps : {0.0, 1.0, 2.0, 3.0}) {
      hypothesis.parameters = {{"max_iter", steps}};
      hypothesis.complexity = 10;
      found.push_back(hypothesis);
    }
    return found;
  }

 private:
  static constexpr size_t kMostModels = 8, kOrdered = 4;  // models: 24 orders
  static constexpr double kUnequal = 0.3;
};

}  // namespace

const Method& karcher() {
  static const Karcher method;
  return method;
}

}  // namespace hieron
