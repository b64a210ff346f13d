#include "hieron/merge/traces/round_weights.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "hieron/merge/traces/decimals.h"

namespace hieron {
namespace {

constexpr int kMostDigits = 4;
constexpr uint64_t kSaysEnough = 1000;  // informative elements of a tensor that speaks for itself

double to_digits(double value, int digits) {
  const double unit = std::pow(10.0, digits);
  return std::round(value * unit) / unit;
}

int digits_of(double value) {
  int digits = 0;
  while (digits < 9 && std::abs(to_digits(value, digits) - value) > 1e-12) ++digits;
  return digits;
}

int complexity_of(std::span<const double> weights) {
  int digits = 0;
  double largest = 0, sum = 0;
  for (const double w : weights) {
    digits = std::max(digits, digits_of(w));
    largest = std::max(largest, std::abs(w));
    sum += w;
  }
  return 10 * digits + (largest > 1.5 ? 3 : 0) + (std::abs(sum - 1) < 1e-9 ? 0 : 12);
}

// All combinations of the decimals near each weight.
void add_products(const std::vector<std::vector<double>>& near, size_t limit,
                  std::vector<RoundWeights>& found) {
  size_t total = 1;
  for (const auto& values : near) {
    if (values.empty()) return;
    total *= values.size();
    if (total > limit) return;
  }
  for (size_t number = 0; number < total; ++number) {
    std::vector<double> weights;
    size_t rest = number;
    for (const auto& values : near) {
      weights.push_back(values[rest % values.size()]);
      rest /= values.size();
    }
    const int complexity = complexity_of(weights);
    found.push_back({std::move(weights), complexity});
  }
}

// `ratios`: how far weights are from the fitted ones is asked once they are divided by their sum.
void sort_distinct(std::vector<RoundWeights>& found, std::span<const double> fitted, bool ratios,
                   size_t limit) {
  const auto distance = [&](const RoundWeights& r) {
    double total = 0, sum = 0;
    for (const double w : r.weights) total += w;
    for (size_t k = 0; k < fitted.size(); ++k) {
      sum += std::abs(r.weights[k] / (ratios ? total : 1) - fitted[k]);
    }
    return sum;
  };
  std::ranges::stable_sort(found, [&](const RoundWeights& a, const RoundWeights& b) {
    if (a.complexity != b.complexity) return a.complexity < b.complexity;
    return distance(a) < distance(b);
  });
  std::vector<RoundWeights> distinct;
  for (RoundWeights& r : found) {
    if (distinct.size() == limit) break;
    const bool known = std::ranges::any_of(
        distinct, [&](const RoundWeights& d) { return d.weights == r.weights; });
    if (!known) distinct.push_back(std::move(r));
  }
  found = std::move(distinct);
}

}  // namespace

double weight_tolerance(FitClass fit_class) {
  return fit_class == FitClass::kOneRounding ? 1e-4 : 0.006;
}

double ratio_tolerance(FitClass fit_class) {
  return fit_class == FitClass::kOneRounding ? 1e-5 : 0.004;
}

std::vector<RoundWeights> round_weights(std::span<const double> fitted, double tolerance,
                                        size_t limit) {
  std::vector<RoundWeights> found;
  for (int digits = 1; digits <= kMostDigits; ++digits) {
    const double unit = std::pow(10.0, -digits);
    std::vector<std::vector<double>> near;
    for (const double w : fitted) {
      auto& values = near.emplace_back();
      const double middle = to_digits(w, digits);
      const int steps = static_cast<int>(tolerance / unit) + 1;
      for (int step = -steps; step <= steps; ++step) {
        const double value = to_digits(middle + step * unit, digits);
        if (std::abs(value - w) <= tolerance) values.push_back(value);
      }
    }
    add_products(near, limit, found);
  }
  sort_distinct(found, fitted, false, limit - 1);
  std::vector<double> raw;
  for (const double w : fitted) raw.push_back(to_digits(w, 7));
  found.push_back({raw, complexity_of(raw)});
  return found;
}

std::vector<RoundWeights> round_ratios(std::span<const double> fitted, double tolerance,
                                       size_t limit) {
  std::vector<RoundWeights> found;
  std::vector<double> factors;
  // The factor is the sum of the written weights: decimals as they are.
  for (int hundredths = 20; hundredths <= 1000; ++hundredths) factors.push_back(hundredths / 100.0);
  for (const double factor : factors) {
    for (const int digits : {1, 2, 3}) {
      if (digits == 3 && factor != 1) continue;  // thousandths are those of shares
      std::vector<double> scaled;
      double sum = 0;
      for (const double w : fitted) {
        scaled.push_back(to_digits(factor * w, digits));
        sum += scaled.back();
      }
      if (std::abs(sum) < 0.05 || std::abs(sum - factor) > 1e-9) continue;
      bool near = true;
      for (size_t k = 0; k < fitted.size(); ++k) {
        near = near && std::abs(scaled[k] / sum - fitted[k]) <= tolerance;
      }
      if (!near) continue;
      const int complexity = complexity_of(scaled);
      found.push_back({std::move(scaled), complexity});
    }
  }
  sort_distinct(found, fitted, true, limit);
  return found;
}

double fitted_weight(const Evidence& evidence, const SpanFit& fit, size_t model) {
  const auto at = std::ranges::find(evidence.candidates, model) - evidence.candidates.begin();
  return fit.weights[static_cast<size_t>(at)];
}

std::vector<ParameterValue> weights_by_tensor(const Evidence& evidence,
                                              std::span<const size_t> models, int digits) {
  using Key = std::pair<Role, int>;
  std::vector<ParameterValue> values;
  for (const size_t model : models) {
    std::map<Key, std::pair<uint64_t, double>> said;  // by the tensor that says most
    const auto note = [&](Key key, const TensorFit& fit, double weight) {
      auto& [informative, value] = said[key];
      if (fit.fit.informative > informative) {
        informative = fit.fit.informative;
        value = weight;
      }
    };
    ParameterValue value(to_digits(fitted_weight(evidence, evidence.pooled, model), digits));
    for (const TensorFit& fit : evidence.fits) {
      const double weight = fitted_weight(evidence, fit.fit, model);
      note({fit.role.role, fit.role.layer.value_or(-1)}, fit, weight);
      note({fit.role.role, -2}, fit, weight);
    }
    for (const TensorFit& fit : evidence.fits) {
      double weight = fitted_weight(evidence, fit.fit, model);
      if (fit.fit.informative < kSaysEnough) {
        const auto& [informative, of_layer] = said[{fit.role.role, fit.role.layer.value_or(-1)}];
        weight = informative >= kSaysEnough ? of_layer : said[{fit.role.role, -2}].second;
      }
      value.by_tensor.emplace_back(fit.name, to_digits(weight, digits));
    }
    values.push_back(std::move(value));
  }
  return values;
}

}  // namespace hieron
