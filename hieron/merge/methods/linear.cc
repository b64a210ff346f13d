// Weighted sum of models, normalised or not.   Wortsman et al. 2022 (model soups); mergekit
// "linear".
//
//   out = Σ w_k·x_k / n,   n = Σ w_k if normalize, else 1
//
// Trace: one weight vector for all tensors of a recipe group; every element of the suspect's cell
// holds the sum.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "hieron/merge/evidence.h"
#include "hieron/merge/methods/blend_work.h"
#include "hieron/merge/methods/table.h"
#include "hieron/merge/traces/round_weights.h"
#include "hieron/merge/traces/weight_vectors.h"

namespace hieron {
namespace {

constexpr std::array<ParameterInfo, 2> kParameters{{
    {"weight", ParameterType::kNumber, true, true, std::nullopt,
     "share of this model; any sign, any sum"},
    {"normalize", ParameterType::kBoolean, false, false, 1.0, "divide by the sum of the weights"},
}};

constexpr double kZeroSum =
    1e-9;  // of Σ|w|: decimals that sum to zero do so within a few ulps of f64

class Linear final : public Method {
 public:
  const MethodInfo& describe() const override {
    static const MethodInfo about{
        .name = "linear",
        .summary = "weighted sum of models",
        .formula = "out = Σ w_k·x_k / n,  n = Σ w_k if normalize, else 1",
        .citation = "Wortsman et al., Model soups, ICML 2022 (arXiv 2203.05482)",
        .parameters = kParameters,
        .min_models = 1,
        .max_models = 256,
        .weighted_sum = true,
    };
    return about;
  }

  std::optional<std::string> check(const TensorTask& task) const override {
    const Combination sum = combination(*task.parameters);
    if (!sum.normalize) return std::nullopt;
    const double total = std::accumulate(sum.weights.begin(), sum.weights.end(), 0.0);
    double size = 0;
    for (double w : sum.weights) size += std::abs(w);
    if (std::abs(total) > kZeroSum * size) return std::nullopt;
    return "the weights sum to zero, and dividing by the sum gives no numbers; change a weight, or "
           "set normalize: false";
  }

  std::unique_ptr<TensorWork> start(const TensorTask& task) const override {
    return std::make_unique<BlendWork>(combination(*task.parameters), task.arithmetic, task.out);
  }

  std::vector<Hypothesis> recover(const Evidence& seen) const override {
    if (seen.used.empty() || seen.pooled.weights.empty()) return {};
    const bool blended = seen.fit_class != FitClass::kOther;
    if (!blended && seen.pooled.one_rounding() < kLeastExplained) return {};
    std::vector<Hypothesis> found;
    const std::vector<size_t> models = weighted_models(seen);
    if (models.size() < 2 || models.size() > kMostModels) return {};
    if (!seen.constant) {
      if (blended) add_vectors(seen, models, found);
      for (const int digits : {2, 3, 7}) {
        for (const bool normalize : {false, true}) {
          found.push_back(by_tensor(seen, models, digits, normalize));
        }
      }
      return found;
    }
    std::vector<double> fitted;
    for (const size_t m : models) fitted.push_back(fitted_weight(seen, seen.pooled, m));
    const double tolerance = weight_tolerance(seen.fit_class);
    const double sum = std::accumulate(fitted.begin(), fitted.end(), 0.0);
    const bool whole = std::abs(sum - 1) <= tolerance * static_cast<double>(models.size());
    std::vector<std::pair<RoundWeights, bool>> weights;  // and whether they are normalised
    for (RoundWeights& w : round_weights(fitted, tolerance, kMostWeights)) {
      if (whole) weights.emplace_back(w, true);
      weights.emplace_back(std::move(w), false);
    }
    if (whole) {
      for (RoundWeights& w : round_ratios(fitted, ratio_tolerance(seen.fit_class), kMostWeights)) {
        weights.emplace_back(std::move(w), true);
      }
    }
    for (const auto& [w, normalize] : weights) add(models, w, normalize, found);
    return found;
  }

