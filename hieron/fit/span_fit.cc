#include "hieron/fit/span_fit.h"

#include <Eigen/Dense>
#include <algorithm>
#include <cmath>
#include <random>

#include "hieron/fit/interval.h"

namespace hieron {
namespace {

constexpr double kLeastWidth = 1e-30;  // of a cell: those of zeros weigh everything else down
constexpr double kNearCells = 2.5;

using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

// How much wider the cells of `largest` are than those of `value`.
double widening(double value, double largest) {
  return std::max(1.0, std::ldexp(1.0, std::ilogb(largest) - std::ilogb(value)));
}

}  // namespace

void SpanRows::add(const SpanSample& sample, size_t limit) {
  const size_t n = sample.suspect.size();
  std::vector<size_t> telling;
  std::vector<CellEnds> cells(n);
  cell_ends(sample.dtype, sample.suspect, cells);
  const auto finite = [&](size_t i) {
    return std::isfinite(cells[i].low) &&
           std::ranges::all_of(sample.models, [i](auto x) { return std::isfinite(x[i]); });
  };
  for (size_t i = 0; i < n; ++i) {
    const double width = cells[i].high - cells[i].low;
    if (!finite(i) || !(width > kLeastWidth)) continue;
    double leverage = models_ == 1 ? std::abs(sample.models[0][i]) : 0;
    for (size_t k = 1; k < models_; ++k) {
      leverage = std::max(leverage, std::abs(sample.models[k][i] - sample.models[0][i]));
    }
    if (leverage >= kLeastLeverage * width) telling.push_back(i);
  }
  const size_t step =
      std::max<size_t>(1, (telling.size() + limit - 1) / std::max<size_t>(1, limit));
  for (size_t j = 0; j < telling.size(); j += step) {
    const size_t i = telling[j];
    const double origin = sample.models[0][i], width = cells[i].high - cells[i].low;
    double largest = std::abs(sample.suspect[i]);
    for (size_t k = 1; k < models_; ++k) {
      columns_.push_back((sample.models[k][i] - origin) / width);
    }
    columns_.push_back(origin / width);
    for (size_t k = 0; k < models_; ++k) {
      largest = std::max(largest, std::abs(sample.models[k][i]));
    }
    rhs_.push_back(((cells[i].low + cells[i].high) / 2 - origin) / width);
    half_.push_back(0.5 + kSlack * largest / width);
    widest_.push_back(sample.suspect[i] == 0 ? 1 : widening(sample.suspect[i], largest));
  }
}

// One fit under way. The unknowns: the weights of all models but the first, and Σ w − 1.
class SpanSolver {
 public:
  explicit SpanSolver(const SpanRows& rows)
      : rows_(rows),
        n_(rows.size()),
        columns_(rows.columns_.data(), static_cast<Eigen::Index>(n_),
                 static_cast<Eigen::Index>(rows.models_)),
        rhs_(rows.rhs_.data(), static_cast<Eigen::Index>(n_)) {
    tame();
  }

  Eigen::VectorXd solve(SpanEffort effort) {
    std::vector<double> weight(n_, 1.0);
    consider(least_squares(weight));
    if (best_share() < kSolved && effort == SpanEffort::kThorough) {
      reweight();
      compete();
    }
    refit();
    if (best_share() >= kMostlyKnown) project();
    return best_;
  }

  SpanFit judged(const Eigen::VectorXd& a) const {
    SpanFit fit;
    fit.informative = n_;
    const Eigen::VectorXd r = residuals(a);
    for (size_t i = 0; i < n_; ++i) {
      const double miss = std::abs(r[index(i)]);
      fit.within_cell += miss <= rows_.half_[i];
      fit.near_cell += miss <= kNearCells * rows_.widest_[i] + rows_.half_[i] - 0.5;
    }
    const Eigen::Index last = a.size() - 1;
    double others = 0;
    fit.weights.push_back(0);
    for (Eigen::Index k = 0; k < last; ++k) {
      fit.weights.push_back(a[k]);
      others += a[k];
    }
    fit.weights[0] = 1 + a[last] - others;
    return fit;
  }

