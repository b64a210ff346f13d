#include "hieron/merge/traces/own_seeds.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <utility>

#include "hieron/core/parallel.h"
#include "hieron/merge/methods/random_mask.h"
#include "hieron/merge/traces/drawn_masks.h"

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
      fit_.add(drawn, fit_density(drawn, reading_.masks[k]));
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

}  // namespace

bool find_own_seed(const Evidence& evidence, MaskReading& reading) {
  MaskReading drawn = reading;
  OwnSeeds random(drawn, evidence.seeds.threads);
  if (!random.find()) return false;
  if (reading.family == MaskFamily::kRandom && random.share_wrong() >= kTooManyWrong) {
    MaskReading ranked = as_ranked(reading);
    OwnSeeds other(ranked, evidence.seeds.threads);
    if (other.find(drawn.seed->seed) && other.share_wrong() < kFarFewer * random.share_wrong()) {
      drawn = std::move(ranked);
    }
  }
  reading = std::move(drawn);
  return true;
}

}  // namespace hieron
