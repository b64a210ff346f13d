// Depth against alpha as a picture needs it: fewer points, one range for all curves, columns of a
// fixed width.
#pragma once

#include <string>
#include <vector>

#include "hieron/assay/result.h"

namespace hieron {

// At most max(2, `points`) points in order of alpha: the two ends and the highest of each of equal
// groups, so that no peak is lost.
std::vector<CurvePoint> thin(std::vector<CurvePoint> curve, size_t points);

// The suspect's curve with the peak itself, which may lie between two points of the grid.
std::vector<CurvePoint> with_peak(const DepthFigures& depth);
// The highest of the controls at every alpha where one of them has a point; empty without controls.
std::vector<CurvePoint> envelope(const DepthFigures& depth);

// The alphas a picture shows: both ends (0 and 1), the peak, and a margin.
struct AlphaRange {
  double low, high;
};
AlphaRange alpha_range(const DepthFigures& depth);

// The curve's maximum in each of `columns` equal columns of the range; between points it is linear,
// beyond the curve it is 0.
std::vector<double> columns(const std::vector<CurvePoint>& curve, AlphaRange range, int columns);

}  // namespace hieron