  static Eigen::VectorXd unknowns(std::span<const double> weights) {
    Eigen::VectorXd a(static_cast<Eigen::Index>(weights.size()));
    double sum = weights[0];
    for (size_t k = 1; k < weights.size(); ++k) {
      a[index(k - 1)] = weights[k];
      sum += weights[k];
    }
    a[a.size() - 1] = sum - 1;
    return a;
  }

 private:
  static constexpr double kSolved = 0.99;
  static constexpr double kMostlyKnown = 0.5;
  static Eigen::Index index(size_t i) { return static_cast<Eigen::Index>(i); }

  Eigen::VectorXd residuals(const Eigen::VectorXd& a) const { return rhs_ - columns_ * a; }

  // Elements next to zero have cells so narrow that one of them outweighs all others, and any
  // multiple of a combination that makes it zero would do.
  void tame() {
    constexpr double kMostLeverage = 64;  // of the usual one
    const Eigen::VectorXd sizes = columns_.rowwise().norm();
    std::vector<double> sorted(sizes.begin(), sizes.end());
    const auto middle = sorted.begin() + static_cast<std::ptrdiff_t>(sorted.size() / 2);
    std::ranges::nth_element(sorted, middle);
    const double most = kMostLeverage * *middle;
    trust_ = sizes.unaryExpr(
        [most](double size) { return size <= most ? 1 : (most / size) * (most / size); });
  }

  // Weighted normal equations; columns that are nearly one another's multiples share their weight.
  Eigen::VectorXd least_squares(std::span<const double> weight) const {
    const Eigen::Map<const Eigen::VectorXd> given(weight.data(), index(weight.size()));
    const Eigen::VectorXd v = given.cwiseProduct(trust_);
    const Matrix weighted = v.asDiagonal() * columns_;
    Eigen::MatrixXd normal = weighted.transpose() * columns_;
    const Eigen::VectorXd right = weighted.transpose() * rhs_;
    const Eigen::VectorXd scale = normal.diagonal().cwiseMax(1e-300).cwiseSqrt().cwiseInverse();
    normal = scale.asDiagonal() * normal * scale.asDiagonal();
    const Eigen::CompleteOrthogonalDecomposition<Eigen::MatrixXd> solver(normal);
    return scale.asDiagonal() * solver.solve(scale.asDiagonal() * right);
  }

  size_t satisfied(const Eigen::VectorXd& a) const {
    const Eigen::VectorXd r = residuals(a);
    size_t count = 0;
    for (size_t i = 0; i < n_; ++i) count += std::abs(r[index(i)]) <= rows_.half_[i];
    return count;
  }

  bool consider(const Eigen::VectorXd& a) {
    if (!a.allFinite()) return false;
    const size_t count = satisfied(a);
    if (best_.size() > 0 && count <= best_count_) return false;
    best_ = a;
    best_count_ = count;
    return true;
  }
  double best_share() const { return static_cast<double>(best_count_) / static_cast<double>(n_); }

  // Graduated reweighting: rows far outside of their cells lose their say, step by step.
  void reweight() {
    constexpr int kSteps = 60;
    constexpr double kNarrowing = 0.7, kNarrowest = 0.3;
    Eigen::VectorXd a = best_;
    std::vector<double> weight(n_);
    std::vector<double> sizes(n_);
    double scale = 0;
    for (int step = 0; step < kSteps; ++step) {
      const Eigen::VectorXd r = residuals(a);
      if (step == 0) {
        for (size_t i = 0; i < n_; ++i) sizes[i] = std::abs(r[index(i)]);
        const auto at = sizes.begin() + static_cast<std::ptrdiff_t>(n_ * 9 / 10);
        std::ranges::nth_element(sizes, at);
        scale = std::max(*at, kNarrowest);
      }
      for (size_t i = 0; i < n_; ++i) {
        const double excess = std::max(0.0, std::abs(r[index(i)]) - rows_.half_[i]) / scale;
        const double fading = 1 + excess * excess;
        weight[i] = 1 / (fading * fading);
      }
      const Eigen::VectorXd next = least_squares(weight);
      if (!next.allFinite()) break;
      const bool still = (next - a).norm() <= 1e-13 * (1 + a.norm()) && scale == kNarrowest;
      a = next;
      if (still) break;
      scale = std::max(kNarrowest, scale * kNarrowing);
    }
    consider(a);
  }

