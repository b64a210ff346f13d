#include "hieron/merge/traces/state_pursuit.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

namespace hieron {
namespace {

constexpr double kTelling = 16;      // cells that a change must be wide to tell states apart
constexpr double kLeastTelling = 4;  // where few are that wide
constexpr size_t kEnoughTelling = 500;

// docs/recovery.md §8: true parents .17 to .99, shuffled ones .004 to .02.
constexpr double kTimesNull = 2.5, kOverNull = 0.02;
constexpr double kLeastGain = 0.004;  // of all elements, for a parent to stay
constexpr double kSameFactor = 0.3;   // a parent's factors differ by less from tensor to tensor
constexpr double kDenseStart = 0.25;  // share of a fit that is worth starting from
constexpr double kNoWeight = 0.02;
constexpr double kNoShare = 0.01;  // of an average

constexpr double kStretch = 16;  // factors beyond the range that depth() looks at

}  // namespace

SampledTensor sample_of(const std::shared_ptr<const WholeTensor>& whole, size_t base,
                        std::span<const size_t> candidates, size_t limit) {
  SampledTensor sample{.whole = whole,
                       .elements = {},
                       .low = {},
                       .high = {},
                       .width = {},
                       .changes = {},
                       .telling = kTelling};
  const SeenChanges seen(*whole, base);
  const std::span<const float> b = whole->values[base];
  std::vector<float> leverage(seen.size());
  for (size_t i = 0; i < seen.size(); ++i) {
    double widest = 0;
    for (const size_t m : candidates) {
      widest = std::max(widest, std::abs(static_cast<double>(whole->values[m][i]) - b[i]));
    }
    leverage[i] = static_cast<float>(widest / seen.width(i));  // NaN stays
  }
  const auto telling = [&](double least) {
    return static_cast<size_t>(
        std::ranges::count_if(leverage, [least](float x) { return x >= least; }));
  };
  while (sample.telling > kLeastTelling && telling(sample.telling) < kEnoughTelling) {
    sample.telling /= 2;
  }
  const size_t step = std::max<size_t>(1, (telling(sample.telling) + limit - 1) / limit);
  size_t number = 0;
  for (size_t i = 0; i < seen.size(); ++i) {
    if (!(leverage[i] >= sample.telling) || number++ % step != 0) continue;
    sample.elements.push_back(i);
    sample.low.push_back(seen.low(i));
    sample.high.push_back(seen.high(i));
    sample.width.push_back(seen.width(i));
  }
  for (const size_t m : candidates) {
    auto& d = sample.changes.emplace_back();
    for (const size_t i : sample.elements) {
      d.push_back(static_cast<double>(whole->values[m][i]) - b[i]);
    }
  }
  return sample;
}

Pursuit::Range Pursuit::Range::anywhere() { return {kStretch * kAlphaMin, kStretch * kAlphaMax}; }

Pursuit::Range Pursuit::Range::around(double factor, double spread) {
  const double a = factor * (1 + spread), b = factor / (1 + spread);
  return {std::min(a, b), std::max(a, b)};
}

double Pursuit::Gain::worth() const { return covered - kTimesNull * by_chance; }

Pursuit::Pursuit(std::span<const SampledTensor> tensors, size_t candidates, double rounding)
    : tensors_(tensors), candidates_(candidates), rounding_(rounding) {
  factors_.resize(tensors.size());
  settle();
}

void Pursuit::pursue() {
  while (parents_.size() < States::kMostParents && add_best()) {
  }
  prune();
}

void Pursuit::pursue_average() {
  if (!add_best()) return;
  while (parents_.size() < States::kMostParents && add_to_average()) {
  }
  prune();
}

void Pursuit::start_from(std::span<const SpanFit> fits) {
  const auto share_of = [](const SpanFit& fit) {
    return fit.weights.empty() ? 0 : std::max(fit.one_rounding(), fit.several_roundings());
  };
  const auto strongest = std::ranges::max_element(fits, {}, share_of);
  if (strongest == fits.end() || share_of(*strongest) < kDenseStart) return;
  std::vector<std::pair<double, size_t>> order;
  for (size_t c = 0; c < candidates_; ++c) {
    const double weight = std::abs(strongest->weights[c + 1]);
    if (weight >= kNoWeight) order.emplace_back(-weight, c);
  }
  std::ranges::sort(order);
  order.resize(std::min(order.size(), States::kMostParents));
  for (const auto& [weight, c] : order) parents_.push_back(c);
  for (size_t t = 0; t < tensors_.size(); ++t) {
    const SpanFit& fit = share_of(fits[t]) < kDenseStart ? *strongest : fits[t];
    for (const size_t c : parents_) factors_[t].push_back(fit.weights[c + 1]);
  }
  settle();
}

void Pursuit::set(std::span<const double> factors, const States& states) {
  parents_.resize(candidates_);
  std::iota(parents_.begin(), parents_.end(), size_t{0});
  factors_.assign(tensors_.size(), {factors.begin(), factors.end()});
  states_ = states;
  mark();
}

void Pursuit::place(std::span<const double> expected, double spread, const States& states) {
  std::vector<size_t> order(candidates_);
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::sort(order, std::ranges::greater{}, [&](size_t k) { return std::abs(expected[k]); });
  std::vector<std::vector<double>> placed(tensors_.size(), std::vector<double>(candidates_));
  for (const size_t k : order) {
    parents_.push_back(k);
    for (size_t t = 0; t < tensors_.size(); ++t) {
      parents_.pop_back();
      const Peak found = peak(t, k, Range::around(expected[k], spread), 0);
      parents_.push_back(k);
      placed[t][k] = found.covered ? found.factor : expected[k];
    }
    for (size_t t = 0; t < tensors_.size(); ++t) factors_[t].push_back(placed[t][k]);
    states_ = {.parents = parents_.size()};
    mark();
  }
  set(expected, states);
  factors_ = placed;
  mark();
}

double Pursuit::by_chance() const {
  uint64_t count = 0;
  for (size_t t = 0; t < tensors_.size(); ++t) {
    const size_t n = tensors_[t].size();
    for (size_t i = 0; i < n; ++i) count += in_a_state(t, i, (i + n / 2) % n);
  }
  return share(count);
}

double Pursuit::share(uint64_t count) const {
  return total_ ? static_cast<double>(count) / static_cast<double>(total_) : 0;
}

// Is the suspect's change at `seen` in a state of the changes at `i`?
bool Pursuit::in_a_state(size_t t, size_t i, size_t seen) const {
  const SampledTensor& tensor = tensors_[t];
  std::array<double, States::kMostParents> scaled{};
  for (size_t k = 0; k < parents_.size(); ++k) {
    scaled[k] = factors_[t][k] * tensor.changes[parents_[k]][i];
  }
  std::array<double, States::kMost> y{}, size{};
  states_.predict(scaled, y, size);
  for (size_t state = 0; state < states_.count(); ++state) {
    const double slack = rounding_ * size[state];
    if (y[state] >= tensor.low[seen] - slack && y[state] <= tensor.high[seen] + slack) return true;
  }
  return false;
}

// Does one parent's change alone explain the element?
bool Pursuit::alone(size_t t, size_t i) const {
  const SampledTensor& tensor = tensors_[t];
  for (size_t k = 0; k < parents_.size(); ++k) {
    const double y = factors_[t][k] * tensor.changes[parents_[k]][i];
    const double slack = rounding_ * std::abs(y);
    if (y >= tensor.low[i] - slack && y <= tensor.high[i] + slack) return true;
  }
  return false;
}

// Which elements are explained, by the mixing that explains more.
void Pursuit::settle() {
  states_ = {.parents = parents_.size()};
  mark();
  if (parents_.size() < 2) return;
  const auto weights = average_weights();
  if (!weights) return;
  const uint64_t by_sum = explained_;
  states_ = {.parents = parents_.size(), .mixing = Mixing::kAverage, .weights = *weights};
  mark();
  if (explained_ > by_sum) return;
  states_ = {.parents = parents_.size()};
  mark();
}

void Pursuit::mark() {
  open_.assign(tensors_.size(), {});
  explained_ = total_ = 0;
  for (size_t t = 0; t < tensors_.size(); ++t) {
    for (size_t i = 0; i < tensors_[t].size(); ++i) {
      const bool explained = in_a_state(t, i, i);
      explained_ += explained;
      open_[t].push_back(!explained);
    }
    total_ += tensors_[t].size();
  }
}

// Weights of an average, from pairs of parents that stay together.
std::optional<std::vector<double>> Pursuit::average_weights() const {
  std::vector<double> weights{1};
  for (size_t k = 1; k < parents_.size(); ++k) {
    Peak best;
    size_t partner = 0;
    for (size_t j = 0; j < k; ++j) {
      const Peak peak = pair_peak(k, j);
      if (peak.covered > best.covered) {
        best = peak;
        partner = j;
      }
    }
    if (!(best.factor > kNoShare && best.factor < 1 - kNoShare)) return std::nullopt;
    weights.push_back(weights[partner] * best.factor / (1 - best.factor));
  }
  const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
  for (double& w : weights) w /= sum;
  return weights;
}

// rho in y = rho·a_k·d_k + (1 − rho)·a_j·d_j, of changes of the same sign.
Pursuit::Peak Pursuit::pair_peak(size_t k, size_t j) const {
  std::vector<AlphaInterval> intervals;
  for (size_t t = 0; t < tensors_.size(); ++t) {
    const SampledTensor& tensor = tensors_[t];
    for (size_t i = 0; i < tensor.size(); ++i) {
      const double first = factors_[t][k] * tensor.changes[parents_[k]][i];
      const double second = factors_[t][j] * tensor.changes[parents_[j]][i];
      const double apart = first - second;
      if (!(first * second > 0) || !(std::abs(apart) >= kLeastTelling * tensor.width[i])) continue;
      if (alone(t, i)) continue;
      const double slack = rounding_ * std::abs(tensor.middle(i));
      add_interval((tensor.low[i] - slack - second) / apart,
                   (tensor.high[i] + slack - second) / apart, {0, 1}, intervals);
    }
  }
  return peak_of(intervals);
}

// The factor that explains most of a tensor's open elements together with what is known of the
// other parents. `shift`: the candidate's changes are those of other elements, for comparison.
Pursuit::Peak Pursuit::peak(size_t t, size_t candidate, Range range, size_t shift) const {
  const SampledTensor& tensor = tensors_[t];
  const size_t n = tensor.size();
  const States sum{.parents = parents_.size()};
  std::vector<AlphaInterval> intervals;
  std::array<double, States::kMostParents> scaled{};
  std::array<double, States::kMost> y{}, size{};
  uint64_t possible = 0;
  for (size_t i = 0; i < n; ++i) {
    if (!open_[t][i]) continue;
    const double d = tensor.changes[candidate][(i + shift) % n];
    if (!(std::abs(d) >= tensor.telling * tensor.width[i])) continue;
    ++possible;
    for (size_t k = 0; k < parents_.size(); ++k) {
      scaled[k] = factors_[t][k] * tensor.changes[parents_[k]][i];
    }
    sum.predict(scaled, y, size);
    for (size_t state = 0; state < sum.count(); ++state) {
      const double slack = rounding_ * (std::abs(tensor.middle(i) - y[state]) + size[state]);
      add_interval((tensor.low[i] - slack - y[state]) / d, (tensor.high[i] + slack - y[state]) / d,
                   range, intervals);
    }
  }
  Peak found = peak_of(intervals);
  found.possible = possible;
  return found;
}

Pursuit::Gain Pursuit::gain_of(size_t candidate) const {
  Gain gain;
  Peak strongest;
  for (size_t t = 0; t < tensors_.size(); ++t) {
    const Peak found = peak(t, candidate, Range::anywhere(), 0);
    if (found.covered > strongest.covered) strongest = found;
  }
  for (size_t t = 0; t < tensors_.size(); ++t) {
    // Rescaled to its norm, a tensor of which little changed has a factor of its own.
    Gain near = gain_in(t, candidate, Range::around(strongest.factor, kSameFactor));
    const Gain far = gain_in(t, candidate, Range::anywhere());
    if (near.covered == 0) near.factors[0] = strongest.factor;
    const Gain& best = far.worth() > near.worth() ? far : near;
    gain.factors.push_back(best.factors[0]);
    gain.covered += best.covered;
    gain.by_chance += best.by_chance;
    gain.possible += best.possible;
  }
  return gain;
}

Pursuit::Gain Pursuit::gain_in(size_t t, size_t candidate, Range range) const {
  const Peak found = peak(t, candidate, range, 0);
  const Peak null = peak(t, candidate, range, tensors_[t].size() / 2);
  return {{found.factor},
          static_cast<double>(found.covered),
          static_cast<double>(null.covered),
          static_cast<double>(found.possible)};
}

bool Pursuit::add_best() {
  Gain best;
  size_t chosen = candidates_;
  for (size_t c = 0; c < candidates_; ++c) {
    if (std::ranges::find(parents_, c) != parents_.end()) continue;
    Gain gain = gain_of(c);
    if (gain.worth() <= best.worth()) continue;
    best = std::move(gain);
    chosen = c;
  }
  const double least = kLeastGain * static_cast<double>(total_);
  if (chosen == candidates_ || best.worth() <= kOverNull * best.possible || best.covered < least) {
    return false;
  }
  const uint64_t before = explained_;
  parents_.push_back(chosen);
  for (size_t t = 0; t < tensors_.size(); ++t) factors_[t].push_back(best.factors[t]);
  settle();
  if (static_cast<double>(explained_) >= static_cast<double>(before) + least) return true;
  remove(parents_.size() - 1);
  return false;
}

bool Pursuit::add_to_average() {
  Pursuit best = *this;
  for (size_t c = 0; c < candidates_; ++c) {
    if (std::ranges::find(parents_, c) != parents_.end()) continue;
    Pursuit more = *this;
    more.parents_.push_back(c);
    for (auto& factors : more.factors_) factors.push_back(factors[0]);
    more.settle();
    if (more.explained_ > best.explained_) best = std::move(more);
  }
  const double gained = best.explained() - explained();
  const double by_luck = std::max(0.0, best.by_chance() - by_chance());
  if (gained <= kTimesNull * by_luck + kOverNull) return false;
  *this = std::move(best);
  return true;
}

void Pursuit::remove(size_t k) {
  parents_.erase(parents_.begin() + static_cast<ptrdiff_t>(k));
  for (auto& factors : factors_) factors.erase(factors.begin() + static_cast<ptrdiff_t>(k));
  settle();
}

// Parents that the later ones made superfluous.
void Pursuit::prune() {
  for (size_t k = 0; k < parents_.size() && parents_.size() > 1;) {
    Pursuit without = *this;
    without.remove(k);
    if (explained() - without.explained() >= kLeastGain) {
      ++k;
    } else {
      remove(k);
    }
  }
}

void Pursuit::add_interval(double a, double b, Range range, std::vector<AlphaInterval>& intervals) {
  if (a > b) std::swap(a, b);
  if (!(b >= range.low && a <= range.high)) return;
  intervals.push_back({a / kStretch, b / kStretch, kTelling});
}

Pursuit::Peak Pursuit::peak_of(std::span<const AlphaInterval> intervals) {
  const Depth found = depth(intervals, 0);
  return {found.alpha() * kStretch, found.covered, found.informative};
}

}  // namespace hieron
