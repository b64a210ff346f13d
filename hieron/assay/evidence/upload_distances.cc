#include "hieron/assay/evidence/upload_distances.h"

#include <algorithm>
#include <cmath>
#include <span>

namespace hieron {
namespace {

using Values = std::vector<double>;

double square_of_difference(const Values& a, const Values& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double d = a[i] - b[i];
    if (std::isfinite(d)) sum += d * d;
  }
  return sum;
}

double square(const Values& a) {
  double sum = 0;
  for (const double x : a) {
    if (std::isfinite(x)) sum += x * x;
  }
  return sum;
}

// Σ of squares of `d` after the part along `directions` is taken away: Gram-Schmidt, twice, for
// directions may be nearly alike.
double rest_after(Values d, std::vector<Values> directions) {
  const auto dot = [](const Values& a, const Values& b) {
    double sum = 0;
    for (size_t i = 0; i < a.size(); ++i) {
      const double product = a[i] * b[i];
      if (std::isfinite(product)) sum += product;
    }
    return sum;
  };
  const auto take_away = [&](Values& from, const Values& unit) {
    const double along = dot(from, unit);
    for (size_t i = 0; i < from.size(); ++i) from[i] -= along * unit[i];
  };
  constexpr double kNothing = 1e-12;
  std::vector<Values> units;
  for (Values& direction : directions) {
    const double before = square(direction);
    for (int pass = 0; pass < 2; ++pass) {
      for (const Values& unit : units) take_away(direction, unit);
    }
    const double left = square(direction);
    if (!(left > kNothing * before)) continue;
    for (double& x : direction) x /= std::sqrt(left);
    units.push_back(std::move(direction));
  }
  for (int pass = 0; pass < 2; ++pass) {
    for (const Values& unit : units) take_away(d, unit);
  }
  return square(d);
}

Values difference(const Values& a, const Values& b) {
  Values d(a.size());
  for (size_t i = 0; i < a.size(); ++i) d[i] = a[i] - b[i];
  return d;
}

// Directions in which another mix would move this row; empty if some offered model is not in it.
std::vector<Values> directions_of(const SampleRow& row, const UploadCast& cast) {
  std::vector<size_t> offered = cast.parents;
  if (cast.base) offered.push_back(*cast.base);
  std::vector<Values> directions;
  for (const size_t m : offered) {
    if (row.values[m].empty()) return {};
    if (m != offered.back()) {
      directions.push_back(difference(row.values[m], row.values[offered.back()]));
    }
  }
  return directions;
}

}  // namespace

std::optional<double> SquareRatio::root() const {
  if (!(other > 0)) return {};
  return std::sqrt(change / other);
}

UploadDistances measure_uploads(const Sample& sample, const UploadCast& cast) {
  constexpr uint64_t kPerDirection = 32;  // elements: fewer would be fitted, not explained
  UploadDistances found;
  double inside_all = 0, outside = 0;
  for (const SampleRow& row : sample.rows) {
    if (!row.blend || row.values[0].empty() || row.values[1].empty()) continue;
    const Values &first = row.values[0], &second = row.values[1];
    const double change = square_of_difference(second, first);
    found.size.change += change;
    found.size.other += square(first);
    for (size_t m = 2; m < row.values.size(); ++m) {
      if (row.values[m].empty()) continue;
      SquareRatio& near = found.nearness[m];
      near.change += change;
      near.other += square_of_difference(second, row.values[m]);
      if (!cast.base || m == *cast.base || row.values[*cast.base].empty()) continue;
      const double trained = square_of_difference(row.values[m], row.values[*cast.base]);
      const auto add = [&](SquareRatio& ratio) {
        ratio.change += change;
        ratio.other += trained;
      };
      add(found.training[m]);
      add(found.roles[row.role.role][m]);
      if (row.role.layer) add(found.layers[*row.role.layer][m]);
      found.spread[m].change += trained;
      found.spread[m].other += square(row.values[*cast.base]);
    }
    auto directions = directions_of(row, cast);
    if (directions.empty() || row.count < kPerDirection * directions.size()) continue;
    inside_all += change;
    outside += rest_after(difference(second, first), std::move(directions));
  }
  if (inside_all > 0) found.outside = outside / inside_all;
  return found;
}

}  // namespace hieron
