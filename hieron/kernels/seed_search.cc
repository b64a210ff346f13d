#include "hieron/kernels/seed_search.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <iterator>
#include <map>
#include <memory>
#include <mutex>
#include <numbers>
#include <random>
#include <ranges>
#include <tuple>
#include <type_traits>
#include <utility>

#include "hieron/core/elementary.h"
#include "hieron/core/parallel.h"

namespace hieron {
namespace {

constexpr size_t kEarly = 40;          // labels of which
constexpr uint32_t kEarlyWrong = 2;    // so many may be wrong,
constexpr size_t kOneWrongIn = 16;     // and of all of them a 16th,
constexpr double kAgainstChance = 40;  // if fewer than one seed in 2^40 agrees as well by chance

// ---- the generator, many seeds side by side ----

using Twister = std::mt19937;
constexpr uint32_t kWords = Twister::state_size, kMiddle = Twister::shift_size;
constexpr uint32_t kUntwisted = kWords - kMiddle;  // words made of the initial state alone

using Eight [[gnu::vector_size(32)]] = uint32_t;
using EightSigned [[gnu::vector_size(32)]] = int32_t;

template <size_t N>
struct alignas(sizeof(Eight)) Lanes {
  static constexpr uint32_t kSeeds = 8 * N;

  uint32_t at(uint32_t seed) const { return v[seed / 8][seed % 8]; }
  void set(uint32_t seed, uint32_t value) { v[seed / 8][seed % 8] = value; }

  Eight v[N];
};

// By vectors, as the compiler would copy words of eight bytes.
template <size_t N>
HIERON_INLINE void copy(const Lanes<N>& from, Lanes<N>& to) {
  for (size_t i = 0; i < N; ++i) to.v[i] = from.v[i];
}

// The next word of the initial state.
HIERON_INLINE void step(Eight& x, uint32_t index) {
  x = (x ^ x >> 30) * Twister::initialization_multiplier + index;
}

HIERON_INLINE void twist(const Eight& word, const Eight& next, const Eight& middle, Eight& out) {
  const Eight mixed = (word & 0x80000000) | (next & 0x7FFFFFFF);
  out = middle ^ mixed >> 1 ^ (next & 1) * Twister::xor_mask;
}

// The 24 bits of a word that are compared with a threshold.
HIERON_INLINE void temper(Eight& y) {
  y ^= y >> Twister::tempering_u;
  y ^= y << Twister::tempering_s & Twister::tempering_b;
  y ^= y << Twister::tempering_t & Twister::tempering_c;
  y ^= y >> Twister::tempering_l;
  y &= 0xFFFFFF;
}

struct Label {
  explicit Label(const MaskObservation& seen)
      : threshold(static_cast<int32_t>(seen.threshold)), kept(seen.kept ? ~0u : 0u) {}

  int32_t threshold;
  uint32_t kept;  // all ones or none
};

template <size_t N>
HIERON_INLINE void count_wrong(const Label& label, const Lanes<N>& words, Lanes<N>& wrong) {
  for (size_t i = 0; i < N; ++i) {
    const Eight kept =
        reinterpret_cast<Eight>(reinterpret_cast<EightSigned>(words.v[i]) < label.threshold);
    wrong.v[i] -= kept ^ label.kept;
  }
}

template <size_t N>
HIERON_INLINE bool any_below(const Lanes<N>& wrong, int32_t bound) {
  EightSigned left{};
  for (size_t i = 0; i < N; ++i) left |= reinterpret_cast<EightSigned>(wrong.v[i]) < bound;
  uint64_t parts[4];
  std::memcpy(parts, &left, sizeof parts);
  return (parts[0] | parts[1] | parts[2] | parts[3]) != 0;
}

// ---- what is looked for ----

// A set of observations that can decide.
struct Wanted {
  uint32_t set;
  std::vector<MaskObservation> observations;  // by word
  uint32_t most_wrong;

