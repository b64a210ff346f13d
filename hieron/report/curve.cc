#include "hieron/report/curve.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace hieron {
namespace {

void sort_by_alpha(std::vector<CurvePoint>& curve) {
  std::erase_if(curve, [](const CurvePoint& point) {
    return !std::isfinite(point.alpha) || !std::isfinite(point.share);
  });
  std::ranges::sort(curve, {},
                    [](const CurvePoint& point) { return std::pair(point.alpha, point.share); });
}

double between(const CurvePoint& a, const CurvePoint& b, double alpha) {
  const double width = b.alpha - a.alpha;
  return width > 0 ? a.share + (b.share - a.share) * (alpha - a.alpha) / width
                   : std::max(a.share, b.share);
}

// Of a curve in order of alpha; 0 beyond its ends.
double value_at(const std::vector<CurvePoint>& curve, double alpha) {
  const auto right = std::ranges::lower_bound(curve, alpha, {}, &CurvePoint::alpha);
  if (right == curve.end()) return 0;
  if (right->alpha == alpha) return right->share;
  return right == curve.begin() ? 0 : between(*(right - 1), *right, alpha);
}

}  // namespace

std::vector<CurvePoint> thin(std::vector<CurvePoint> curve, size_t points) {
  sort_by_alpha(curve);
  points = std::max<size_t>(points, 2);
  if (curve.size() <= points) return curve;
  std::vector<CurvePoint> kept{curve.front()};
  const size_t inner = curve.size() - 2, groups = points - 2;
  for (size_t g = 0; g < groups; ++g) {
    const auto first = curve.begin() + 1 + static_cast<ptrdiff_t>(g * inner / groups);
    const auto last = curve.begin() + 1 + static_cast<ptrdiff_t>((g + 1) * inner / groups);
    if (first != last)
      kept.push_back(
          *std::max_element(first, last, [](auto& a, auto& b) { return a.share < b.share; }));
  }
  kept.push_back(curve.back());
  return kept;
}

std::vector<CurvePoint> with_peak(const DepthFigures& depth) {
  std::vector<CurvePoint> curve = depth.curve;
  curve.push_back({depth.alpha, depth.d16});
  sort_by_alpha(curve);
  return curve;
}

std::vector<CurvePoint> envelope(const DepthFigures& depth) {
  std::vector<std::vector<CurvePoint>> curves;
  std::vector<CurvePoint> highest;
  for (const auto& [ref, curve] : depth.control_curves) {
    curves.push_back(curve);
    sort_by_alpha(curves.back());
    highest.insert(highest.end(), curves.back().begin(), curves.back().end());
  }
  sort_by_alpha(highest);
  const auto last = std::ranges::unique(highest, {}, &CurvePoint::alpha);
  highest.erase(last.begin(), last.end());
  for (CurvePoint& point : highest) {
    point.share = 0;
    for (const auto& curve : curves)
      point.share = std::max(point.share, value_at(curve, point.alpha));
  }
  return highest;
}

AlphaRange alpha_range(const DepthFigures& depth) {
  double low = 0, high = 1;
  if (std::isfinite(depth.alpha)) {
    low = std::min(low, std::max(depth.alpha, -4.0));
    high = std::max(high, std::min(depth.alpha, 5.0));
  }
  const double margin = 0.2 * (high - low);
  return {low - margin, high + margin};
}

std::vector<double> columns(const std::vector<CurvePoint>& curve, AlphaRange range, int count) {
  std::vector<CurvePoint> sorted = curve;
  sort_by_alpha(sorted);
  std::vector<double> out(static_cast<size_t>(std::max(count, 0)), 0.0);
  const double width = (range.high - range.low) / count;
  const auto raise = [&](double alpha, double share) {
    const double column = std::floor((alpha - range.low) / width);
    if (column < 0 || column >= count) return;
    double& value = out[static_cast<size_t>(column)];
    value = std::max(value, share);
  };
  for (size_t i = 0; i < sorted.size(); ++i) {
    raise(sorted[i].alpha, sorted[i].share);
    if (i + 1 == sorted.size()) break;
    // The column borders between two points that lie further apart than a column.
    const double from = std::max(std::ceil((sorted[i].alpha - range.low) / width), 0.0);
    for (double c = from; c < count; ++c) {
      const double border = range.low + c * width;
      if (border > sorted[i + 1].alpha) break;
      raise(border + width * 1e-9, between(sorted[i], sorted[i + 1], border));
    }
  }
  return out;
}

}  // namespace hieron
