#include "hieron/merge/traces/drawn_masks.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "hieron/merge/mergekit/random_masks.h"
#include "hieron/merge/mergekit/torch_sort.h"
#include "hieron/merge/traces/decimals.h"

namespace hieron {
namespace {

double rounded(DType dtype, double x) { return decode(dtype, encode(dtype, x)); }

std::vector<float> changes_of(const MaskReading& reading, const StateTensor& tensor, size_t k,
                              DType working) {
  const auto& x = tensor.whole->values[reading.states.parents[k]];
  const auto& b = tensor.whole->values[reading.states.base];
  std::vector<float> d(x.size());
  for (size_t i = 0; i < d.size(); ++i) {
    d[i] = static_cast<float>(rounded(working, static_cast<double>(x[i]) - b[i]));
  }
  return d;
}

std::vector<uint32_t> ranks_of(const Drawing& drawing, std::span<const float> d, size_t length) {
  std::vector<uint32_t> ranks(d.size());
  for (size_t first = 0; first < d.size(); first += length) {
    const auto row = d.subspan(first, std::min(length, d.size() - first));
    std::vector<uint32_t> order;
    if (drawing.torch) {
      order = mergekit::sorted_indices(row);
    } else {
      order.resize(row.size());
      std::iota(order.rbegin(), order.rend(),
                0u);  // of equal ones the lower index counts as larger
      std::ranges::stable_sort(order, {}, [&](uint32_t i) { return std::abs(row[i]); });
    }
    for (uint32_t rank = 0; rank < order.size(); ++rank) ranks[first + order[rank]] = rank;
  }
  return ranks;
}

uint64_t wrong(std::span<const DrawnMask> masks, double density, double epsilon) {
  uint64_t count = 0;
  for (const DrawnMask& mask : masks) count += mask.wrong(density, epsilon);
  return count;
}

// Fits density and epsilon of one parent to its drawn masks.
class DensityFit {
 public:
  explicit DensityFit(std::span<const DrawnMask> masks)
      : masks_(masks), ranked_(masks.front().drawing.ranked) {}

  // Labels that even the best contradict.
  uint64_t operator()(ParentMask& mask) {
    constexpr double kSpread = 0.01;
    try_all({mask.density.low - kSpread, mask.density.high + kSpread},
            {mask.epsilon.low - kSpread, mask.epsilon.high + kSpread}, 2);
    if (!settled()) {
      constexpr double kNear = 0.012;
      const Tried start =
          tried_.empty() ? Tried{mask.density.value, mask.epsilon.value, 0, 0} : best();
      const Span densities = ranked_
                                 ? Span{start.density - kNear, start.density + kNear}
                                 : Span{mask.density.low - kSpread, mask.density.high + kSpread};
      try_all(densities, {start.epsilon - kNear, start.epsilon + kNear}, 3);
    }
    if (tried_.empty()) return UINT64_MAX;
    const Tried chosen = best();
    mask.density = {chosen.density, chosen.density, chosen.density};
    if (ranked_) mask.epsilon = {chosen.epsilon, chosen.epsilon, chosen.epsilon};
    for (const Tried& t : tried_) {
      if (t.wrong > chosen.wrong) continue;
      mask.density.low = std::min(mask.density.low, t.density);
      mask.density.high = std::max(mask.density.high, t.density);
      if (!ranked_) continue;
      mask.epsilon.low = std::min(mask.epsilon.low, t.epsilon);
      mask.epsilon.high = std::max(mask.epsilon.high, t.epsilon);
    }
    return chosen.wrong;
  }

 private:
  struct Tried {
    double density, epsilon;
    uint64_t wrong;
    int digits;
  };
  struct Span {
    double low, high;
  };

  // Decimals of up to `digits`.
  void try_all(Span densities, Span epsilons, int digits) {
    for (const Decimal& p : decimals_within(densities.low, densities.high, digits, kMostTried)) {
      if (!(p.value() > 0 && p.value() < 1)) continue;
      if (!ranked_) {
        try_out(p.value(), 0, p.digits);
        continue;
      }
      for (const Decimal& e : decimals_within(epsilons.low, epsilons.high, digits, kMostTried)) {
        const bool possible = p.value() - e.value() > 0 && p.value() + e.value() < 1;
        if (e.value() > 0 && possible) try_out(p.value(), e.value(), p.digits + e.digits);
      }
    }
  }

  void try_out(double density, double epsilon, int digits) {
    tried_.push_back({density, epsilon, wrong(masks_, density, epsilon), digits});
  }

  const Tried& best() const {
    return *std::ranges::min_element(tried_, [](const Tried& a, const Tried& b) {
      return a.wrong != b.wrong ? a.wrong < b.wrong : a.digits < b.digits;
    });
  }

  // Does a decimal of two digits leave nearly nothing to better?
  bool settled() const {
    if (tried_.empty()) return false;
    size_t labels = 0;
    for (const DrawnMask& mask : masks_) labels += mask.labels->known.size();
    return static_cast<double>(best().wrong) < 2e-4 * static_cast<double>(labels);
  }