  uint32_t early_wrong() const { return std::min(kEarlyWrong, most_wrong); }
};

std::vector<Wanted> wanted(std::span<const std::vector<MaskObservation>> sets) {
  std::vector<Wanted> all;
  for (uint32_t set = 0; set < sets.size(); ++set) {
    std::vector<MaskObservation> seen = sets[set];
    std::ranges::sort(seen, {}, &MaskObservation::word);
    const auto counts =
        std::views::iota(uint32_t{0}, static_cast<uint32_t>(seen.size() / kOneWrongIn + 1));
    const auto end = std::ranges::partition_point(
        counts, [&](uint32_t wrong) { return against_chance(seen, wrong) >= kAgainstChance; });
    if (end != counts.begin()) all.push_back({set, std::move(seen), *end - 1});
  }
  return all;
}

// ---- first look: words that need no twisted state, until no seed of a block is left ----

using Block = Lanes<12>;

// After so many labels the first block has no seed left; from then on a look every few is best.
constexpr size_t kFirstBatch = 12, kNextBatch = 4;

struct Check {
  uint32_t wanted;
  uint32_t place;  // of its word in the batch
  Label label;
};

struct Batch {
  std::vector<uint32_t> words;  // rising
  std::vector<Check> checks;    // by wanted set
};

struct FirstLook {
  explicit FirstLook(std::span<const Wanted> all) {
    std::multimap<uint32_t, Check> by_word;
    for (uint32_t w = 0; w < all.size(); ++w) {
      bounds.push_back(static_cast<int32_t>(all[w].early_wrong() + 1));
      for (const MaskObservation& seen : all[w].observations | std::views::take(kEarly)) {
        if (seen.word >= kUntwisted) break;
        by_word.emplace(static_cast<uint32_t>(seen.word), Check{w, 0, Label(seen)});
      }
    }
    for (auto& [word, check] : by_word) add(word, check);
    for (Batch& batch : batches) std::ranges::sort(batch.checks, {}, &Check::wanted);
    if (!by_word.empty()) stored = by_word.rbegin()->first + 2;
  }

  std::vector<Batch> batches;
  std::vector<int32_t> bounds;  // of each wanted set: so many wrong are too many
  uint32_t stored = 1;          // words of the state that the checks begin with

 private:
  void add(uint32_t word, Check check) {
    const auto full = [&] {
      return batches.back().words.size() == (batches.size() == 1 ? kFirstBatch : kNextBatch);
    };
    if (batches.empty() || (batches.back().words.back() != word && full())) batches.emplace_back();
    Batch& batch = batches.back();
    if (batch.words.empty() || batch.words.back() != word) batch.words.push_back(word);
    check.place = static_cast<uint32_t>(batch.words.size() - 1);
    batch.checks.push_back(check);
  }
};

struct FirstLookState {
  explicit FirstLookState(size_t sets) : wrong(sets), left(sets) {}

  std::array<Block, kUntwisted + 1> words;
  std::array<Block, kFirstBatch> drawn;  // of a batch
  std::vector<Block> wrong;              // of each wanted set
  std::vector<uint8_t> left;             // has the set a seed left?
};

class LookAtBlock {
 public:
  HIERON_INLINE void operator()(const FirstLook* look, uint32_t first,
                                FirstLookState* state) const {
    constexpr Eight kLanes{0, 1, 2, 3, 4, 5, 6, 7};
    Block x;
    for (size_t i = 0; i < N; ++i) x.v[i] = kLanes + (first + 8 * static_cast<uint32_t>(i));
    copy(x, state->words[0]);
    uint32_t made = 1;
    for (; made < look->stored; ++made) {
      next(x, made);
      copy(x, state->words[made]);
    }
    size_t left = state->wrong.size();
    for (size_t w = 0; w < left; ++w) {
      state->wrong[w] = {};
      state->left[w] = 1;
    }
    for (const Batch& batch : look->batches) {
      for (size_t place = 0; place < batch.words.size(); ++place) {
        for (; made <= batch.words[place] + kMiddle; ++made) next(x, made);
        copy(x, state->drawn[place]);
      }
      draw(batch, *state);
      left -= count(batch, look->bounds, *state);
      if (left == 0) return;
    }
  }

 private:
  static constexpr size_t N = std::extent_v<decltype(Block::v)>;

  HIERON_INLINE static void next(Block& x, uint32_t index) {
    for (size_t i = 0; i < N; ++i) step(x.v[i], index);
  }

  // From the state words in the middle to the words of the stream.
  HIERON_INLINE static void draw(const Batch& batch, FirstLookState& state) {
    for (size_t place = 0; place < batch.words.size(); ++place) {
      const Block* words = state.words.data() + batch.words[place];
      Block& drawn = state.drawn[place];
      for (size_t i = 0; i < N; ++i) {
        Eight y;
        twist(words[0].v[i], words[1].v[i], drawn.v[i], y);
        temper(y);
        drawn.v[i] = y;
      }
    }
  }

