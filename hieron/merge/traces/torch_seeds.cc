#include "hieron/merge/traces/torch_seeds.h"

#include <algorithm>
#include <deque>
#include <memory>
#include <string>
#include <utility>

#include "hieron/merge/mergekit/torch_random.h"
#include "hieron/merge/traces/drawn_masks.h"

namespace hieron {
namespace {

constexpr size_t kFirstLabels = 160, kMostLabels = 4096;
constexpr uint64_t kMostWords = 1u << 16;  // of the stream, before a tensor that is looked at
constexpr uint64_t kMostRead = 1u << 22;   // elements of a tensor; labels are taken from its first
constexpr double kSearchBits = 50;         // seeds have 32, and a hit needs 40

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
    if (!evidence_.start || !evidence_.elements) return false;
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
  // A tensor of those that draw, or its first rows; how many elements all of it has; and the word
  // at which it begins.
  struct Place {
    std::shared_ptr<const StateTensor> tensor;
    uint64_t elements = 0, first_word = 0;
  };

  Drawing drawing(DType working) const {
    return {.torch = true, .ranked = reading_.family == MaskFamily::kRanked, .working = working};
  }

  uint64_t words_of(size_t i) const {
    return evidence_.elements(evidence_.drawn[i]) * masked_.size();
  }

  std::shared_ptr<const StateTensor> read(const std::string& name) const {
    const auto start = evidence_.start(name, kMostRead);
    if (!start) return nullptr;
    return std::make_shared<const StateTensor>(read_states(reading_.states, *start));
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
      if (i == 0) first_ = {tensor, evidence_.elements(evidence_.drawn[i]), 0};
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
    if (evidence_.seeds.which == Seeds::kAll) ranges.push_back(kAllSeeds);
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
        places.push_back(
            {std::make_shared<const StateTensor>(tensor), tensor.whole->elements(), word});
      }
      word += words_of(i);
    }
    return places;
  }

  // By what the first tensor's labels say to the words behind the first parent's.
  std::vector<size_t> order_of(const SeedHit& hit) const {
    std::vector<size_t> order{masked_[hit.set]}, left = masked_;
    std::erase(left, order.front());
    while (!left.empty()) {
      const std::vector<float> drawn =
          numbers(hit.seed, order.size() * first_.elements, first_.tensor->whole->elements());
      std::vector<double> wrong;
      for (const size_t k : left) wrong.push_back(share_wrong(*first_.tensor, k, drawn));
      const auto next = std::ranges::min_element(wrong) - wrong.begin();
      order.push_back(left[static_cast<size_t>(next)]);
      left.erase(left.begin() + next);
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
        const uint64_t first = place.first_word + position * place.elements;
        labels.push_back(labelled(*place.tensor, reading_, k, drawing(working)));
        drawn.push_back({&labels.back(), drawing(working),
                         numbers(seed, first, place.tensor->whole->elements())});
        const auto known = static_cast<double>(labels.back().known.size());
        const auto wrong =
            static_cast<double>(drawn.back().wrong(before.density.value, before.epsilon.value));
        if (drawn.size() > 1 && wrong > kForeign * known) drawn.pop_back();
      }
      ParentMask fitted = before;
      const uint64_t count = fit_density(drawn, fitted);
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

bool find_torch_seed(const Evidence& evidence, MaskReading& reading) {
  return TorchSeeds(evidence, reading).find();
}

}  // namespace hieron
