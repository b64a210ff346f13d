#include "hieron/merge/traces/states.h"

#include <limits>

namespace hieron {
namespace {

constexpr double kLeastWidth = 1e-30;  // of a cell: those of zeros say nothing

}  // namespace

double States::share(size_t state, size_t parent) const {
  if (mixing == Mixing::kSum) return 1;
  double sum = 0;
  for (size_t k = 0; k < parents; ++k) sum += state >> k & 1 ? weights[k] : 0;
  return weights[parent] / sum;
}

void States::predict(std::span<const double> scaled, std::span<double> y,
                     std::span<double> size) const {
  for (size_t state = 0; state < count(); ++state) {
    double sum = 0, sizes = 0, divisor = 0;
    bool up = false, down = false;
    for (size_t k = 0; k < parents; ++k) {
      if (!(state >> k & 1)) continue;
      const double weight = mixing == Mixing::kAverage ? weights[k] : 1;
      sum += weight * scaled[k];
      sizes += weight * std::abs(scaled[k]);
      divisor += weight;
      up = up || scaled[k] > 0;
      down = down || scaled[k] < 0;
    }
    if (mixing == Mixing::kSum || divisor == 0) divisor = 1;
    const bool exists = !elected || !up || !down;
    y[state] = exists ? sum / divisor : std::numeric_limits<double>::quiet_NaN();
    size[state] = sizes / divisor;
  }
}

double rounding_of(DType dtype, bool one_rounding) {
  if (dtype == DType::kF32) return 2 * kSlack;
  if (one_rounding) return 2e-4;  // what factors and weights may be off
  return 1.5 * (dtype == DType::kF16 ? 0x1p-11 : 0x1p-8);
}

SeenChanges::SeenChanges(const WholeTensor& whole, size_t base) {
  const std::vector<double> suspect(whole.values[0].begin(), whole.values[0].end());
  cells_.resize(suspect.size());
  widths_.resize(suspect.size());
  cell_ends(whole.dtype, suspect, cells_);
  for (size_t i = 0; i < cells_.size(); ++i) {
    const double b = whole.values[base][i];
    widths_[i] = cells_[i].high - cells_[i].low;
    const double slack = kSlack * (std::abs(b) + std::abs(suspect[i]));
    cells_[i].low -= b + slack;
    cells_[i].high += slack - b;
    if (!(widths_[i] > kLeastWidth) || !std::isfinite(b)) {
      widths_[i] = std::numeric_limits<double>::quiet_NaN();
    }
  }
}

}  // namespace hieron