  // How many sets have no seed left any more?
  HIERON_INLINE static size_t count(const Batch& batch, const std::vector<int32_t>& bounds,
                                    FirstLookState& state) {
    size_t ended = 0;
    const Check *check = batch.checks.data(), *const end = check + batch.checks.size();
    while (check != end) {
      const uint32_t wanted = check->wanted;
      Block wrong;
      copy(state.wrong[wanted], wrong);
      for (; check != end && check->wanted == wanted; ++check) {
        if (state.left[wanted]) count_wrong(check->label, state.drawn[check->place], wrong);
      }
      copy(wrong, state.wrong[wanted]);
      if (state.left[wanted] && !any_below(wrong, bounds[wanted])) {
        state.left[wanted] = 0;
        ++ended;
      }
    }
    return ended;
  }
};

// ---- second look: any words, at seeds that are left ----

using Few = Lanes<4>;

struct SecondLookState {
  std::array<Few, kWords> words;
  Few wrong;
};

struct LookAtFew {
  // Begins with the seeds in state->words[0]. Those that are no hits end with more than most_wrong.
  HIERON_INLINE void operator()(const Wanted* wanted, SecondLookState* state) const {
    constexpr size_t N = std::extent_v<decltype(Few::v)>;
    auto& words = state->words;
    Few x, wrong{};
    copy(words[0], x);
    for (uint32_t j = 1; j < kWords; ++j) {
      for (size_t i = 0; i < N; ++i) step(x.v[i], j);
      copy(x, words[j]);
    }
    const auto& all = wanted->observations;
    uint64_t made = 0;
    for (size_t k = 0; k < all.size(); ++k) {
      size_t at = 0;
      for (; made <= all[k].word; ++made) {
        at = made % kWords;
        const Few &next = words[(made + 1) % kWords], &middle = words[(made + kMiddle) % kWords];
        for (size_t i = 0; i < N; ++i)
          twist(words[at].v[i], next.v[i], middle.v[i], words[at].v[i]);
      }
      copy(words[at], x);
      for (size_t i = 0; i < N; ++i) temper(x.v[i]);
      count_wrong(Label(all[k]), x, wrong);
      const uint32_t most = k < kEarly ? wanted->early_wrong() : wanted->most_wrong;
      if (k < kEarly) drop(wrong, most);
      if (!any_below(wrong, static_cast<int32_t>(most + 1))) break;
    }
    state->wrong = wrong;
  }

 private:
  // So many more become wrong that none of them can be a hit any more.
  HIERON_INLINE static void drop(Few& wrong, uint32_t most) {
    for (Eight& w : wrong.v) {
      const EightSigned over = reinterpret_cast<EightSigned>(w) > static_cast<int32_t>(most);
      w |= reinterpret_cast<Eight>(over) & 0x40000000;
    }
  }
};

// ---- a range of seeds ----

class Search {
 public:
  Search(Isa isa, std::span<const std::vector<MaskObservation>> sets)
      : isa_(isa), wanted_(wanted(sets)), look_(wanted_) {}

  bool hopeless() const { return wanted_.empty(); }

  std::vector<SeedHit> operator()(SeedRange seeds) const {
    Left left{.seeds = std::vector<std::vector<uint32_t>>(wanted_.size())};
    FirstLookState state(wanted_.size());
    for (uint64_t first = seeds.first; first < seeds.last; first += Block::kSeeds) {
      run(isa_, LookAtBlock{}, &look_, static_cast<uint32_t>(first), &state);
      const auto n = static_cast<uint32_t>(std::min<uint64_t>(Block::kSeeds, seeds.last - first));
      for (size_t w = 0; w < wanted_.size(); ++w) {
        if (state.left[w]) keep(w, static_cast<uint32_t>(first), n, state.wrong[w], left);
      }
    }
    for (size_t w = 0; w < wanted_.size(); ++w) look_again(w, left);
    return std::move(left.hits);
  }

 private:
  // What the first look leaves.
  struct Left {
    std::vector<std::vector<uint32_t>> seeds;  // of each wanted set
    std::unique_ptr<SecondLookState> state = nullptr;
    std::vector<SeedHit> hits = {};
  };

  void keep(size_t w, uint32_t first, uint32_t n, const Block& wrong, Left& left) const {
    for (uint32_t i = 0; i < n; ++i) {
      if (wrong.at(i) > wanted_[w].early_wrong()) continue;
      left.seeds[w].push_back(first + i);
      if (left.seeds[w].size() == Few::kSeeds) look_again(w, left);
    }
  }

