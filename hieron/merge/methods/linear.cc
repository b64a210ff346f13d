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
#include <tuple>

#include "hieron/merge/methods/blend_work.h"
#include "hieron/merge/methods/decimals.h"
#include "hieron/merge/methods/table.h"

namespace hieron {
namespace {

constexpr std::array<ParameterInfo, 2> kParameters{{
    {"weight", ParameterType::kNumber, true, true, std::nullopt,
     "share of this model; any sign, any sum"},
    {"normalize", ParameterType::kBoolean, false, false, 1.0, "divide by the sum of the weights"},
}};

constexpr size_t kMostHypotheses = 64;
constexpr double kCoarseSlack =
    0.006;  // bf16 weights are off by up to 2^-9 each: w/Σw by less than this below 1.5
constexpr double kZeroSum =
    1e-9;  // of Σ|w|: decimals that sum to zero do so within a few ulps of f64

// Sorting key of a hypothesis: digits first; weights that do not sum to one, or are large, cost
// half a digit.
int complexity(int digits, bool sums_to_one, double largest) {
  return 10 * digits + (sums_to_one ? 0 : 5) + (largest > 1.5 ? 3 : 0);
}

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

  std::vector<Hypothesis> recover(const Observation& seen) const override {
    const double slack = seen.single_rounding ? 0 : kCoarseSlack;
    const double low = seen.low - slack, high = seen.high + slack;
    std::vector<Hypothesis> found;
    if (!(low <= high) || std::abs(low) > 100 || std::abs(high) > 100) return found;
    add_decimals(low, high, found);
    add_pairs(low, high, 10, found);  // .8 and .6
    add_pairs(low, high, 1, found);   // 1 and 2
    if (found.empty()) {
      add(shortest_decimal(low, high, std::clamp(seen.alpha, low, high)), found);
    }
    sort_and_cut(seen.alpha, found);
    return found;
  }

 private:
  static Combination combination(const TensorParameters& parameters) {
    Combination sum;
    sum.weights.reserve(parameters.per_model.size());
    for (const ParameterMap& model : parameters.per_model) {
      sum.weights.push_back(value_of(model, "weight", 0));
    }
    sum.normalize = value_of(parameters.global, "normalize", 1) != 0;
    return sum;
  }

  void add(const Decimal& decimal, std::vector<Hypothesis>& found) const {
    const double w = decimal.value(), rest = decimal.complement().value();
    found.push_back({Combination{{w, rest}, true}, describe().name,
                     complexity(decimal.digits, true, std::max(std::abs(w), std::abs(rest)))});
  }

  void add_decimals(double low, double high, std::vector<Hypothesis>& found) const {
    for (const Decimal& decimal : decimals_within(low, high, 4, 4 * kMostHypotheses)) {
      add(decimal, found);
    }
  }

  // Normalised pairs m : n in units of 1/unit that do not sum to one.
  void add_pairs(double low, double high, int unit, std::vector<Hypothesis>& found) const {
    for (int m = 1; m <= 20; ++m) {
      for (int n = 1; n <= 20; ++n) {
        const double share = static_cast<double>(m) / (m + n);
        if (m + n == unit || share < low || share > high) continue;
        if (unit == 1 && std::gcd(m, n) != 1) continue;
        const double a = static_cast<double>(m) / unit, b = static_cast<double>(n) / unit;
        const int digits = unit == 1 && std::max(m, n) >= 10 ? 2 : 1;
        found.push_back({Combination{{a, b}, true}, describe().name,
                         complexity(digits, false, std::max(a, b))});
      }
    }
  }

  static void sort_and_cut(double alpha, std::vector<Hypothesis>& found) {
    const auto distance = [alpha](const Hypothesis& h) {
      const auto& w = h.combination.weights;
      return std::abs(w[0] / (w[0] + w[1]) - alpha);
    };
    std::ranges::sort(found, [&](const Hypothesis& a, const Hypothesis& b) {
      const double da = distance(a), db = distance(b);
      return std::tie(a.complexity, da, a.combination.weights) <
             std::tie(b.complexity, db, b.combination.weights);
    });
    std::vector<Hypothesis> distinct;
    for (Hypothesis& h : found) {
      const bool known = std::ranges::any_of(distinct, [&](const Hypothesis& d) {
        return d.combination.weights == h.combination.weights;
      });
      if (!known && distinct.size() < kMostHypotheses) distinct.push_back(std::move(h));
    }
    found = std::move(distinct);
  }
};

}  // namespace

const Method& linear() {
  static const Linear method;
  return method;
}

}  // namespace hieron
