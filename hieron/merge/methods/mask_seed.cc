#include "hieron/merge/methods/mask_seed.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <deque>
#include <limits>
#include <numeric>
#include <utility>

#include "hieron/core/parallel.h"
#include "hieron/kernels/seed_search.h"
#include "hieron/merge/mergekit/random_masks.h"
#include "hieron/merge/mergekit/torch_random.h"
#include "hieron/merge/mergekit/torch_sort.h"
#include "hieron/merge/methods/decimals.h"
#include "hieron/merge/methods/random_mask.h"

namespace hieron {
namespace {

constexpr uint64_t kOwnSeeds = uint64_t{1} << 20, kSeedsAtOnce = 4096;
constexpr std::array kChosenSeeds{uint64_t{1234567},    uint64_t{12345678},
                                  uint64_t{123456789},  uint64_t{1234567890},
                                  uint64_t{0xBADC0DE},  uint64_t{0xDEADBEEF},
                                  uint64_t{0xCAFEBABE}, uint64_t{0x7FFFFFFF},
                                  uint64_t{0xFFFFFFFF}, UINT64_MAX};

constexpr size_t kWindow = 128;  // elements whose words are looked at first
constexpr double kWindowBits = 20, kProofBits = 60;
constexpr size_t kProofLabels = 4096;
constexpr size_t kFirstLabels = 160, kMostLabels = 4096;
constexpr uint64_t kMostWords = 1u << 16;  // of the stream, before a tensor that is looked at
constexpr double kSearchBits = 50;         // seeds have 32, and a hit needs 40

// Whose random numbers, and what they are compared with.
struct Drawing {
  bool torch, ranked;
  DType working;  // torch's probabilities are rounded to it
};

// The labels of one parent's mask in one tensor.
struct LabelledMask {
  const StateTensor* tensor;
  size_t parent;
  size_t length = 1;            // of a row
  std::vector<uint32_t> ranks;  // in it, by element; empty: nothing depends on them
  std::vector<uint32_t> known;  // elements

  uint32_t rank(size_t element) const { return ranks.empty() ? 0 : ranks[element]; }
  bool kept(size_t element) const {
    return (tensor->labels[parent][element] & MaskLabel::kKept) != 0;
  }
};

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

// Probabilities by rank; one, if nothing depends on it.
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

// The most labels that may be wrong if what is left is to be worth so many bits; −1: it never is.
int64_t most_wrong(std::span<const MaskObservation> seen, double bits) {
  int64_t wrong = -1;
  while (wrong + 1 < static_cast<int64_t>(seen.size()) &&
         against_chance(seen, static_cast<uint32_t>(wrong + 1)) >= bits) {
    ++wrong;
  }
  return wrong;
}

// --- masks once the seed is known: numbers in [0, 1) against probabilities ---

struct DrawnMask {
  const LabelledMask* labels;
  Drawing drawing;
  std::vector<float> drawn;  // by element

  std::vector<float> by_rank(double density, double epsilon) const {
    return chances(drawing, labels->length, density, epsilon);
  }
  uint64_t wrong(double density, double epsilon) const {
    const std::vector<float> p = by_rank(density, epsilon);
    uint64_t count = 0;
    for (const uint32_t i : labels->known) {
      count += (drawn[i] < p[labels->rank(i)]) != labels->kept(i);
    }
    return count;
  }
};

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

// a_k before the mask's rescaling, over tensors whose masks are drawn.
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

// How the labels agree with the masks of a seed that was found.
struct SeedFit {
  uint64_t wrong = 0, labels = 0;

  void add(std::span<const DrawnMask> masks, uint64_t contradicted) {
    wrong += contradicted;
    for (const DrawnMask& mask : masks) labels += mask.labels->known.size();
  }
  double share_wrong() const {
    return labels ? static_cast<double>(wrong) / static_cast<double>(labels) : 0;
  }
};

// The masks as ranked ones: ranks whose slope was too small to be seen, until the seed was known.
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

constexpr double kTooManyWrong = 0.003, kFarFewer = 0.2;  // shares of labels; of such a share

// --- hieron's own masks ---

class OwnSeeds {
 public:
  OwnSeeds(MaskReading& reading, unsigned threads)
      : reading_(reading),
        threads_(threads),
        drawing_{.torch = false,
                 .ranked = reading.family == MaskFamily::kRanked,
                 .working = DType::kF32} {}

