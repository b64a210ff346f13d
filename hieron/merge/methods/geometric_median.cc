// The point with the least sum of distances to the models: unlike their mean, it stays where most
// of them are.   Weiszfeld 1937; Vardi and Zhang 2000.
//
//   out = Σ λ_k·x_k that makes Σ w_k·‖x_k − out‖ least;   λ_k ← (w_k/‖x_k − out‖) / Σ, from λ =
//   w/Σw, until no λ changes by more than tol, or max_iter times
//
// All of it on the squared distances D between models: ‖x_i − m‖² = Σ λ_j·D_ij − ½·ΣΣ λ_j·λ_k·D_jk.
// Where the median is one of the models (the others pull less hard than its own weight), it is that
// model, bit for bit; if several are equally good, their mean (of two models: the mean).
// Trace: weights that grow with nearness to the result; one weight vector per tensor.
#include <algorithm>
#include <array>
#include <cmath>

#include "hieron/merge/methods/gram.h"
#include "hieron/merge/methods/table.h"
#include "hieron/merge/traces/input_choices.h"
#include "hieron/merge/traces/probe_run.h"
#include "hieron/merge/traces/recover_angles.h"
#include "hieron/merge/traces/round_weights.h"

namespace hieron {
namespace {

constexpr double kSlack = 1e-9;  // of a model's weight: pulls known to f64's precision

constexpr std::array<ParameterInfo, 3> kParameters{{
    {"weight", ParameterType::kNumber, true, false, 1.0, "how hard this model pulls"},
    {"max_iter", ParameterType::kInteger, false, false, 1000.0, "most steps"},
    {"tol", ParameterType::kNumber, false, false, 1e-12, "a step smaller than this is the last"},
}};

using Numbers = std::vector<double>;

// ‖Σ w_i·unit(x_i − x_k)‖ over the models elsewhere, and the weight of those at x_k.
struct Pull {
  double others, own;
};

Pull pull_at(const PairFigures& squared, const Numbers& weights, size_t k) {
  Numbers terms, own;
  for (size_t i = 0; i < weights.size(); ++i) {
    const double from = squared(i, k);
    if (from == 0) own.push_back(weights[i]);
    for (size_t j = 0; from > 0 && j < weights.size(); ++j) {
      const double to = squared(j, k);
      if (to == 0) continue;
      const double product = 0.5 * (from + to - squared(i, j));
      terms.push_back(weights[i] * weights[j] * (product / (std::sqrt(from) * std::sqrt(to))));
    }
  }
  return {std::sqrt(std::max(0.0, orderless_sum(terms))), orderless_sum(own)};
}

// Equal shares of the models that are a median themselves; empty if none is.
Numbers among_the_models(const PairFigures& squared, const Numbers& weights) {
  Numbers shares(weights.size());
  double found = 0;
  for (size_t k = 0; k < weights.size(); ++k) {
    const Pull pull = pull_at(squared, weights, k);
    if (weights[k] == 0 || pull.others > pull.own * (1 + kSlack)) continue;
    shares[k] = 1;
    ++found;
  }
  if (found == 0) return {};
  for (double& share : shares) share /= found;
  return shares;
}

Numbers distances(const PairFigures& squared, const Numbers& shares) {
  const size_t n = shares.size();
  Numbers to_mean(n), spread(n);
  for (size_t i = 0; i < n; ++i) {
    Numbers terms(n);
    for (size_t j = 0; j < n; ++j) terms[j] = shares[j] * squared(i, j);
    to_mean[i] = orderless_sum(std::move(terms));
    spread[i] = shares[i] * to_mean[i];
  }
  const double half = 0.5 * orderless_sum(spread);
  for (double& d : to_mean) d = std::sqrt(std::max(0.0, d - half));
  return to_mean;
}

// One step; how far the largest share moved.
double step(const PairFigures& squared, const Numbers& weights, Numbers& shares) {
  const Numbers distance = distances(squared, shares);
  Numbers next(shares.size());
  for (size_t k = 0; k < next.size(); ++k) {
    next[k] = distance[k] == 0 ? 0 : weights[k] / distance[k];
  }
  const double sum = orderless_sum(next);
  double moved = 0;
  for (size_t k = 0; k < next.size(); ++k) {
    next[k] /= sum;
    moved = std::max(moved, std::abs(next[k] - shares[k]));
  }
  if (sum > 0) shares = std::move(next);
  return moved;
}

Numbers weigh(const PairFigures& squared, const Numbers& weights, int max_iter, double tol) {
  if (Numbers shares = among_the_models(squared, weights); !shares.empty()) return shares;
  Numbers shares = weights;
  const double sum = orderless_sum(weights);
  for (double& share : shares) share /= sum;
  for (int i = 0; i < max_iter && step(squared, weights, shares) > tol; ++i) {
  }
  return shares;
}

class GeometricMedian final : public Method {
 public:
  const MethodInfo& describe() const override {
    static const MethodInfo about{
        .name = "geometric_median",
        .summary = "the point nearest to all models; outliers count little",
        .formula =
            "out = Σ λ_k·x_k that makes Σ w_k·‖x_k − out‖ least;  "
            "λ_k ← (w_k/‖x_k − out‖)/Σ, max_iter times or until it moves by less than tol",
        .citation = "Weiszfeld, Tohoku Math. J. 43, 1937; Vardi and Zhang, PNAS 97, 2000",
        .parameters = kParameters,
        .min_models = 1,
        .max_models = 256,
    };
    return about;
  }

