#include "hieron/merge/traces/element_states.h"

#include <Eigen/Dense>
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>

#include "hieron/fit/span_fit.h"

namespace hieron {
namespace {

constexpr double kTelling = 8;     // cells
constexpr double kWide = 2;        // cells: of a change that is seen at all
constexpr size_t kLeastRows = 20;  // of known state, for a factor to be fitted
constexpr size_t kJudgedRows = 8000;
constexpr double kSolved = 0.99;  // in the cells: one rounding (docs/recovery.md §2)
constexpr double kExact = 1e-5;   // least error of factors that are
constexpr double kSharper = 0.2;  // such an error, as part of that of least squares

// Rows of known state: the suspect's value, and each parent's where its change stays, the base's
// where not.
class KnownRows {
 public:
  explicit KnownRows(size_t parents) : values_(parents + 2), counts_(parents) {}

  void add(double suspect, double base, std::span<const double> terms, double y, double noise) {
    values_[0].push_back(suspect);
    values_[1].push_back(base);
    for (size_t k = 0; k < terms.size(); ++k) {
      values_[k + 2].push_back(base + terms[k]);
      counts_[k] += terms[k] != 0;
    }
    terms_.insert(terms_.end(), terms.begin(), terms.end());
    y_.push_back(y);
    weights_.push_back(1 / (noise * noise));
  }

  // Factors that it cannot tell stay as they are.
  void least_squares(FactorEstimate& estimate) const {
    const size_t n = counts_.size();
    std::vector<size_t> known;
    for (size_t k = 0; k < n; ++k) {
      if (counts_[k] >= kLeastRows) known.push_back(k);
    }
    const auto m = static_cast<Eigen::Index>(known.size());
    if (m == 0) return;
    Eigen::MatrixXd matrix = Eigen::MatrixXd::Zero(m, m);
    Eigen::VectorXd right = Eigen::VectorXd::Zero(m), row(m);
    for (size_t r = 0; r < y_.size(); ++r) {
      for (Eigen::Index j = 0; j < m; ++j) row[j] = terms_[r * n + known[static_cast<size_t>(j)]];
      matrix.noalias() += weights_[r] * row * row.transpose();
      right += weights_[r] * y_[r] * row;
    }
    const Eigen::MatrixXd inverse = matrix.completeOrthogonalDecomposition().pseudoInverse();
    const Eigen::VectorXd found = inverse * right;
    if (!found.allFinite()) return;
    for (Eigen::Index j = 0; j < m; ++j) {
      estimate.factors[known[static_cast<size_t>(j)]] = found[j];
      estimate.errors[known[static_cast<size_t>(j)]] = std::sqrt(std::max(0.0, inverse(j, j)));
    }
  }

  // Takes over what the cells allow, if they allow it.
  void within_cells(DType dtype, FactorEstimate& estimate) const {
    SpanSample sample{dtype, values_[0], {}};
    for (size_t m = 1; m < values_.size(); ++m) sample.models.emplace_back(values_[m]);
    SpanRows rows(values_.size() - 1);
    rows.add(sample, kJudgedRows);
    const SpanFit fit = fit_span(rows, SpanEffort::kQuick);
    if (fit.weights.empty()) return;
    estimate.judged = fit.informative;
    estimate.within_cell = fit.within_cell;
    if (fit.one_rounding() < kSolved) return;
    for (size_t k = 0; k < counts_.size(); ++k) {
      if (counts_[k] < kLeastRows) continue;
      estimate.factors[k] = fit.weights[k + 1];
      estimate.errors[k] = std::max(kExact, kSharper * estimate.errors[k]);
    }
  }