  static constexpr size_t kMostTried = 400;
  std::span<const DrawnMask> masks_;
  bool ranked_;
  std::vector<Tried> tried_;
};

}  // namespace

LabelledMask labelled(const StateTensor& tensor, const MaskReading& reading, size_t k,
                      const Drawing& drawing) {
  LabelledMask mask{.tensor = &tensor, .parent = k, .ranks = {}, .known = {}};
  if (drawing.ranked) {
    const Shape& shape = tensor.whole->shape;
    const size_t n = tensor.whole->elements();
    mask.length = shape.size() < 2 ? n : std::max<size_t>(1, shape.back());
    mask.ranks = ranks_of(drawing, changes_of(reading, tensor, k, drawing.working), mask.length);
  }
  for (size_t i = 0; i < tensor.labels[k].size(); ++i) {
    if (tensor.labels[k][i] & MaskLabel::kKnown) mask.known.push_back(static_cast<uint32_t>(i));
  }
  return mask;
}

std::vector<float> chances(const Drawing& drawing, size_t length, double density, double epsilon) {
  if (!drawing.ranked) {
    return {drawing.torch ? mergekit::dare_probability(density, drawing.working)
                          : static_cast<float>(density)};
  }
  std::vector<float> p(length);
  std::iota(p.begin(), p.end(), 0.0f);
  if (drawing.torch && length > 1) {
    return mergekit::della_probabilities(p, {length}, density, epsilon, drawing.working);
  }
  const double step = length > 1 ? 2 * epsilon / static_cast<double>(length - 1) : 0;
  for (float& x : p) x = static_cast<float>((length > 1 ? density - epsilon : density) + step * x);
  return p;
}

std::vector<MaskObservation> observations(const LabelledMask& labels, const Drawing& drawing,
                                          const ParentMask& mask,
                                          std::span<const uint32_t> elements) {
  const std::vector<float> by_rank =
      chances(drawing, labels.length, mask.density.value, mask.epsilon.value);
  std::vector<float> probabilities(labels.ranks.empty() ? 1 : labels.ranks.size(), by_rank[0]);
  std::vector<mergekit::SeenElement> seen;
  for (const uint32_t i : elements) {
    if (!labels.ranks.empty()) probabilities[i] = by_rank[labels.ranks[i]];
    seen.push_back({i, labels.kept(i)});
  }
  return mergekit::mask_observations(seen, probabilities, 0);
}

int64_t most_wrong(std::span<const MaskObservation> seen, double bits) {
  int64_t wrong = -1;
  while (wrong + 1 < static_cast<int64_t>(seen.size()) &&
         against_chance(seen, static_cast<uint32_t>(wrong + 1)) >= bits) {
    ++wrong;
  }
  return wrong;
}

uint64_t fit_density(std::span<const DrawnMask> masks, ParentMask& mask) {
  return DensityFit(masks)(mask);
}

void fit_product(std::span<const DrawnMask> masks, const MaskReading& reading, size_t k,
                 ParentMask& mask) {
  double sum = 0, weight = 0, least = std::numeric_limits<double>::infinity();
  for (const DrawnMask& drawn : masks) {
    const StateTensor& tensor = *drawn.labels->tensor;
    if (!(tensor.errors[k] > 0)) continue;
    const DType working = drawn.drawing.torch ? drawn.drawing.working : DType::kF32;
    const std::vector<float> d = changes_of(reading, tensor, k, working);
    const std::vector<float> p = drawn.by_rank(mask.density.value, mask.epsilon.value);
    double all = 0, kept = 0;
    for (size_t i = 0; i < d.size(); ++i) {
      all += std::abs(d[i]);
      kept += drawn.drawn[i] < p[drawn.labels->rank(i)] ? std::abs(d[i]) : 0;
    }
    if (!(kept > 0)) continue;
    const double factor = rounded(working, rounded(working, all) / rounded(working, kept));
    const double w = 1 / (tensor.errors[k] * tensor.errors[k]);
    sum += w * tensor.factors[k] / factor;
    weight += w;
    least = std::min(least, tensor.errors[k] / factor);
  }
  if (weight == 0) return;
  mask.product_rescaled = sum / weight;
  mask.error_rescaled = least;
}

MaskReading as_ranked(MaskReading reading) {
  constexpr double kDensityOff = 0.03;
  constexpr Estimate kEpsilons{0.05, 0.01, 0.2};
  reading.family = MaskFamily::kRanked;
  for (ParentMask& mask : reading.masks) {
    if (!mask.masked) continue;
    mask.epsilon = kEpsilons;
    mask.density.low = std::max(0.0, mask.density.value - kDensityOff);
    mask.density.high = std::min(1.0, mask.density.value + kDensityOff);
  }
  return reading;
}

}  // namespace hieron
