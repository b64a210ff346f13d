#include "hieron/merge/traces/recover_angles.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "hieron/core/shape.h"
#include "hieron/fit/depth.h"
#include "hieron/fit/interval.h"
#include "hieron/merge/traces/decimals.h"
#include "hieron/merge/traces/round_weights.h"

namespace hieron {
namespace {

constexpr double kLine = 1e-9;         // of 1 − 1/S² and 1 − m²: below, there is no angle to see
constexpr double kNoise = 0.02;        // by which rounded weights may be off an arc
constexpr size_t kShortestLine = 8;    // elements: two unknowns, and some to judge them by
constexpr double kRoundingNoise = 40;  // times the variance of one rounding: bf16 rounds thrice
constexpr double kSomeCells = 0.4, kNearlyAll = 0.98;  // that one t explains, of all
constexpr size_t kFittedRows = 20000;
constexpr double kExplained = 0.2;  // of them, within the noise of several roundings
constexpr double kAgreeing = 0.05, kLeastAgreeing = 0.5;  // t of lines, and the share of them

double weighted_median(std::vector<std::pair<double, double>> values) {  // value, weight
  std::ranges::sort(values);
  const double total = std::accumulate(values.begin(), values.end(), 0.0,
                                       [](double sum, const auto& v) { return sum + v.second; });
  double below = 0;
  for (const auto& [value, weight] : values) {
    below += weight;
    if (below >= total / 2) return value;
  }
  return values.empty() ? 0 : values.back().first;
}

// Sums over one line: of products of the two differences and of the suspect's.
struct LineSums {
  double aa = 0, ab = 0, bb = 0, as = 0, bs = 0, ss = 0, rounding = 0;

  void add(double a, double b, double s, double cell) {
    aa += a * a;
    ab += a * b;
    bb += b * b;
    as += a * s;
    bs += b * s;
    ss += s * s;
    rounding += cell * cell / 12;
  }
  double apart() const { return aa + bb - 2 * ab; }
  bool parallel() const { return !(determinant() > 1e-9 * aa * bb); }
  double angle() const { return std::acos(std::clamp(ab / std::sqrt(aa * bb), -1.0, 1.0)); }
  // Least squares of the suspect.
  std::pair<double, double> weights() const {
    return {(as * bb - bs * ab) / determinant(), (bs * aa - as * ab) / determinant()};
  }

 private:
  double determinant() const { return aa * bb - ab * ab; }
};

class LinedTensor {
 public:
  LinedTensor(const WholeTensor& tensor, Lines lines, size_t first, size_t second,
              std::optional<size_t> origin)
      : by_rows_(lines == Lines::kRows),
        row_(tensor.shape.back()),
        step_(row_length(tensor.shape)),
        sums_(by_rows_ ? tensor.elements() / row_ : step_),
        x_(tensor.elements()),
        y_(tensor.elements()),
        cells_(tensor.elements()) {
    const std::vector<double> suspect(tensor.values[0].begin(), tensor.values[0].end());
    cell_ends(tensor.dtype, suspect, cells_);
    for (size_t i = 0; i < suspect.size(); ++i) {
      const double b = origin ? static_cast<double>(tensor.values[*origin][i]) : 0;
      x_[i] = static_cast<double>(tensor.values[first][i]) - b;
      y_[i] = static_cast<double>(tensor.values[second][i]) - b;
      const double slack = kSlack * (std::abs(x_[i]) + std::abs(y_[i]) + std::abs(b));
      cells_[i].low -= b + slack;
      cells_[i].high -= b - slack;
      const double cell = cells_[i].high - cells_[i].low;
      sums_[line_of(i)].add(x_[i], y_[i], suspect[i] - b, std::isfinite(cell) ? cell : 0);
    }
  }

