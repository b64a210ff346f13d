#include "hieron/merge/traces/mask_reading.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "hieron/merge/traces/mask_seed.h"

namespace hieron {
namespace {

constexpr double kExplained = 0.95;  // true 0.97 to 1, wrong 0.55 to 0.66 (docs/recovery.md §8)
constexpr double kOverChance = 0.2;  // of what is left to explain
constexpr uint64_t kLeastTelling = 300;
constexpr double kLeastDropped = 0.003;  // of the labels: fewer are wrong ones
constexpr double kSeparated = 0.7;       // kept and dropped by magnitude; random masks: 0 to 0.15
constexpr double kLeastSlope = 0.04, kSlopeErrors = 5;

// Where elements stand in the order of magnitudes, as shares of the tensor: one of the places from
// `first` to `last`, which equal ones share. (The largest of n is at 1/n: it stays from that
// density on.)
struct MagnitudePlaces {
  std::vector<float> first, last;
};

MagnitudePlaces magnitude_places(const StateTensor& tensor, size_t base, size_t model) {
  const auto& x = tensor.whole->values[model];
  const auto& b = tensor.whole->values[base];
  const size_t n = x.size();
  std::vector<std::pair<float, uint32_t>> order(n);
  for (size_t i = 0; i < n; ++i) {
    order[i] = {-std::abs(x[i] - b[i]), static_cast<uint32_t>(i)};
  }
  std::ranges::sort(order);
  MagnitudePlaces places{std::vector<float>(n), std::vector<float>(n)};
  for (size_t i = 0; i < n;) {
    size_t end = i;
    while (end < n && order[end].first == order[i].first) ++end;
    for (size_t j = i; j < end; ++j) {
      places.first[order[j].second] = static_cast<float>(i + 1) / static_cast<float>(n);
      places.last[order[j].second] = static_cast<float>(end) / static_cast<float>(n);
    }
    i = std::max(end, i + 1);
  }
  return places;
}

// Where elements stand in their rows: −1 the smallest, 1 the largest.
std::vector<float> row_tilts(const StateTensor& tensor, size_t base, size_t model) {
  const auto& x = tensor.whole->values[model];
  const auto& b = tensor.whole->values[base];
  const Shape& shape = tensor.whole->shape;
  const size_t n = x.size();
  const size_t row = shape.size() < 2 ? n : std::max<size_t>(1, shape.back());
  std::vector<float> tilts(n, 0);
  std::vector<std::pair<float, uint32_t>> order;
  for (size_t first = 0; first < n; first += row) {
    const size_t length = std::min(row, n - first);
    if (length < 2) continue;
    order.clear();
    for (size_t i = 0; i < length; ++i) {
      // Of equal magnitudes the lower index counts as larger.
      order.emplace_back(std::abs(x[first + i] - b[first + i]), static_cast<uint32_t>(length - i));
    }
    std::ranges::sort(order);
    for (size_t rank = 0; rank < length; ++rank) {
      tilts[first + length - order[rank].second] =
          2 * static_cast<float>(rank) / static_cast<float>(length - 1) - 1;
    }
  }
  return tilts;
}

// One label with the element's place among the others of its tensor.
struct PlacedLabel {
  float first, last;  // see MagnitudePlaces
  float tilt;
  bool kept, fair;
};

std::vector<PlacedLabel> placed_labels(const StateTable& table, size_t k) {
  std::vector<PlacedLabel> placed;
  for (const StateTensor& tensor : table.tensors) {
    const MagnitudePlaces places = magnitude_places(tensor, table.base, table.parents[k]);
    const std::vector<float> tilts = row_tilts(tensor, table.base, table.parents[k]);
    for (size_t i = 0; i < tilts.size(); ++i) {
      const uint8_t label = tensor.labels[k][i];
      if (!(label & MaskLabel::kKnown)) continue;
      placed.push_back({places.first[i], places.last[i], tilts[i], (label & MaskLabel::kKept) != 0,
                        (label & MaskLabel::kFair) != 0});
    }
  }
  std::ranges::sort(placed, {}, &PlacedLabel::first);
  return placed;
}

struct Counts {
  uint64_t kept = 0, dropped = 0;
  uint64_t all() const { return kept + dropped; }
};

Counts count(std::span<const PlacedLabel> labels, bool fair_only) {
  Counts counts;
  for (const PlacedLabel& label : labels) {
    if (fair_only && !label.fair) continue;
    ++(label.kept ? counts.kept : counts.dropped);
  }
  return counts;
}

// The stretch of the order of magnitudes that parts kept and dropped best: the share of the kept
// inside less the share of the dropped inside.
struct Band {
  double first = 0, last = 1, separation = 0;
  double middle() const { return (first + last) / 2; }
};

Band best_band(std::span<const PlacedLabel> labels) {
  const Counts counts = count(labels, false);
  if (counts.kept == 0 || counts.dropped == 0) return {};
  const double gain = 1 / static_cast<double>(counts.kept);
  const double loss = 1 / static_cast<double>(counts.dropped);
  double sum = 0, most = 0;
  size_t start = 0, from = 0, to = 0;
  for (size_t i = 0; i < labels.size(); ++i) {
    if (sum <= 0) {
      sum = 0;
      start = i;
    }
    sum += labels[i].kept ? gain : -loss;
    if (sum > most) {
      most = sum;
      from = start;
      to = i;
    }
  }
  return {labels[from].first, labels[to].first, most};
}

// Where a border behind `start` lies that as few labels as possible contradict.
struct Border {
  Estimate at;
  int64_t wrong = 0, wrong_at_start = 0;  // labels that contradict it
};

// Among equal magnitudes the border is where the labels' shares put it: of those before it, as many
// as there are places.
void refine_among_equals(std::span<const PlacedLabel> labels, bool kept_before, Estimate& at) {
  constexpr double kErrors = 4;
  double before = 0, places = 0, offset = 0, variance = 0;
  for (const PlacedLabel& label : labels) {
    const double length = label.last - label.first;
    if (!label.fair || !(length > 0) || !(label.first < at.value && at.value < label.last))
      continue;
    before += label.kept == kept_before;
    places += 1 / length;
    offset += label.first / length;
    const double share = (at.value - label.first) / length;
    variance += share * (1 - share);
  }
  constexpr double kFew = 10;
  if (variance < kFew) return;
  const double value = std::clamp((before + offset) / places, at.low, at.high);
  const double off = kErrors * std::sqrt(variance) / places;
  at = {value, std::max(at.low, value - off), std::min(at.high, value + off)};
}

// Before it stand the kept ones or the dropped ones.
Border border(std::span<const PlacedLabel> labels, bool kept_before, double start) {
  std::vector<std::pair<float, int>> steps;  // what the number of contradictions changes by
  int64_t wrong = 0;
  for (const PlacedLabel& label : labels) {
    if (label.kept == kept_before) {
      ++wrong;  // until the border has passed it
      steps.emplace_back(label.first, -1);
    } else {
      steps.emplace_back(label.last, +1);
    }
  }
  std::ranges::sort(steps);
  int64_t least = wrong, now = wrong;
  for (const auto& [at, step] : steps) least = std::min(least, now += step);
  const int64_t enough = least + 2 + least / 5;
  Border found{{start, 1, start}, least, wrong};
  now = wrong;
  double best_low = start, best_high = start, from = start;
  const auto region = [&](double to) {
    if (now <= enough) {
      found.at.low = std::min(found.at.low, from);
      found.at.high = std::max(found.at.high, to);
    }
    if (now == least) {
      if (best_high == start) best_low = from;
      best_high = to;
    }
    from = to;
  };
  for (const auto& [at, step] : steps) {
    region(at);
    now += step;
  }
  region(1);
  found.at.value = (best_low + best_high) / 2;
  for (int round = 0; round < 2; ++round) refine_among_equals(labels, kept_before, found.at);
  return found;
}

// The labels of the larger magnitudes, and of the smaller ones.
std::span<const PlacedLabel> above(std::span<const PlacedLabel> labels, double middle) {
  const auto end = std::ranges::partition_point(
      labels, [&](const PlacedLabel& label) { return label.first < middle; });
  return {labels.begin(), end};
}
std::span<const PlacedLabel> below(std::span<const PlacedLabel> labels, double middle) {
  return labels.subspan(above(labels, middle).size());
}

// Are the largest dropped?
bool drops_outliers(std::span<const PlacedLabel> labels, const Band& band) {
  constexpr int64_t kLeast = 5;
  const Border top = border(above(labels, band.middle()), false, 0);
  return top.wrong_at_start >= top.wrong + kLeast && top.wrong_at_start > 3 * top.wrong;
}

// `smallest`: elements of the smallest tensor. Both shares of it are rounded down.
void read_magnitudes(std::span<const PlacedLabel> labels, const Band& band, bool outliers,
                     size_t smallest, ParentMask& mask) {
  const double middle = band.middle();
  const Estimate end = border(below(labels, middle), true, middle).at;
  mask.density = end;
  if (!outliers) return;
  mask.gamma = border(above(labels, middle), false, 0).at;
  mask.gamma.high = std::min(mask.gamma.high, middle);
  const double one = 1 / static_cast<double>(smallest);
  mask.density = {end.value - mask.gamma.value, end.low - mask.gamma.high,
                  end.high + one - mask.gamma.low};
}

// kept = density + epsilon·tilt, by least squares over the fair labels.
struct Slope {
  double density = 0, density_error = 1, epsilon = 0, epsilon_error = 1;
};

Slope slope_of(std::span<const PlacedLabel> labels) {
  double n = 0, t = 0, tt = 0, y = 0, ty = 0;
  for (const PlacedLabel& label : labels) {
    if (!label.fair) continue;
    n += 1;
    t += label.tilt;
    tt += static_cast<double>(label.tilt) * label.tilt;
    y += label.kept;
    ty += label.kept ? label.tilt : 0;
  }
  const double determinant = n * tt - t * t;
  if (n < 10 || !(determinant > 1e-6 * n * n)) return {};
  const double epsilon = (n * ty - t * y) / determinant;
  const double density = (y - epsilon * t) / n;
  const double share = y / n, variance = std::max(1e-4, share * (1 - share));
  return {density, std::sqrt(variance * tt / determinant), epsilon,
          std::sqrt(variance * n / determinant)};
}

void read_random(std::span<const PlacedLabel> labels, bool ranked, ParentMask& mask) {
  constexpr double kErrors = 3.5, kLeast = 0.004;
  const auto estimate = [=](double value, double error) {
    const double off = std::max(kLeast, kErrors * error);
    return Estimate{value, value - off, value + off};
  };
  const Slope slope = slope_of(labels);
  if (ranked) {
    mask.density = estimate(slope.density, slope.density_error);
    mask.epsilon = estimate(slope.epsilon, slope.epsilon_error);
    return;
  }
  const Counts fair = count(labels, true);
  const double n = std::max<double>(1, static_cast<double>(fair.all()));
  const double share = static_cast<double>(fair.kept) / n;
  mask.density = estimate(share, std::sqrt(std::max(1e-4, share * (1 - share)) / n));
}

void read_family(MaskReading& reading) {
  const size_t parents = reading.states.parents.size();
  std::vector<std::vector<PlacedLabel>> labels;
  std::vector<Band> bands;
  reading.masks.resize(parents);
  double separated = 0, weight = 0;
  bool outliers = false, ranked = false;
  for (size_t k = 0; k < parents; ++k) {
    labels.push_back(placed_labels(reading.states, k));
    bands.push_back(best_band(labels[k]));
    const Counts all = count(labels[k], false), fair = count(labels[k], true);
    const auto share = [](const Counts& c) {
      return static_cast<double>(c.dropped) / std::max<double>(1, static_cast<double>(c.all()));
    };
    const bool apart = bands[k].separation >= kSeparated && all.dropped >= 5;
    reading.masks[k].masked = apart || share(fair) >= kLeastDropped;
    if (!reading.masks[k].masked) continue;
    const double n = static_cast<double>(all.all());
    separated += n * bands[k].separation;
    weight += n;
    outliers = outliers || drops_outliers(labels[k], bands[k]);
    const Slope slope = slope_of(labels[k]);
    ranked = ranked ||
             (slope.epsilon > kLeastSlope && slope.epsilon > kSlopeErrors * slope.epsilon_error);
  }
  if (weight == 0) return;
  const bool by_magnitude = separated >= kSeparated * weight;
  reading.family = by_magnitude ? (outliers ? MaskFamily::kOutliers : MaskFamily::kMagnitude)
                                : (ranked ? MaskFamily::kRanked : MaskFamily::kRandom);
  size_t smallest = SIZE_MAX;
  for (const StateTensor& tensor : reading.states.tensors) {
    smallest = std::min(smallest, tensor.whole->elements());
  }
  for (size_t k = 0; k < parents; ++k) {
    if (!reading.masks[k].masked) continue;
    if (by_magnitude) {
      read_magnitudes(labels[k], bands[k], outliers, smallest, reading.masks[k]);
    } else {
      read_random(labels[k], ranked, reading.masks[k]);
    }
  }
}

// What rescaling makes of the changes of a tensor of which a stretch of the order of magnitudes is
// kept.
double rescaling(const StateTable& states, const StateTensor& tensor, size_t k, double gamma,
                 double density) {
  const auto& x = tensor.whole->values[states.parents[k]];
  const auto& b = tensor.whole->values[states.base];
  std::vector<float> sizes(x.size());
  for (size_t i = 0; i < x.size(); ++i) sizes[i] = std::abs(x[i] - b[i]);
  std::ranges::sort(sizes, std::ranges::greater{});
  const double n = static_cast<double>(sizes.size());
  const auto first = static_cast<ptrdiff_t>(std::clamp(gamma, 0.0, 1.0) * n);
  const auto last = static_cast<ptrdiff_t>(std::clamp(gamma + density, 0.0, 1.0) * n);
  const double all = std::accumulate(sizes.begin(), sizes.end(), 0.0);
  const double kept = std::accumulate(sizes.begin() + first, sizes.begin() + last, 0.0);
  return kept > 0 ? all / kept : 1;
}

// a_k over all tensors, and what it is before rescaling where the mask is known from magnitudes.
void read_products(MaskReading& reading) {
  const bool known =
      reading.family == MaskFamily::kMagnitude || reading.family == MaskFamily::kOutliers;
  for (size_t k = 0; k < reading.masks.size(); ++k) {
    ParentMask& mask = reading.masks[k];
    double sum = 0, sum_rescaled = 0, weight = 0, vague = 0, least = INFINITY;
    for (const StateTensor& tensor : reading.states.tensors) {
      if (!(tensor.errors[k] > 0)) continue;
      const double w = 1 / (tensor.errors[k] * tensor.errors[k]);
      double factor = 1;
      if (known && mask.masked) {
        const auto at = [&](double density) {
          return rescaling(reading.states, tensor, k, mask.gamma.value, density);
        };
        const double low = at(mask.density.low), high = at(mask.density.high);
        factor = (low + high) / 2;
        vague = std::max(vague, std::abs(low - high) / factor);
      }
      sum += w * tensor.factors[k];
      sum_rescaled += w * tensor.factors[k] / factor;
      weight += w;
      least = std::min(least, tensor.errors[k]);
    }
    if (weight == 0) continue;
    mask.product = sum / weight;
    mask.product_rescaled = sum_rescaled / weight;
    mask.error = least;  // tensors err the same way
    mask.error_rescaled = std::hypot(mask.error, vague / 4 * mask.product_rescaled);
  }
}

// Of the same changes seen from both ends: masks that keep the small ones are no one's.
bool implausible(const MaskReading& reading) {
  return std::ranges::any_of(reading.masks,
                             [](const ParentMask& mask) { return mask.gamma.low > 0.5; });
}

}  // namespace

std::string_view name(MaskFamily family) {
  constexpr std::array<std::string_view, 5> kNames{"none", "magnitude", "outliers", "random",
                                                   "ranked"};
  return kNames[static_cast<size_t>(family)];
}

std::shared_ptr<const MaskReading> read_masks(const Evidence& evidence) {
  if (evidence.masks) return *evidence.masks;
  std::vector<MaskReading> readings;
  for (StateTable& table : find_states(evidence)) {
    MaskReading& reading = readings.emplace_back();
    reading.states = std::move(table);
    read_family(reading);
    read_products(reading);
  }
  std::ranges::stable_sort(readings, {}, implausible);
  for (MaskReading& reading : readings) {
    const bool random =
        reading.family == MaskFamily::kRandom || reading.family == MaskFamily::kRanked;
    if (!random || reading.states.explained() < kExplained) break;
    find_seed(evidence, reading);
    if (!reading.seed) continue;
    std::swap(reading, readings.front());
    break;
  }
  evidence.masks.emplace(nullptr);
  if (!readings.empty()) {
    evidence.masks = std::make_shared<const MaskReading>(std::move(readings.front()));
  }
  return *evidence.masks;
}

namespace {

// More than there is by chance.
bool beyond_chance(const StateTable& states) {
  const double by_chance = states.by_chance();
  return states.explained() >= by_chance + kOverChance * (1 - by_chance);
}

// Elements in which the suspect alone is not the base.
uint64_t changed_alone(const StateTable& table, const StateTensor& tensor) {
  const auto& values = tensor.whole->values;
  uint64_t count = 0;
  for (size_t i = 0; i < tensor.whole->elements(); ++i) {
    const float base = values[table.base][i];
    const bool alone =
        std::ranges::all_of(table.parents, [&](size_t m) { return values[m][i] == base; });
    count += alone && values[0][i] != base;
  }
  return count;
}

}  // namespace

double masked_share(const Evidence& evidence) {
  const auto reading = read_masks(evidence);
  if (!reading || !beyond_chance(reading->states)) return 0;
  if (std::ranges::none_of(reading->masks, &ParentMask::masked)) return 0;
  uint64_t all = 0, explained = 0;
  for (const StateTensor& tensor : reading->states.tensors) {
    all += tensor.telling + changed_alone(reading->states, tensor);
    explained += tensor.explained;
  }
  return all ? static_cast<double>(explained) / static_cast<double>(all) : 0;
}

std::optional<MaskEstimate> mask_estimate(const Evidence& evidence) {
  const auto reading = read_masks(evidence);
  if (!reading || reading->family == MaskFamily::kNone) return std::nullopt;
  const StateTable& states = reading->states;
  MaskEstimate found{.family = reading->family,
                     .base = states.base,
                     .parents = {},
                     .elected = states.elected.value_or(false),
                     .explained = states.explained(),
                     .by_chance = states.by_chance(),
                     .tensors = states.tensors.size(),
                     .elements = 0};
  for (const StateTensor& tensor : states.tensors) found.elements += tensor.telling;
  if (found.elements < kLeastTelling || found.explained < kExplained || !beyond_chance(states)) {
    return std::nullopt;
  }
  for (size_t k = 0; k < states.parents.size(); ++k) {
    const ParentMask& mask = reading->masks[k];
    found.parents.push_back({states.parents[k], mask.product, mask.masked ? mask.density.value : 1,
                             mask.gamma.value, mask.epsilon.value});
  }
  return found;
}

}  // namespace hieron
