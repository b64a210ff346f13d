// The weighted mean direction of several models, at their weighted mean length.   Goddard,
// "Multi-SLERP" (goddard.blog, 2025); mergekit "multislerp".
//
//   d_k = x_k − b (b = 0 without a base),  u_k = d_k/‖d_k‖,  ŵ = w/Σw if normalize_weights
//   μ = Σ ŵ_k·u_k;   out = b + (Σ ŵ_k·‖d_k‖)·μ/‖μ‖
//
// The source goes on from μ/‖μ‖ by the weighted mean of the tangents towards the u_k. At the
// weighted mean that mean is zero (Σ ŵ_k·(u_k − ⟨u_k,μ̂⟩μ̂) = μ − ⟨μ,μ̂⟩μ̂), so the step is left out
// here. Its eps in u = d/(‖d‖ + eps) is left out, too: it shortens small differences.
// Where the directions cancel there is no mean direction: two models are then interpolated along a
// line as in mergekit, more are refused.
// Trace: per tensor, weights in the ratio of ŵ_k/‖d_k‖.
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

constexpr double kZeroSum = 1e-9;    // of Σ|w|: decimals that sum to zero in f64
constexpr double kCancelled = 1e-6;  // of Σ|w|: a shorter mean is not known to f64's precision

constexpr std::array<ParameterInfo, 3> kParameters{{
    {"weight", ParameterType::kNumber, true, true, std::nullopt, "share of this model"},
    {"normalize_weights", ParameterType::kBoolean, false, false, 1.0,
     "divide the weights by their sum"},
    {"eps", ParameterType::kNumber, false, false, 1e-8,
     "a mean direction shorter than this is none"},
}};

std::vector<double> weights_of(const TensorTask& task) {
  std::vector<double> weights;
  for (size_t k = 0; k < task.parameters->per_model.size(); ++k) {
    if (k != task.base) {
      weights.push_back(value_of(task.parameters->per_model[k], "weight", 1));
    }
  }
  return weights;
}

double sum_of_sizes(std::vector<double> weights) {
  for (double& w : weights) w = std::abs(w);
  return orderless_sum(std::move(weights));
}

bool normalized(const TensorTask& task) {
  return value_of(task.parameters->global, "normalize_weights", 1) != 0;
}

// √(wᵀ·C·w), C: the cosines
double length_of_mean(const PairFigures& pairs, std::span<const double> weights) {
  std::vector<double> terms;
  for (size_t i = 0; i < weights.size(); ++i) {
    for (size_t j = 0; j < weights.size(); ++j) {
      terms.push_back(weights[i] * weights[j] * pairs.cosine(i, j));
    }
  }
  return std::sqrt(std::max(0.0, orderless_sum(std::move(terms))));
}

Weights weigh(const PairFigures& pairs, std::vector<double> weights, double eps) {
  const size_t n = weights.size();
  std::vector<double> lengths;
  for (size_t k = 0; k < n; ++k) lengths.push_back(pairs.length(k));
  const bool all_zero = std::ranges::all_of(lengths, [](double l) { return l == 0; });
  if (all_zero) return weights;
  const double mean = length_of_mean(pairs, weights);
  if (mean < eps || mean < kCancelled * sum_of_sizes(weights)) {
    if (n == 2) return weights;
    return std::unexpected(
        "the models' weighted directions cancel, so that there is no mean direction; change a "
        "weight, or merge by linear");
  }
  std::vector<double> terms;
  for (size_t k = 0; k < n; ++k) terms.push_back(weights[k] * lengths[k]);
  const double length = orderless_sum(std::move(terms));
  for (size_t k = 0; k < n; ++k) {
    weights[k] = lengths[k] == 0 ? 0 : length * weights[k] / mean / lengths[k];
  }
  return weights;
}

class MultiSlerp final : public Method {
 public:
  const MethodInfo& describe() const override {
    static const MethodInfo about{
        .name = "multislerp",
        .summary = "weighted mean direction of several models, at their mean length",
        .formula =
            "μ = Σ ŵ_k·d_k/‖d_k‖;  out = b + (Σ ŵ_k·‖d_k‖)·μ/‖μ‖,  d_k = x_k − b, "
            "ŵ = w/Σw if normalize_weights",
        .citation = "Goddard, Multi-SLERP, goddard.blog 2025; mergekit",
        .parameters = kParameters,
        .min_models = 1,
        .max_models = 255,
        .base = BaseModel::kOptional,
    };
    return about;
  }

  std::optional<std::string> check(const TensorTask& task) const override {
    const std::vector<double> weights = weights_of(task);
    const double size = sum_of_sizes(weights);
    if (size == 0) return "all weights are zero, and there is no direction; give a weight";
    if (normalized(task) && std::abs(orderless_sum(weights)) <= kZeroSum * size) {
      return "the weights sum to zero, and dividing by the sum gives no numbers; change a weight, "
             "or set normalize_weights: false";
    }
    return std::nullopt;
  }