  // Any seed worth trying; or this one alone.
  bool find(std::optional<uint64_t> only = {}) {
    choose_window();
    if (window_.size() < kWindow / 4) return false;
    const auto seen = observations(*best_, drawing_, mask(best_->parent), window_);
    const int64_t most = most_wrong(seen, kWindowBits);
    if (most < 0) return false;
    const auto all = observations(*best_, drawing_, mask(best_->parent), proof());
    const int64_t most_of_all = most_wrong_of(all);
    const auto input_drawn_by = [&](uint64_t seed) -> std::optional<size_t> {
      for (size_t input = 0; input <= reading_.masks.size(); ++input) {
        const RandomMask drawn(seed, best_->tensor->whole->name, input);
        if (wrong(drawn, seen, most) > most || wrong(drawn, all, most_of_all) > most_of_all) {
          continue;
        }
        return input;
      }
      return std::nullopt;
    };
    std::optional<uint64_t> seed = only;
    if (!seed) seed = lowest_seed([&](uint64_t s) { return input_drawn_by(s).has_value(); });
    const auto input = seed ? input_drawn_by(*seed) : std::nullopt;
    if (input) settle(*seed, *input);
    return reading_.seed.has_value();
  }

  double share_wrong() const { return fit_.share_wrong(); }

 private:
  const ParentMask& mask(size_t k) const { return reading_.masks[k]; }

  // Of the small ones, then of those that people choose.
  template <typename Fits>
  std::optional<uint64_t> lowest_seed(const Fits& fits) const {
    std::atomic<uint64_t> lowest{kOwnSeeds};
    parallel_for(kOwnSeeds / kSeedsAtOnce, threads_, [&](size_t part) {
      const uint64_t first = part * kSeedsAtOnce;
      for (uint64_t seed = first; seed < std::min(first + kSeedsAtOnce, lowest.load()); ++seed) {
        if (!fits(seed)) continue;
        uint64_t known = lowest;
        while (seed < known && !lowest.compare_exchange_weak(known, seed)) {
        }
      }
    });
    if (lowest < kOwnSeeds) return lowest;
    const auto chosen = std::ranges::find_if(kChosenSeeds, fits);
    return chosen == kChosenSeeds.end() ? std::nullopt : std::optional(*chosen);
  }

  // The parent and the stretch of elements with most labels.
  void choose_window() {
    for (const StateTensor& tensor : reading_.states.tensors) {
      for (size_t k = 0; k < reading_.masks.size(); ++k) {
        if (!mask(k).masked) continue;
        masks_.push_back(labelled(tensor, reading_, k, drawing_));
      }
    }
    for (const LabelledMask& labels : masks_) {
      const auto& known = labels.known;
      for (size_t from = 0, to = 0; from < known.size(); ++from) {
        while (to < known.size() && known[to] - known[from] < kWindow) ++to;
        if (to - from <= window_.size()) continue;
        window_.assign(known.begin() + static_cast<ptrdiff_t>(from),
                       known.begin() + static_cast<ptrdiff_t>(to));
        best_ = &labels;
      }
    }
  }

  std::vector<uint32_t> proof() const {
    std::vector<uint32_t> elements;
    const size_t step = std::max<size_t>(1, best_->known.size() / kProofLabels);
    for (size_t j = 0; j < best_->known.size(); j += step) elements.push_back(best_->known[j]);
    return elements;
  }

  // By halving: there may be thousands.
  static int64_t most_wrong_of(std::span<const MaskObservation> seen) {
    int64_t low = -1, high = static_cast<int64_t>(seen.size());
    while (high - low > 1) {
      const int64_t middle = (low + high) / 2;
      (against_chance(seen, static_cast<uint32_t>(middle)) >= kProofBits ? low : high) = middle;
    }
    return low;
  }

  // Contradicted labels; stops counting above `most`.
  static int64_t wrong(const RandomMask& drawn, std::span<const MaskObservation> seen,
                       int64_t most) {
    if (seen.empty()) return most + 1;
    const uint64_t first = seen.front().word;
    thread_local std::vector<uint32_t> words;
    words.resize(seen.back().word - first + 1);
    drawn.words(first, words);
    int64_t count = 0;
    for (const MaskObservation& o : seen) {
      count += ((words[o.word - first] >> 8) < o.threshold) != o.kept;
      if (count > most) break;
    }
    return count;
  }