 private:
  // Later training leaves fewer elements than this only where little of a merge is left.
  static constexpr double kLeastExplained = 0.2;
  static constexpr size_t kMostWeights = 24;
  static constexpr size_t kMostModels = 8;

  // In the order in which they were offered.
  static std::vector<size_t> weighted_models(const Evidence& seen) {
    std::vector<size_t> models;
    for (const size_t m : seen.candidates) {
      const bool used = std::ranges::find(seen.used, m) != seen.used.end();
      if (used && std::abs(fitted_weight(seen, seen.pooled, m)) >= kNoShare) models.push_back(m);
    }
    return models;
  }
  static constexpr double kNoShare = 0.004;

  Hypothesis by_tensor(const Evidence& seen, std::span<const size_t> models, int digits,
                       bool normalize) const {
    Hypothesis hypothesis{.method = describe().name, .inputs = {}};
    const auto values = weights_by_tensor(seen, models, digits);
    for (size_t k = 0; k < models.size(); ++k) {
      hypothesis.inputs.push_back({models[k], {{"weight", values[k]}}});
    }
    hypothesis.parameters = {{"normalize", normalize ? 1.0 : 0.0}};
    hypothesis.complexity = 100 + 10 * digits + (normalize ? 0 : 1);
    return hypothesis;
  }

  // One vector for each part of the model, as somebody may have written it down.
  void add_vectors(const Evidence& seen, const std::vector<size_t>& models,
                   std::vector<Hypothesis>& found) const {
    for (const WrittenWeights written : {WrittenWeights::kRatios, WrittenWeights::kAsTheyAre}) {
      const bool normalize = written == WrittenWeights::kRatios;
      if (normalize && !sums_to_one(seen, models)) continue;
      Hypothesis hypothesis{.method = describe().name, .inputs = {}};
      for (const size_t model : models) hypothesis.inputs.push_back({model, {{"weight", 0.0}}});
      hypothesis.parameters = {{"normalize", normalize ? 1.0 : 0.0}};
      hypothesis.complexity = kVaries + (normalize ? 2 : 1);
      add_weight_vectors(seen, hypothesis, written, Arithmetic::kBf16Products, found);
    }
  }
  static constexpr int kVaries = 60;

  // In nearly all tensors: some have little to say, and poor fits.
  static bool sums_to_one(const Evidence& seen, std::span<const size_t> models) {
    constexpr double kNearlyAll = 0.9;
    const double off = weight_tolerance(seen.fit_class) * static_cast<double>(models.size());
    uint64_t all = 0, whole = 0;
    for (const TensorFit& fit : seen.fits) {
      double sum = 0;
      for (const size_t m : models) sum += fitted_weight(seen, fit.fit, m);
      all += fit.fit.informative;
      whole += std::abs(sum - 1) <= off ? fit.fit.informative : 0;
    }
    return static_cast<double>(whole) >= kNearlyAll * static_cast<double>(all);
  }

  // In the order in which the models were offered; other orders are for later.
  void add(const std::vector<size_t>& models, const RoundWeights& weights, bool normalize,
           std::vector<Hypothesis>& found) const {
    Hypothesis hypothesis{.method = describe().name, .inputs = {}};
    for (size_t k = 0; k < models.size(); ++k) {
      hypothesis.inputs.push_back({models[k], {{"weight", weights.weights[k]}}});
    }
    hypothesis.parameters = {{"normalize", normalize ? 1.0 : 0.0}};
    hypothesis.complexity = weights.complexity + (normalize ? 0 : 1);
    found.push_back(std::move(hypothesis));
  }

  static Combination combination(const TensorParameters& parameters) {
    Combination sum;
    sum.weights.reserve(parameters.per_model.size());
    for (const ParameterMap& model : parameters.per_model) {
      sum.weights.push_back(value_of(model, "weight", 0));
    }
    sum.normalize = value_of(parameters.global, "normalize", 1) != 0;
    return sum;
  }
};

}  // namespace

const Method& linear() {
  static const Linear method;
  return method;
}

}  // namespace hieron