  std::optional<std::string> check(const TensorTask& task) const override {
    const ParameterMap& global = task.parameters->global;
    const Numbers weights = weights_of(task);
    if (std::ranges::any_of(weights, [](double w) { return w < 0; })) {
      return "a weight is negative, and a point that pulls away has no nearest point; give weights "
             "of at least 0";
    }
    if (orderless_sum(weights) == 0) return "all weights are zero; give a weight above 0";
    const double steps = value_of(global, "max_iter", 1000);
    if (!(steps >= 0 && steps <= 1e6)) return "max_iter is not from 0 to 1,000,000; 1000 is usual";
    if (!(value_of(global, "tol", 0) >= 0)) return "tol is negative; 1e-12 is usual";
    return std::nullopt;
  }

  std::unique_ptr<TensorWork> start(const TensorTask& task) const override {
    const ParameterMap& global = task.parameters->global;
    const auto steps = static_cast<int>(value_of(global, "max_iter", 1000));
    const double tol = value_of(global, "tol", 1e-12);
    return weigh_whole(
        task, Gather::kSquaredDistances,
        [weights = weights_of(task), steps, tol](const PairFigures& squared) -> Weights {
          return weigh(squared, weights, steps, tol);
        });
  }

  // λ_k are as w_k/‖x_k − out‖, and out is the suspect.
  std::vector<Hypothesis> recover(const Evidence& seen) const override {
    const std::vector<size_t> models = used_beside(seen, std::nullopt);
    if (seen.fit_class == FitClass::kOther || models.size() < 2 || models.size() > kMostModels) {
      return {};
    }
    const LengthOf distance = [](const WholeTensor& tensor, size_t m) {
      return length(tensor, m, size_t{0});
    };
    const std::vector<double> shares = shares_of_lengths(seen, models, std::nullopt, distance);
    if (shares.empty() || std::ranges::min(shares) <= 0) return {};
    Hypothesis fitted = plain_hypothesis(describe().name, models);
    for (size_t k = 0; k < models.size(); ++k) {
      fitted.inputs[k].parameters = {{"weight", shares[k]}};
    }
    if (!explains(seen, fitted)) return {};
    std::vector<Hypothesis> found;
    if (std::ranges::max(shares) - std::ranges::min(shares) <= kEqual) {
      found.push_back(plain_hypothesis(describe().name, models));
    }
    for (const RoundWeights& weights : round_ratios(shares, kTolerance, kMostWeights)) {
      Hypothesis hypothesis = plain_hypothesis(describe().name, models);
      for (size_t k = 0; k < models.size(); ++k) {
        hypothesis.inputs[k].parameters = {{"weight", weights.weights[k]}};
      }
      hypothesis.complexity = weights.complexity;
      found.push_back(std::move(hypothesis));
    }
    return found;
  }

 private:
  static constexpr size_t kMostModels = 8, kMostWeights = 60;
  static constexpr double kEqual = 0.02, kTolerance = 2e-3;  // distances include s's rounding

  static Numbers weights_of(const TensorTask& task) {
    Numbers weights;
    for (const ParameterMap& model : task.parameters->per_model) {
      weights.push_back(value_of(model, "weight", 1));
    }
    return weights;
  }
};

}  // namespace

const Method& geometric_median() {
  static const GeometricMedian method;
  return method;
}

}  // namespace hieron