  // The inputs of the other parents, the fits.
  void settle(uint64_t seed, size_t input) {
    const size_t parents = reading_.masks.size();
    std::vector<std::optional<size_t>> inputs(parents);
    inputs[best_->parent] = input;
    for (size_t k = 0; k < parents; ++k) {
      if (!mask(k).masked || k == best_->parent) continue;
      inputs[k] = input_of(seed, k, inputs);
      if (!inputs[k]) return;
    }
    MaskSeed found{.seed = seed, .torch = false, .order = {}, .base_at = {}, .bits = kProofBits};
    place(inputs, found);
    for (size_t k = 0; k < parents; ++k) {
      if (!mask(k).masked) continue;
      std::vector<DrawnMask> drawn;
      for (const LabelledMask& labels : masks_) {
        if (labels.parent == k) drawn.push_back(draw(labels, seed, *inputs[k]));
      }
      fit_.add(drawn, DensityFit(drawn)(reading_.masks[k]));
      fit_product(drawn, reading_, k, reading_.masks[k]);
    }
    reading_.seed = std::move(found);
  }

  std::optional<size_t> input_of(uint64_t seed, size_t k,
                                 std::span<const std::optional<size_t>> taken) {
    const LabelledMask* most = nullptr;
    for (const LabelledMask& labels : masks_) {
      if (labels.parent == k && (!most || labels.known.size() > most->known.size())) most = &labels;
    }
    if (!most) return std::nullopt;
    std::optional<size_t> best;
    uint64_t least = UINT64_MAX;
    for (size_t input = 0; input <= reading_.masks.size(); ++input) {
      if (std::ranges::find(taken, std::optional(input)) != taken.end()) continue;
      const uint64_t count =
          draw(*most, seed, input).wrong(mask(k).density.value, mask(k).epsilon.value);
      if (count >= least) continue;
      least = count;
      best = input;
    }
    return best;
  }

  DrawnMask draw(const LabelledMask& labels, uint64_t seed, size_t input) const {
    const WholeTensor& whole = *labels.tensor->whole;
    std::vector<uint32_t> words(whole.elements());
    RandomMask(seed, whole.name, input).words(0, words);
    DrawnMask mask{&labels, drawing_, std::vector<float>(words.size())};
    for (size_t i = 0; i < words.size(); ++i) {
      mask.drawn[i] = static_cast<float>(words[i] >> 8) * 0x1p-24f;
    }
    return mask;
  }

  // Parents that nothing is dropped of take the places that are left, the base the last of them.
  void place(std::span<std::optional<size_t>> inputs, MaskSeed& found) const {
    const size_t parents = inputs.size();
    std::vector<std::optional<size_t>> at(parents + 1);
    for (size_t k = 0; k < parents; ++k) {
      if (inputs[k]) at[*inputs[k]] = k;
    }
    size_t next = 0;
    for (size_t k = 0; k < parents; ++k) {
      if (inputs[k]) continue;
      while (at[next]) ++next;
      at[next] = k;
    }
    for (size_t place = 0; place <= parents; ++place) {
      if (at[place]) {
        found.order.push_back(*at[place]);
      } else if (place < parents) {
        found.base_at = place;
      }
    }
  }

  MaskReading& reading_;
  const unsigned threads_;
  const Drawing drawing_;
  std::vector<LabelledMask> masks_;
  const LabelledMask* best_ = nullptr;
  std::vector<uint32_t> window_;
  SeedFit fit_;
};

// --- torch's ---

class TorchSeeds {
 public:
  TorchSeeds(const Evidence& evidence, MaskReading& reading)
      : evidence_(evidence), reading_(reading) {
    for (size_t k = 0; k < reading.masks.size(); ++k) {
      if (reading.masks[k].masked) masked_.push_back(k);
    }
    // In which dtype mergekit worked decides how probabilities are rounded.
    const DType dtype = reading.states.tensors.front().whole->dtype;
    workings_ = {DType::kF32};
    if (dtype != DType::kF32) workings_.push_back(dtype);
    if (!reading.states.one_rounding) std::ranges::reverse(workings_);
  }