 private:
  std::vector<std::vector<double>> values_;  // suspect, base, parents
  std::vector<size_t> counts_;
  std::vector<double> terms_, y_, weights_;
};

}  // namespace

ElementStates::Consensus& ElementStates::Consensus::operator+=(const Consensus& other) {
  together += other.together;
  against += other.against;
  return *this;
}

ElementStates::Explained& ElementStates::Explained::operator+=(const Explained& other) {
  telling += other.telling;
  explained += other.explained;
  return *this;
}

ElementStates::ElementStates(const WholeTensor& whole, size_t base, std::span<const size_t> parents,
                             const States& states)
    : seen_(whole, base), whole_(whole), states_(states), base_(whole.values[base]) {
  for (const size_t m : parents) values_.push_back(whole.values[m]);
}

// use(element) for each one that can be used.
template <class Use>
void ElementStates::each(std::span<const double> factors, double rounding, const Use& use) const {
  const size_t n = values_.size();
  std::array<double, States::kMostParents> changes{}, scaled{};
  std::array<double, States::kMost> y{}, size{};
  Element element{.i = 0,
                  .changes = {changes.data(), n},
                  .scaled = {scaled.data(), n},
                  .y = {y.data(), states_.count()},
                  .size = {size.data(), states_.count()},
                  .compatible = 0};
  for (size_t i = 0; i < seen_.size(); ++i) {
    if (std::isnan(seen_.width(i))) continue;
    size_t none = 0;  // parents that change nothing here
    for (size_t k = 0; k < n; ++k) {
      changes[k] = static_cast<double>(values_[k][i]) - base_[i];
      scaled[k] = factors[k] * changes[k];
      none |= static_cast<size_t>(changes[k] == 0) << k;
    }
    states_.predict(scaled, y, size);
    element.i = i;
    element.compatible = 0;
    for (size_t state = 0; state < states_.count(); ++state) {
      if (state & none) y[state] = std::numeric_limits<double>::quiet_NaN();
      const bool holds = seen_.holds(i, y[state], rounding * size[state]);
      element.compatible |= static_cast<uint32_t>(holds) << state;
    }
    use(element);
  }
}

FactorEstimate ElementStates::fit(std::span<const double> factors, double rounding,
                                  bool exactly) const {
  const size_t parents = values_.size();
  FactorEstimate estimate{{factors.begin(), factors.end()}, std::vector<double>(parents, 0)};
  KnownRows rows(parents);
  std::array<double, States::kMostParents> terms{};
  each(factors, rounding, [&](const Element& element) {
    if (std::popcount(element.compatible) != 1 || element.compatible == 1) return;
    const auto state = static_cast<size_t>(std::countr_zero(element.compatible));
    // Averages depend on weights that are not known well yet.
    if (states_.mixing == Mixing::kAverage && std::popcount(state) > 1) return;
    // A state that is only told by where the cell happens to lie would be told with a bias.
    if (!apart(element, state, rounding)) return;
    for (size_t k = 0; k < parents; ++k) {
      terms[k] = state >> k & 1 ? states_.share(state, k) * element.changes[k] : 0;
    }
    const size_t i = element.i;
    const double noise = 0.3 * (seen_.width(i) + rounding * element.size[state]);
    rows.add(whole_.values[0][i], base_[i], {terms.data(), parents}, seen_.middle(i), noise);
  });
  rows.least_squares(estimate);
  if (exactly) rows.within_cells(whole_.dtype, estimate);
  return estimate;
}

ElementStates::Consensus ElementStates::consensus(std::span<const double> factors,
                                                  double rounding) const {
  Consensus found;
  each(factors, rounding, [&](const Element& element) {
    if (std::popcount(element.compatible) != 1) return;
    const auto state = static_cast<size_t>(std::countr_zero(element.compatible));
    size_t up = 0, down = 0;
    for (size_t k = 0; k < element.scaled.size(); ++k) {
      const double v = element.scaled[k];
      if (!(state >> k & 1) || std::abs(v) < kWide * seen_.width(element.i)) continue;
      ++(v > 0 ? up : down);
    }
    if (up + down < 2) return;
    ++found.together;
    found.against += up > 0 && down > 0;
  });
  return found;
}

ElementStates::Explained ElementStates::explained(std::span<const double> factors,
                                                  double rounding) const {
  Explained found;
  each(factors, rounding, [&](const Element& element) {
    if (!telling(element)) return;
    ++found.telling;
    found.explained += element.compatible != 0;
  });
  return found;
}

std::vector<std::vector<uint8_t>> ElementStates::labels(std::span<const double> factors,
                                                        double rounding) const {
  std::vector<std::vector<uint8_t>> all(values_.size(), std::vector<uint8_t>(seen_.size(), 0));
  each(factors, rounding, [&](const Element& element) {
    if (element.compatible == 0) return;
    for (size_t k = 0; k < all.size(); ++k) all[k][element.i] = label(element, k, rounding);
  });
  return all;
}

void ElementStates::add_equations(std::span<const double> factors, double rounding,
                                  WeightEquations& equations) const {
  constexpr size_t kUnknowns = WeightEquations::kUnknowns;
  std::array<double, kUnknowns> row{};
  each(factors, rounding, [&](const Element& element) {
    if (std::popcount(element.compatible) != 1) return;
    const auto state = static_cast<size_t>(std::countr_zero(element.compatible));
    if (std::popcount(state) < 2 || !apart(element, state, rounding)) return;
    double sum = 0;
    for (size_t k = 0; k < values_.size(); ++k) sum += state >> k & 1 ? states_.weights[k] : 0;
    const double noise = sum * (seen_.width(element.i) + rounding * element.size[state]);
    row.fill(0);
    for (size_t k = 0; k < values_.size(); ++k) {
      if (state >> k & 1) row[k] = element.scaled[k] / noise;
    }
    row[States::kMostParents + state] = -seen_.middle(element.i) / noise;
    for (size_t j = 0; j < kUnknowns; ++j) {
      if (row[j] == 0) continue;
      for (size_t k = 0; k < kUnknowns; ++k) equations.matrix[j * kUnknowns + k] += row[j] * row[k];
    }
    ++equations.elements[state];
  });
}

bool ElementStates::telling(const Element& element) const {
  return std::ranges::any_of(
      element.scaled, [&](double v) { return std::abs(v) >= kTelling * seen_.width(element.i); });
}

uint8_t ElementStates::label(const Element& element, size_t k, double rounding) const {
  if (element.changes[k] == 0) return 0;
  uint32_t in_all = ~uint32_t{0}, in_any = 0;
  for (uint32_t rest = element.compatible; rest != 0; rest &= rest - 1) {
    const auto state = static_cast<uint32_t>(std::countr_zero(rest));
    in_all &= state;
    in_any |= state;
  }
  uint8_t label = 0;
  if (in_all >> k & 1) {
    label = MaskLabel::kKnown | MaskLabel::kKept;
  } else if (!(in_any >> k & 1) && !outvoted(element, k)) {
    label = MaskLabel::kKnown;
  }
  if (label != 0 && fair(element, k, rounding)) label |= MaskLabel::kFair;
  return label;
}

// A change that is missing may have lost the vote. It has not where nothing was left to vote, or
// where what won has its sign.
bool ElementStates::outvoted(const Element& element, size_t k) const {
  if (!states_.elected) return false;
  for (uint32_t rest = element.compatible & ~uint32_t{1}; rest != 0; rest &= rest - 1) {
    const auto state = static_cast<size_t>(std::countr_zero(rest));
    if (!(element.scaled[k] * element.y[state] > 0)) return true;
  }
  return false;
}

// Do all states with the parent differ from all without it, and can it lose no vote?
bool ElementStates::fair(const Element& element, size_t k, double rounding) const {
  if (states_.elected) {
    for (const double v : element.scaled) {
      if (v * element.scaled[k] < 0) return false;
    }
  }
  for (size_t with = 0; with < element.y.size(); ++with) {
    if (!(with >> k & 1)) continue;
    for (size_t without = 0; without < element.y.size(); ++without) {
      if (!(without >> k & 1) && !apart(element, with, without, rounding)) return false;
    }
  }
  return true;
}

bool ElementStates::apart(const Element& element, size_t state, double rounding) const {
  for (size_t other = 0; other < element.y.size(); ++other) {
    if (other != state && !apart(element, state, other, rounding)) return false;
  }
  return true;
}

// Can no cell hold both? (States that do not exist are apart from all.)
bool ElementStates::apart(const Element& element, size_t a, size_t b, double rounding) const {
  const double slack = rounding * (element.size[a] + element.size[b]);
  const double least = 1.2 * seen_.width(element.i) + slack;
  return !(std::abs(element.y[a] - element.y[b]) <= least);
}

}  // namespace hieron
