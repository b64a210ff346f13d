#include "hieron/merge/ends_weights.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <tuple>

#include "hieron/merge/traces/decimals.h"

namespace hieron {
namespace {

constexpr size_t kMostHypotheses = 64;
constexpr double kCoarseSlack =
    0.006;  // bf16 weights are off by up to 2^-9 each: w/Σw by less than this below 1.5
// Sorting key of a hypothesis: digits first; weights that do not sum to one, or are large, cost
// half a digit.
int complexity(int digits, bool sums_to_one, double largest) {
  return 10 * digits + (sums_to_one ? 0 : 5) + (largest > 1.5 ? 3 : 0);
}

void add(const Decimal& decimal, std::vector<EndsWeights>& found) {
  const double w = decimal.value(), rest = decimal.complement().value();
  found.push_back({Combination{{w, rest}, true},
                   complexity(decimal.digits, true, std::max(std::abs(w), std::abs(rest)))});
}

void add_decimals(double low, double high, std::vector<EndsWeights>& found) {
  for (const Decimal& decimal : decimals_within(low, high, 4, 4 * kMostHypotheses)) {
    add(decimal, found);
  }
}

// Normalised pairs m : n in units of 1/unit that do not sum to one.
void add_pairs(double low, double high, int unit, std::vector<EndsWeights>& found) {
  for (int m = 1; m <= 20; ++m) {
    for (int n = 1; n <= 20; ++n) {
      const double share = static_cast<double>(m) / (m + n);
      if (m + n == unit || share < low || share > high) continue;
      if (unit == 1 && std::gcd(m, n) != 1) continue;
      const double a = static_cast<double>(m) / unit, b = static_cast<double>(n) / unit;
      const int digits = unit == 1 && std::max(m, n) >= 10 ? 2 : 1;
      found.push_back({Combination{{a, b}, true}, complexity(digits, false, std::max(a, b))});
    }
  }
}

void sort_and_cut(double alpha, std::vector<EndsWeights>& found) {
  const auto distance = [alpha](const EndsWeights& h) {
    const auto& w = h.combination.weights;
    return std::abs(w[0] / (w[0] + w[1]) - alpha);
  };
  std::ranges::sort(found, [&](const EndsWeights& a, const EndsWeights& b) {
    const double da = distance(a), db = distance(b);
    return std::tie(a.complexity, da, a.combination.weights) <
           std::tie(b.complexity, db, b.combination.weights);
  });
  std::vector<EndsWeights> distinct;
  for (EndsWeights& h : found) {
    const bool known = std::ranges::any_of(distinct, [&](const EndsWeights& d) {
      return d.combination.weights == h.combination.weights;
    });
    if (!known && distinct.size() < kMostHypotheses) distinct.push_back(std::move(h));
  }
  found = std::move(distinct);
}

}  // namespace

std::vector<EndsWeights> weights_within(const EndsObservation& seen) {
  const double slack = seen.one_rounding ? 0 : kCoarseSlack;
  const double low = seen.low - slack, high = seen.high + slack;
  std::vector<EndsWeights> found;
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

}  // namespace hieron