  std::optional<double> median() const {
    std::vector<std::pair<double, double>> places;
    double missed = 0, rounding = 0;
    for (const LineSums& sum : sums_) {
      if (sum.parallel()) continue;  // any t explains it
      const auto [a, b] = sum.weights();
      missed += std::max(0.0, sum.ss - a * sum.as - b * sum.bs);
      rounding += sum.rounding;
      if (a + b > kNoise) places.emplace_back(t_on_arc(a, b, sum.angle()), sum.apart());
    }
    if (places.empty() || missed > kRoundingNoise * rounding) return std::nullopt;
    const double middle = weighted_median(places);
    double total = 0, near = 0;
    for (const auto& [t, weight] : places) {
      total += weight;
      if (std::abs(t - middle) <= kAgreeing) near += weight;
    }
    return near < kLeastAgreeing * total ? std::nullopt : std::optional(middle);
  }

  // The t that most cells allow, where the result is taken to be linear in t.
  Depth around(double t) const {
    std::vector<AlphaInterval> intervals;
    for (size_t i = 0; i < x_.size(); ++i) {
      const LineSums& sum = sums_[line_of(i)];
      if (sum.parallel()) continue;
      const double angle = sum.angle(), whole = std::sin(angle);
      const double made = (std::sin((1 - t) * angle) * x_[i] + std::sin(t * angle) * y_[i]) / whole;
      const double slope =
          angle * (std::cos(t * angle) * y_[i] - std::cos((1 - t) * angle) * x_[i]) / whole;
      const double cell = cells_[i].high - cells_[i].low;
      if (!(std::abs(slope) > kLeastLeverage * cell)) continue;
      const auto [low, high] =
          std::minmax({t + (cells_[i].low - made) / slope, t + (cells_[i].high - made) / slope});
      intervals.push_back({low, high, static_cast<float>(std::abs(slope) / cell)});
    }
    return depth(intervals, kLeastLeverage);
  }

 private:
  size_t line_of(size_t i) const { return by_rows_ ? i / row_ : i % step_; }