  bool find() {
    if (!evidence_.whole || !evidence_.elements) return false;
    make_sets();
    const auto hit = sets_.empty() ? std::nullopt : search();
    if (!hit) return false;
    const MaskReading before = reading_;
    double wrong = settle(*hit);
    if (before.family != MaskFamily::kRandom || wrong < kTooManyWrong) return true;
    MaskReading random = std::exchange(reading_, as_ranked(before));
    if (settle(*hit) > kFarFewer * wrong) reading_ = std::move(random);
    return true;
  }

 private:
  // A tensor of those that draw, and the word at which it begins.
  struct Place {
    std::shared_ptr<const StateTensor> tensor;
    uint64_t first_word = 0;
  };

  Drawing drawing(DType working) const {
    return {.torch = true, .ranked = reading_.family == MaskFamily::kRanked, .working = working};
  }

  uint64_t words_of(size_t i) const {
    return evidence_.elements(evidence_.drawn[i]) * masked_.size();
  }

  std::shared_ptr<const StateTensor> read(const std::string& name) const {
    const auto whole = evidence_.whole(name);
    if (!whole) return nullptr;
    return std::make_shared<const StateTensor>(read_states(reading_.states, *whole));
  }

  // A set of observations for each parent that may be the first to draw: the first elements of the
  // first tensor, and if they are few or say little, of those that follow.
  void make_sets() {
    sets_.resize(masked_.size());
    uint64_t word = 0;
    for (size_t i = 0; i < evidence_.drawn.size() && word < kMostWords; ++i) {
      const bool enough =
          std::ranges::all_of(sets_, [](const auto& set) { return worth(set) >= kSearchBits; });
      if (enough) return;
      const auto tensor = read(evidence_.drawn[i]);
      if (!tensor) return sets_.clear();
      if (i == 0) first_ = {tensor, 0};
      for (size_t j = 0; j < masked_.size(); ++j) {
        add_seen(labelled(*tensor, reading_, masked_[j], drawing(workings_.front())), word,
                 sets_[j]);
      }
      word += words_of(i);
    }
  }

  // Bits, if a few labels are wrong.
  static double worth(std::span<const MaskObservation> seen) {
    return seen.empty() ? 0 : against_chance(seen, static_cast<uint32_t>(seen.size() / 32 + 1));
  }

  // Labels that are cheap to come by, or as many as the bits take.
  void add_seen(const LabelledMask& labels, uint64_t first,
                std::vector<MaskObservation>& set) const {
    const std::span<const uint32_t> known(labels.known);
    size_t count = 0, wanted = kFirstLabels;
    while (worth(set) < kSearchBits && count < std::min(known.size(), kMostLabels)) {
      const size_t next = std::min(known.size(), wanted);
      for (MaskObservation seen :
           observations(labels, drawing(workings_.front()), reading_.masks[labels.parent],
                        known.subspan(count, next - count))) {
        seen.word += first;
        set.push_back(seen);
      }
      count = next;
      wanted = 2 * count;
    }
  }

  std::optional<SeedHit> search() const {
    SeedSearchOptions options{.threads = evidence_.seeds.threads, .go_on = evidence_.seeds.go_on};
    std::vector<SeedRange> ranges(popular_seeds().begin(), popular_seeds().end());
    if (evidence_.seeds.all) ranges.push_back(kAllSeeds);
    for (const SeedRange& range : ranges) {
      options.seeds = range;
      const SeedSearch found = search_seeds(sets_, options);
      if (!found.hits.empty()) return *std::ranges::max_element(found.hits, {}, &SeedHit::bits);
      if (found.next < range.last) break;
    }
    return std::nullopt;
  }

  // Returns the share of labels that contradict it.
  double settle(const SeedHit& hit) {
    SeedFit agreement;
    MaskSeed found{.seed = hit.seed, .torch = true, .order = {}, .base_at = {}, .bits = hit.bits};
    const std::vector<Place> places = all_places();
    found.order = order_of(hit);
    for (size_t position = 0; position < found.order.size(); ++position) {
      fit(places, hit.seed, position, found.order[position], agreement);
    }
    for (size_t k = 0; k < reading_.masks.size(); ++k) {
      if (!reading_.masks[k].masked) found.order.push_back(k);
    }
    reading_.seed = std::move(found);
    return agreement.share_wrong();
  }