  std::unique_ptr<TensorWork> start(const TensorTask& task) const override {
    std::vector<double> weights = weights_of(task);
    if (weights.size() == 1) {
      weights[0] = 1;
    } else if (normalized(task)) {
      const double sum = orderless_sum(weights);
      for (double& w : weights) w /= sum;
    }
    const double eps = value_of(task.parameters->global, "eps", 1e-8);
    return weigh_whole(
        task, Gather::kInnerProducts,
        [weights, eps](const PairFigures& pairs) { return weigh(pairs, weights, eps); }, task.base);
  }

  // A tensor's weights a_k are as ŵ_k/‖d_k‖; and ‖out − b‖ says how long Σ ŵ_k·‖d_k‖ was.
  std::vector<Hypothesis> recover(const Evidence& seen) const override {
    std::vector<Hypothesis> found;
    if (seen.fit_class == FitClass::kOther) return found;
    add(seen, used_beside(seen, std::nullopt), std::nullopt, found);
    for (const size_t base : seen.possible_bases()) {
      if (found.size() < kMost) add(seen, used_beside(seen, base), base, found);
    }
    return found;
  }

 private:
  static constexpr size_t kMostModels = 8, kOrdered = 4;  // models: 24 orders
  static constexpr size_t kMostWeights = 12, kMost = 400;
  static constexpr double kNormalized = 1e-3;  // how well the sum of the weights is known

  void add(const Evidence& seen, const std::vector<size_t>& models, std::optional<size_t> base,
           std::vector<Hypothesis>& found) const {
    if (models.size() < 2 || models.size() > kMostModels) return;
    const LengthOf length_of = [&](const WholeTensor& tensor, size_t m) {
      return length(tensor, m, base);
    };
    const std::vector<double> shares = shares_of_lengths(seen, models, base, length_of);
    if (shares.empty()) return;
    const double tolerance = weight_tolerance(seen.fit_class);
    const double sum = sum_of_weights(seen, models, shares, base);
    std::vector<double> free = shares;
    for (double& w : free) w *= sum;
    const ParameterValues as_they_are{{"normalize_weights", 0.0}};
    if (!explains(seen, with_weights(models, base, free, as_they_are))) return;
    if (std::abs(sum - 1) <= std::max(kNormalized, tolerance)) {
      auto weights = round_weights(shares, tolerance, kMostWeights);
      for (RoundWeights& w : round_ratios(shares, ratio_tolerance(seen.fit_class), kMostWeights)) {
        weights.push_back(std::move(w));
      }
      add_weights(seen, models, base, weights, {}, found);
    }
    // Shares that were rounded to bf16 no longer sum to one.
    if (seen.fit_class != FitClass::kOneRounding || std::abs(sum - 1) > kNormalized) {
      add_weights(seen, models, base, round_weights(free, tolerance, kMostWeights), as_they_are,
                  found);
    }
  }

  // Orders of the simplest only: 24 of each are many.
  void add_weights(const Evidence& seen, const std::vector<size_t>& models,
                   std::optional<size_t> base, std::span<const RoundWeights> list,
                   const ParameterValues& form, std::vector<Hypothesis>& found) const {
    size_t ordered = 0;
    for (const RoundWeights& weights : list) {
      Hypothesis hypothesis = with_weights(models, base, weights.weights, form);
      hypothesis.complexity = weights.complexity + (form.empty() ? 0 : 1);
      add_orders(seen, hypothesis, ordered++ < 2 ? kOrdered : 1, found);
    }
  }

  Hypothesis with_weights(const std::vector<size_t>& models, std::optional<size_t> base,
                          std::span<const double> weights, const ParameterValues& form) const {
    Hypothesis hypothesis = plain_hypothesis(describe().name, models, base);
    for (size_t k = 0; k < models.size(); ++k) {
      hypothesis.inputs[k].parameters = {{"weight", weights[k]}};
    }
    hypothesis.parameters = form;
    return hypothesis;
  }

  // ‖Σ a_k·d_k‖ / Σ ŵ_k·‖d_k‖, of the largest probe that has weights.
  static double sum_of_weights(const Evidence& seen, const std::vector<size_t>& models,
                               std::span<const double> shares, std::optional<size_t> base) {
    for (auto probe = seen.probes.rbegin(); probe != seen.probes.rend(); ++probe) {
      const std::vector<double> weights = weights_in(**probe, models, base);
      if (weights.empty()) continue;
      double mean = 0;
      for (size_t k = 0; k < models.size(); ++k) {
        mean += shares[k] * length(**probe, models[k], base);
      }
      if (mean > 0) return length(**probe, models, weights, base) / mean;
    }
    return 1;
  }
};

}  // namespace

const Method& multislerp() {
  static const MultiSlerp method;
  return method;
}

}  // namespace hieron
