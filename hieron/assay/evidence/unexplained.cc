#include "hieron/assay/evidence/unexplained.h"

#include <algorithm>
#include <cmath>

#include "hieron/core/cell.h"

namespace hieron {
namespace {

struct Energy {
  double left = 0;                         // squared residual beyond the rounding of the cell
  double from_first = 0, from_second = 0;  // squared distance to either end
  double blend_xy = 0, blend_xx = 0;       // least squares, where there is no peak to go by
};

// Squared distance of a value to the nearer end of the suspect's cell; 0 inside it.
double beyond_cell(DType dtype, double stored, double value) {
  const auto c = cell(dtype, encode(dtype, stored));
  if (!c) return 0;
  const double miss = std::max({c->low - value, value - c->high, 0.0});
  return miss * miss;
}

double alpha_of(const Alignment& alignment, const SampleRow& row, Varies varies,
                const GroupedFit& grouped, double otherwise) {
  const auto found = grouped.groups.find(group_key(alignment.rows[row.row].name, row.role, varies));
  return found == grouped.groups.end() ? otherwise : found->second.alpha();
}

double share(const Energy& e) {
  const double change = std::min(e.from_first, e.from_second);
  return change > 0 ? std::clamp(e.left / change, 0.0, 1.0) : 0;
}

Energy minus(Energy total, const Energy& part) {
  total.left -= part.left;
  total.from_first -= part.from_first;
  total.from_second -= part.from_second;
  return total;
}

}  // namespace

Unexplained unexplained_share(const Sample& sample, size_t suspect, Ends ends, Varies varies,
                              const Alignment& alignment, const GroupedFit& grouped) {
  // Without a peak the blend is the one of least squares: the most that two ends could account for.
  Energy squares;
  const auto each_row = [&](const auto& use) {
    for (const SampleRow& row : sample.rows) {
      if (!row.blend || row.values[ends.first].empty() || row.values[ends.second].empty()) continue;
      use(row);
    }
  };
  each_row([&](const SampleRow& row) {
    for (size_t i = 0; i < row.count; ++i) {
      const double x = row.values[ends.first][i] - row.values[ends.second][i];
      const double y = row.values[suspect][i] - row.values[ends.second][i];
      if (!std::isfinite(x) || !std::isfinite(y)) continue;
      squares.blend_xy += x * y;
      squares.blend_xx += x * x;
    }
  });
  const double least_squares = squares.blend_xx > 0 ? squares.blend_xy / squares.blend_xx : 0;
  const bool peaked = grouped.share() >= 0.2;
  std::vector<Energy> rows;
  Energy total;
  each_row([&](const SampleRow& row) {
    const double alpha =
        peaked ? alpha_of(alignment, row, varies, grouped, least_squares) : least_squares;
    Energy energy;
    for (size_t i = 0; i < row.count; ++i) {
      const double s = row.values[suspect][i], p = row.values[ends.first][i],
                   q = row.values[ends.second][i];
      if (!std::isfinite(s) || !std::isfinite(p) || !std::isfinite(q)) continue;
      energy.left += beyond_cell(row.dtypes[suspect], s, q + alpha * (p - q));
      energy.from_first += (s - p) * (s - p);
      energy.from_second += (s - q) * (s - q);
    }
    total.left += energy.left;
    total.from_first += energy.from_first;
    total.from_second += energy.from_second;
    rows.push_back(energy);
  });
  Unexplained result{share(total), share(total), share(total)};
  if (rows.size() < 2) return result;
  const double n = static_cast<double>(rows.size());
  double mean = 0, square = 0;
  for (const Energy& row : rows) {
    const double without = share(minus(total, row));
    mean += without / n;
    square += without * without;
  }
  const double variance = std::max(0.0, (n - 1) / n * (square - n * mean * mean));
  const double reach = 1.96 * std::sqrt(variance);
  result.low = std::max(0.0, result.share - reach);
  result.high = std::min(1.0, result.share + reach);
  return result;
}

}  // namespace hieron
