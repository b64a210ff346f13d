#include "hieron/fit/depth.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace hieron {
namespace {

struct Event {
  double alpha;
  int step;  // +1 an interval opens here (closed ends: before those that close), -1 it closes after
             // here
};

// Events sorted into equal buckets of the range, unsorted inside a bucket.
class Buckets {
 public:
  Buckets(std::span<const AlphaInterval> intervals, double k, uint64_t& informative) {
    size_t kept = 0;
    for (const AlphaInterval& a : intervals) {
      if (a.leverage < k) continue;
      ++informative;
      kept += in_range(a);
    }
    const size_t count = std::clamp<size_t>(kept / 4, 64, 1 << 16);
    scale_ = static_cast<double>(count) / (kAlphaMax - kAlphaMin);
    start_.assign(count + 1, 0);
    const auto each = [&](const auto& use) {
      for (const AlphaInterval& a : intervals) {
        if (a.leverage < k || !in_range(a)) continue;
        use(Event{std::max(a.low, kAlphaMin), +1});
        if (a.high < kAlphaMax) use(Event{a.high, -1});
      }
    };
    each([&](const Event& e) { ++start_[bucket(e.alpha) + 1]; });
    std::partial_sum(start_.begin(), start_.end(), start_.begin());
    events_.resize(start_.back());
    std::vector<size_t> at(start_.begin(), start_.end() - 1);
    each([&](const Event& e) { events_[at[bucket(e.alpha)]++] = e; });
  }

  size_t size() const { return start_.size() - 1; }
  std::span<Event> operator[](size_t b) {
    return std::span(events_).subspan(start_[b], start_[b + 1] - start_[b]);
  }

 private:
  static bool in_range(const AlphaInterval& a) { return a.high >= kAlphaMin && a.low <= kAlphaMax; }
  size_t bucket(double alpha) const {
    const double b = (alpha - kAlphaMin) * scale_;
    return std::min(static_cast<size_t>(std::max(b, 0.0)), start_.size() - 2);
  }

  double scale_ = 1;
  std::vector<size_t> start_;
  std::vector<Event> events_;
};

}  // namespace

Depth depth(std::span<const AlphaInterval> intervals, double k) {
  Depth best;
  Buckets buckets(intervals, k, best.informative);
  // Bound of a bucket: what is open when it begins, and all that opens in it. Buckets are swept
  // from the highest bound down, until no bound exceeds what has been reached.
  std::vector<int64_t> open(buckets.size()), bound(buckets.size());
  int64_t now = 0;
  for (size_t b = 0; b < buckets.size(); ++b) {
    open[b] = bound[b] = now;
    for (const Event& e : buckets[b]) {
      now += e.step;
      bound[b] += e.step > 0;
    }
  }
  std::vector<size_t> order(buckets.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::sort(order, [&](size_t a, size_t b) {
    return bound[a] != bound[b] ? bound[a] > bound[b] : a < b;
  });
  int64_t most = 0;
  size_t where = 0;
  for (const size_t b : order) {
    if (bound[b] < most || (bound[b] == most && b > where) || bound[b] == 0) {
      if (bound[b] < most || bound[b] == 0) break;
      continue;
    }
    const std::span<Event> events = buckets[b];
    std::ranges::sort(events, [](const Event& x, const Event& y) {
      return x.alpha != y.alpha ? x.alpha < y.alpha : x.step > y.step;
    });
    int64_t count = open[b];
    for (size_t i = 0; i < events.size(); ++i) {
      count += events[i].step;
      if (events[i].step < 0 || count < most || (count == most && b >= where)) continue;
      most = count;
      where = b;
      best.low = events[i].alpha;
    }
  }
  best.covered = static_cast<uint64_t>(most);
  // The region ends where the first of the covering intervals does.
  best.high = kAlphaMax;
  for (const AlphaInterval& a : intervals) {
    if (a.leverage >= k && a.low <= best.low && a.high >= best.low)
      best.high = std::min(best.high, a.high);
  }
  if (most == 0) best.low = best.high = 0;
  return best;
}

uint64_t covered_at(std::span<const AlphaInterval> intervals, double k, double alpha) {
  uint64_t count = 0;
  for (const AlphaInterval& a : intervals) {
    count += a.leverage >= k && a.low <= alpha && alpha <= a.high;
  }
  return count;
}

std::vector<double> depth_curve(std::span<const AlphaInterval> intervals, double k,
                                std::span<const double> grid) {
  std::vector<int64_t> steps(grid.size() + 1, 0);
  int64_t informative = 0;
  for (const AlphaInterval& a : intervals) {
    if (a.leverage < k) continue;
    ++informative;
    ++steps[std::ranges::lower_bound(grid, a.low) - grid.begin()];
    --steps[std::ranges::upper_bound(grid, a.high) - grid.begin()];
  }
  std::vector<double> shares(grid.size(), 0);
  int64_t open = 0;
  for (size_t g = 0; g < grid.size(); ++g) {
    open += steps[g];
    if (informative) shares[g] = static_cast<double>(open) / static_cast<double>(informative);
  }
  return shares;
}

double evidence_bits(std::span<const AlphaInterval> intervals, double k, double alpha,
                     double parent_sets_tried) {
  constexpr double kBitsPerMiss = 10;
  double bits = 0;
  double narrowest = 1;
  for (const AlphaInterval& a : intervals) {
    if (a.leverage < k) continue;
    const double width = std::min(1.0, a.high - a.low);
    narrowest = std::min(narrowest, width);
    bits += a.low <= alpha && alpha <= a.high ? -std::log2(width) : -kBitsPerMiss;
  }
  const double alphas_tried = (kAlphaMax - kAlphaMin) / std::max(narrowest, 1e-12);
  return bits - std::log2(alphas_tried) - std::log2(std::max(1.0, parent_sets_tried));
}

}  // namespace hieron