  // Exact solutions of a few rows drawn at random, scored on some.
  void compete() {
    constexpr int kDraws = 200;
    constexpr size_t kScored = 2000;
    const Eigen::Index k = columns_.cols();
    std::mt19937_64 random(1);
    const size_t step = std::max<size_t>(1, n_ / kScored);
    Eigen::VectorXd best;
    size_t most = 0;
    Eigen::MatrixXd some(k, k);
    Eigen::VectorXd right(k);
    for (int draw = 0; draw < kDraws; ++draw) {
      for (Eigen::Index j = 0; j < k; ++j) {
        const Eigen::Index i = index(random() % n_);
        some.row(j) = columns_.row(i);
        right[j] = rhs_[i];
      }
      const Eigen::VectorXd a = some.partialPivLu().solve(right);
      if (!a.allFinite()) continue;
      size_t count = 0;
      for (size_t i = 0; i < n_; i += step) {
        count += std::abs(rhs_[index(i)] - columns_.row(index(i)) * a) <= rows_.half_[i];
      }
      if (count > most) {
        most = count;
        best = a;
      }
    }
    if (best.size() > 0) consider(best);
  }

  // Least squares over the rows that are nearly satisfied, while that satisfies more.
  void refit() {
    constexpr double kNearly = 0.25;
    std::vector<double> weight(n_);
    for (int round = 0; round < 20; ++round) {
      const Eigen::VectorXd r = residuals(best_);
      size_t kept = 0;
      for (size_t i = 0; i < n_; ++i) {
        const bool near = std::abs(r[index(i)]) <= rows_.half_[i] + kNearly;
        weight[i] = near ? 1 : 0;
        kept += near;
      }
      if (kept < 2 * rows_.models_ + 2 || !consider(least_squares(weight))) return;
    }
  }

  // Projections onto the slabs of rows that are missed by little, the worst first.
  void project() {
    constexpr size_t kWorst = 50;
    constexpr int kSweeps = 40;
    constexpr double kStep = 0.9;
    constexpr int kPatience = 4;
    Eigen::VectorXd a = best_;
    int idle = 0;
    for (int sweep = 0; sweep < kSweeps; ++sweep) {
      const Eigen::VectorXd r = residuals(a);
      std::vector<std::pair<double, size_t>> missed;
      for (size_t i = 0; i < n_; ++i) {
        const double excess = std::abs(r[index(i)]) - rows_.half_[i];
        if (excess > 0 && excess < 1) missed.emplace_back(excess, i);
      }
      if (missed.empty()) return;
      const size_t count = std::min(kWorst, missed.size());
      std::ranges::partial_sort(missed, missed.begin() + static_cast<std::ptrdiff_t>(count),
                                std::ranges::greater{});
      for (size_t j = 0; j < count; ++j) {
        const Eigen::Index i = index(missed[j].second);
        const double now = rhs_[i] - columns_.row(i) * a;
        const double excess = std::abs(now) - rows_.half_[missed[j].second];
        if (excess <= 0) continue;
        a += kStep * std::copysign(excess, now) * columns_.row(i).transpose() /
             columns_.row(i).squaredNorm();
      }
      idle = consider(a) ? 0 : idle + 1;
      if (idle == kPatience) return;
    }
  }

  const SpanRows& rows_;
  const size_t n_;
  const Eigen::Map<const Matrix> columns_;
  const Eigen::Map<const Eigen::VectorXd> rhs_;
  Eigen::VectorXd trust_;  // in a row, for least squares
  Eigen::VectorXd best_;
  size_t best_count_ = 0;
};

SpanFit fit_span(const SpanRows& rows, SpanEffort effort) {
  if (!rows.enough()) return {};
  SpanSolver solver(rows);
  return solver.judged(solver.solve(effort));
}

SpanFit judge_span(const SpanRows& rows, std::span<const double> weights) {
  if (rows.size() == 0) return {};
  return SpanSolver(rows).judged(SpanSolver::unknowns(weights));
}

}  // namespace hieron