  void look_again(size_t w, Left& left) const {
    std::vector<uint32_t>& seeds = left.seeds[w];
    if (seeds.empty()) return;
    if (!left.state) left.state = std::make_unique<SecondLookState>();
    for (uint32_t i = 0; i < Few::kSeeds; ++i) {
      left.state->words[0].set(i, seeds[std::min<size_t>(i, seeds.size() - 1)]);
    }
    const Wanted& wanted = wanted_[w];
    run(isa_, LookAtFew{}, &wanted, left.state.get());
    for (uint32_t i = 0; i < seeds.size(); ++i) {
      const uint32_t wrong = left.state->wrong.at(i);
      if (wrong > wanted.most_wrong) continue;
      left.hits.push_back({.seed = seeds[i],
                           .set = wanted.set,
                           .wrong = wrong,
                           .observed = static_cast<uint32_t>(wanted.observations.size()),
                           .bits = against_chance(wanted.observations, wrong)});
    }
    seeds.clear();
  }

  const Isa isa_;
  const std::vector<Wanted> wanted_;
  const FirstLook look_;
};

constexpr uint64_t kStep = uint64_t{1} << 24;     // seeds between two calls of go_on
constexpr uint64_t kStretch = uint64_t{1} << 16;  // that a thread takes at a time

std::vector<SeedHit> search_step(const Search& search, SeedRange seeds, unsigned threads) {
  std::vector<SeedHit> hits;
  std::mutex mutex;
  parallel_for((seeds.last - seeds.first + kStretch - 1) / kStretch, threads, [&](size_t i) {
    const uint64_t first = seeds.first + i * kStretch;
    const auto found = search({first, std::min(first + kStretch, seeds.last)});
    const std::scoped_lock lock(mutex);
    hits.insert(hits.end(), found.begin(), found.end());
  });
  std::ranges::sort(hits, {}, [](const SeedHit& hit) { return std::tuple(hit.seed, hit.set); });
  return hits;
}

}  // namespace

SeedSearch search_seeds_on(Isa isa, std::span<const std::vector<MaskObservation>> sets,
                           const SeedSearchOptions& options) {
  const Search search(isa, sets);
  const uint64_t last = std::min(options.seeds.last, kAllSeeds.last);
  SeedSearch result{.next = options.seeds.first, .hits = {}};
  if (search.hopeless()) result.next = last;
  while (result.next < last) {
    const SeedRange step{result.next, std::min(result.next + kStep, last)};
    std::ranges::move(search_step(search, step, options.threads), std::back_inserter(result.hits));
    result.next = step.last;
    if (options.go_on && !options.go_on(result)) break;
  }
  return result;
}

SeedSearch search_seeds(std::span<const std::vector<MaskObservation>> sets,
                        const SeedSearchOptions& options) {
  return search_seeds_on(best_isa(), sets, options);
}

// P(wrong ≤ w) ≤ e^(s·w)·Π(1 − q + q·e^−s) for all s ≥ 0, q the chance that a random word
// contradicts the label. It is least where Σ q·e^−s/(1 − q + q·e^−s) = w.
double against_chance(std::span<const MaskObservation> observations, uint32_t wrong) {
  const auto chance = [](const MaskObservation& seen) {
    const double keeps = static_cast<double>(seen.threshold) * 0x1p-24;
    return seen.kept ? 1 - keeps : keeps;
  };
  const auto too_many = [&](double s) {
    const double tilt = exponential(-s);
    double sum = 0;
    for (const MaskObservation& seen : observations) {
      const double q = chance(seen);
      sum += q * tilt / (1 - q + q * tilt);
    }
    return sum > wrong;
  };
  if (!too_many(0)) return 0;
  double low = 0, high = 64;
  for (int i = 0; i < 48; ++i) {
    const double middle = (low + high) / 2;
    (too_many(middle) ? low : high) = middle;
  }
  const double tilt = exponential(-low);
  double log = low * wrong;
  for (const MaskObservation& seen : observations) {
    const double q = chance(seen);
    log += logarithm(1 - q + q * tilt);
  }
  return -log / std::numbers::ln2;
}

std::span<const SeedRange> popular_seeds() {
  static constexpr auto one = [](uint64_t seed) { return SeedRange{seed, seed + 1}; };
  static constexpr std::array kPopular{
      SeedRange{0, uint64_t{1} << 20},
      SeedRange{uint64_t{1} << 20, uint64_t{1} << 25},  // dates, whatever the order of their parts
      SeedRange{kAllSeeds.last - (uint64_t{1} << 20), kAllSeeds.last},  // negative numbers
      one(123456789),
      one(987654321),
      one(1234567890),
      one(0x12345678),
      one(0x7FFFFFFF),
      one(0x80000000),
      one(0xBADC0DE),
      one(0xC0FFEE00),
      one(0xCAFEBABE),
      one(0xDEADBEEF),
      one(3141592653),
      one(2718281828),
  };
  return kPopular;
}

}  // namespace hieron