  // The first tensor, and those of the table.
  std::vector<Place> all_places() const {
    std::vector<Place> places{first_};
    uint64_t word = 0;
    for (size_t i = 0; i < evidence_.drawn.size(); ++i) {
      for (const StateTensor& tensor : reading_.states.tensors) {
        if (i == 0 || tensor.whole->name != evidence_.drawn[i]) continue;
        places.push_back({std::make_shared<const StateTensor>(tensor), word});
      }
      word += words_of(i);
    }
    return places;
  }

  // By what the first tensor's labels say to the words behind the first parent's.
  std::vector<size_t> order_of(const SeedHit& hit) const {
    const uint64_t n = first_.tensor->whole->elements();
    std::vector<size_t> order{masked_[hit.set]}, left = masked_;
    std::erase(left, order.front());
    while (!left.empty()) {
      const std::vector<float> drawn = numbers(hit.seed, order.size() * n, n);
      const auto next = std::ranges::min_element(
          left, {}, [&](size_t k) { return share_wrong(*first_.tensor, k, drawn); });
      order.push_back(*next);
      left.erase(next);
    }
    return order;
  }

  double share_wrong(const StateTensor& tensor, size_t k, const std::vector<float>& drawn) const {
    const Drawing how = drawing(workings_.front());
    const LabelledMask labels = labelled(tensor, reading_, k, how);
    const ParentMask& mask = reading_.masks[k];
    const uint64_t count =
        DrawnMask{&labels, how, drawn}.wrong(mask.density.value, mask.epsilon.value);
    return static_cast<double>(count) /
           std::max<double>(1, static_cast<double>(labels.known.size()));
  }

  // By the working dtype that fits better. Tensors that the masks do not fit are left out: the
  // merge may have had others between them.
  void fit(std::span<const Place> places, uint64_t seed, size_t position, size_t k,
           SeedFit& agreement) {
    const ParentMask before = reading_.masks[k];
    const SeedFit others = agreement;
    uint64_t least = UINT64_MAX;
    for (const DType working : workings_) {
      std::deque<LabelledMask> labels;
      std::vector<DrawnMask> drawn;
      for (const Place& place : places) {
        const uint64_t n = place.tensor->whole->elements();
        labels.push_back(labelled(*place.tensor, reading_, k, drawing(working)));
        drawn.push_back(
            {&labels.back(), drawing(working), numbers(seed, place.first_word + position * n, n)});
        const auto known = static_cast<double>(labels.back().known.size());
        const auto wrong =
            static_cast<double>(drawn.back().wrong(before.density.value, before.epsilon.value));
        if (drawn.size() > 1 && wrong > kForeign * known) drawn.pop_back();
      }
      ParentMask fitted = before;
      const uint64_t count = DensityFit(drawn)(fitted);
      if (count >= least) continue;
      least = count;
      agreement = others;
      agreement.add(drawn, count);
      fit_product(drawn, reading_, k, fitted);
      reading_.masks[k] = fitted;
    }
  }

  static std::vector<float> numbers(uint64_t seed, uint64_t first, uint64_t n) {
    mergekit::MersenneStream stream(seed, first);
    std::vector<float> drawn(n);
    for (float& x : drawn) x = static_cast<float>(stream.word() & 0xFFFFFF) * 0x1p-24f;
    return drawn;
  }

  static constexpr double kForeign = 0.05;  // of the labels; a mask that is not the one: 2p(1 − p)

  const Evidence& evidence_;
  MaskReading& reading_;
  std::vector<size_t> masked_;   // parents
  std::vector<DType> workings_;  // the likelier first
  Place first_;
  std::vector<std::vector<MaskObservation>> sets_;  // by masked_
};

}  // namespace

void find_seed(const Evidence& evidence, MaskReading& reading) {
  const bool own = reading.states.one_rounding;  // they are only computed exactly
  MaskReading drawn = reading;
  OwnSeeds random(drawn, evidence.seeds.threads);
  if (own && random.find()) {
    if (reading.family == MaskFamily::kRandom && random.share_wrong() >= kTooManyWrong) {
      MaskReading ranked = as_ranked(reading);
      OwnSeeds other(ranked, evidence.seeds.threads);
      if (other.find(drawn.seed->seed) && other.share_wrong() < kFarFewer * random.share_wrong()) {
        drawn = std::move(ranked);
      }
    }
    reading = std::move(drawn);
    return;
  }
  TorchSeeds(evidence, reading).find();
}

}  // namespace hieron