  const bool by_rows_;
  const uint64_t row_, step_;
  std::vector<LineSums> sums_;
  std::vector<double> x_, y_;
  std::vector<CellEnds> cells_;  // of the suspect's change from the origin
};

}  // namespace

std::optional<ArcPlace> place_on_arc(double first, double second) {
  const double sum = first + second;
  if (!(sum > kNoise)) return std::nullopt;
  const double m = (second - first) / sum;
  const double above = 1 - 1 / (sum * sum), below = 1 - m * m;
  double angle = 0;
  if (std::abs(above) > kLine && std::abs(below) > kLine && above / below > 0) {
    if (above / below < 1) angle = 2 * std::asin(std::sqrt(above / below));
  }
  if (angle == 0 && std::abs(above) > kNoise) return std::nullopt;
  return ArcPlace{t_on_arc(first, second, angle), angle};
}

double t_on_arc(double first, double second, double angle) {
  const double sum = first + second;
  if (angle == 0) return second / sum;
  return 0.5 + std::atan((second - first) / sum * std::tan(angle / 2)) / angle;
}

double rest_of(double t) { return std::round((1 - t) * 1e12) / 1e12; }

std::vector<RoundPlace> round_places(double t, double tolerance, size_t limit) {
  constexpr int kMostDigits = 4, kFittedDigits = 7;
  constexpr size_t kMostDecimals = 1000;
  std::vector<RoundPlace> places;
  for (const Decimal& d :
       decimals_within(t - tolerance, t + tolerance, kMostDigits, kMostDecimals)) {
    places.push_back({d.value(), d.complement().value(), 10 * d.digits});
  }
  std::ranges::stable_sort(places, [&](const RoundPlace& a, const RoundPlace& b) {
    if (a.complexity != b.complexity) return a.complexity < b.complexity;
    return std::abs(a.t - t) < std::abs(b.t - t);
  });
  if (places.size() > limit) places.resize(limit);
  const double fitted = std::round(t * 1e7) / 1e7;
  places.push_back({fitted, rest_of(fitted), 10 * kFittedDigits});
  return places;
}

std::vector<TensorEstimate> places_on_arcs(const Evidence& evidence, size_t first, size_t second) {
  std::vector<TensorEstimate> places;
  for (const TensorFit& fit : evidence.fits) {
    const auto place = place_on_arc(fitted_weight(evidence, fit.fit, first),
                                    fitted_weight(evidence, fit.fit, second));
    if (place) places.push_back({fit.name, fit.role, fit.fit.informative, place->t});
  }
  return places;
}

Consensus consensus(std::span<const TensorEstimate> estimates, double tolerance) {
  std::vector<std::pair<double, double>> values;
  double total = 0, near = 0;
  for (const TensorEstimate& e : estimates) {
    values.emplace_back(e.value, static_cast<double>(e.informative));
    total += values.back().second;
  }
  const double middle = weighted_median(values);
  for (const auto& [value, weight] : values) {
    if (std::abs(value - middle) <= tolerance) near += weight;
  }
  return {middle, near / total};
}

double length(const WholeTensor& tensor, size_t model, std::optional<size_t> origin) {
  double sum = 0;
  const std::vector<float>& x = tensor.values[model];
  for (size_t i = 0; i < x.size(); ++i) {
    const double d =
        static_cast<double>(x[i]) - (origin ? static_cast<double>(tensor.values[*origin][i]) : 0);
    sum += d * d;
  }
  return std::sqrt(sum);
}

double length(const WholeTensor& tensor, std::span<const size_t> models,
              std::span<const double> weights, std::optional<size_t> origin) {
  double squares = 0;
  for (size_t i = 0; i < tensor.elements(); ++i) {
    const double b = origin ? static_cast<double>(tensor.values[*origin][i]) : 0;
    double sum = 0;
    for (size_t k = 0; k < models.size(); ++k) {
      sum += weights[k] * (static_cast<double>(tensor.values[models[k]][i]) - b);
    }
    squares += sum * sum;
  }
  return std::sqrt(squares);
}

std::vector<double> weights_in(const WholeTensor& tensor, std::span<const size_t> models,
                               std::optional<size_t> origin) {
  const auto wide = [&](size_t m) {
    return std::vector<double>(tensor.values[m].begin(), tensor.values[m].end());
  };
  std::vector<std::vector<double>> values;
  for (const size_t m : models) values.push_back(wide(m));
  if (origin) values.push_back(wide(*origin));
  const std::vector<double> suspect = wide(0);
  SpanSample sample{tensor.dtype, suspect, {}};
  for (const auto& of_model : values) sample.models.emplace_back(of_model);
  SpanRows rows(values.size());
  rows.add(sample, kFittedRows);
  const SpanFit fit = fit_span(rows, SpanEffort::kQuick);
  if (fit.weights.empty() || fit.several_roundings() < kExplained) return {};
  return {fit.weights.begin(), fit.weights.begin() + static_cast<std::ptrdiff_t>(models.size())};
}

std::vector<double> shares_of_lengths(const Evidence& evidence, std::span<const size_t> models,
                                      std::optional<size_t> origin, const LengthOf& length_of) {
  std::vector<std::vector<TensorEstimate>> shares(models.size());
  for (const auto& probe : evidence.probes) {
    std::vector<double> parts = weights_in(*probe, models, origin);
    if (parts.empty()) continue;
    for (size_t k = 0; k < models.size(); ++k) parts[k] *= length_of(*probe, models[k]);
    const double sum = std::accumulate(parts.begin(), parts.end(), 0.0);
    if (!(sum > 0)) continue;
    for (size_t k = 0; k < models.size(); ++k) {
      shares[k].push_back({probe->name, probe->role, probe->elements(), parts[k] / sum});
    }
  }
  std::vector<double> medians;
  for (const auto& of_model : shares) {
    if (!of_model.empty()) medians.push_back(consensus(of_model, 1).value);
  }
  return medians;
}

std::optional<LineT> t_of_lines(const WholeTensor& tensor, Lines lines, size_t first, size_t second,
                                std::optional<size_t> origin) {
  if (tensor.shape.size() < 2) return std::nullopt;
  const uint64_t across = tensor.shape.back(), down = tensor.shape.front();
  if ((lines == Lines::kRows ? across : down) < kShortestLine) return std::nullopt;
  const LinedTensor lined(tensor, lines, first, second, origin);
  const auto median = lined.median();
  if (!median) return std::nullopt;
  const Depth peak = lined.around(*median);
  if (peak.share() < kSomeCells) return LineT{*median, false};
  return LineT{peak.alpha(), peak.share() >= kNearlyAll};
}

}  // namespace hieron
