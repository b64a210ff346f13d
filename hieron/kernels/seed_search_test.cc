#include "hieron/kernels/seed_search.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

namespace hieron {
namespace {

using Observations = std::vector<MaskObservation>;

constexpr uint32_t threshold(double probability) {
  return static_cast<uint32_t>(probability * 0x1p24);
}

// A share of the first `words` labels that the seed draws, by the library's own generator.
Observations drawn(uint32_t seed, double probability, uint64_t words, double share) {
  std::mt19937 stream(seed), choice(1);
  std::bernoulli_distribution observed(share);
  Observations seen;
  for (uint64_t word = 0; word < words; ++word) {
    const bool kept = (stream() & 0xFFFFFF) < threshold(probability);
    if (observed(choice)) seen.push_back({word, threshold(probability), kept});
  }
  return seen;
}

Observations flipped(Observations seen, std::initializer_list<size_t> which) {
  for (size_t i : which) seen[i].kept = !seen[i].kept;
  return seen;
}

// The range holds the seed, not at its border and not where a block begins.
SeedRange around(uint32_t seed) {
  return {seed < 1000 ? 0 : seed - 1000u, std::min(uint64_t{seed} + 1001, kAllSeeds.last)};
}

std::vector<SeedHit> hits(const Observations& seen, SeedRange seeds) {
  return search_seeds(std::vector<Observations>{seen}, {.seeds = seeds}).hits;
}

SeedHit hit(uint32_t seed, const Observations& seen, uint32_t wrong) {
  return {.seed = seed,
          .set = 0,
          .wrong = wrong,
          .observed = static_cast<uint32_t>(seen.size()),
          .bits = against_chance(seen, wrong)};
}

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(SeedSearch, FindsTheSeed) {
  for (const uint32_t seed : {0u, 42u, 1234u, 0x80000001u, 4294967291u, 4294967295u}) {
    const Observations seen = drawn(seed, 0.53, 226, 0.8);
    EXPECT_THAT(hits(seen, around(seed)), ElementsAre(hit(seed, seen, 0))) << seed;
  }
}

TEST(SeedSearch, FindsWhatIsObservedInAnyOrder) {
  const Observations seen = drawn(42, 0.53, 226, 0.8);
  Observations shuffled = seen;
  std::ranges::shuffle(shuffled, std::mt19937(3));
  EXPECT_THAT(hits(shuffled, around(42)), ElementsAre(hit(42, seen, 0)));
}

TEST(SeedSearch, TriesTheFirstAndNotTheLastOfTheRange) {
  const Observations seen = drawn(5000, 0.53, 100, 1);
  EXPECT_EQ(hits(seen, {5000, 5001}).size(), 1);
  EXPECT_THAT(hits(seen, {4000, 5000}), IsEmpty());
  EXPECT_THAT(hits(seen, {5001, 6000}), IsEmpty());
  EXPECT_THAT(hits(seen, {5000, 5000}), IsEmpty());
}

TEST(SeedSearch, ToleratesTwoWrongAmongTheFirstFortyAndASixteenthOfAll) {
  const Observations seen = drawn(77, 0.5, 200, 0.8);
  ASSERT_GE(seen.size(), 144);
  const auto two = flipped(seen, {0, 39});
  EXPECT_THAT(hits(two, around(77)), ElementsAre(hit(77, two, 2)));
  EXPECT_THAT(hits(flipped(seen, {0, 20, 39}), around(77)), IsEmpty());
  const auto nine = flipped(seen, {0, 39, 40, 60, 80, 90, 100, 101, 143});
  EXPECT_THAT(hits(nine, around(77)), ElementsAre(hit(77, nine, 9)));
  const auto many = flipped(seen, {40, 45, 50, 55, 60, 65, 70, 75, 80, 85, 90});
  ASSERT_GT(11 * 16, many.size());
  EXPECT_THAT(hits(many, around(77)), IsEmpty());
}

TEST(SeedSearch, FindsSeedsOfFewScatteredElements) {
  const Observations seen = flipped(drawn(123456, 0.53, 5000, 0.02), {1, 30});
  EXPECT_THAT(hits(seen, around(123456)), ElementsAre(hit(123456, seen, 2)));
}

TEST(SeedSearch, FindsSeedsOfElementsThatAreAllFarAway) {
  Observations seen = drawn(9, 0.5, 20'000, 0.9);
  seen.erase(seen.begin(), seen.end() - 100);
  EXPECT_THAT(hits(seen, around(9)), ElementsAre(hit(9, seen, 0)));
}

TEST(SeedSearch, FindsSeedsOfMasksThatKeepOrDropMost) {
  for (const double probability : {0.05, 0.1, 0.9, 0.95}) {
    const Observations seen = drawn(314, probability, 600, 0.9);
    const auto wrong = flipped(seen, {3, 200});
    EXPECT_THAT(hits(wrong, around(314)), ElementsAre(hit(314, wrong, 2))) << probability;
  }
}

TEST(SeedSearch, GivesEveryElementItsOwnThreshold) {
  std::mt19937 stream(2718);
  Observations seen;
  for (uint32_t word = 0; word < 150; ++word) {
    const uint32_t bound = threshold(0.2 + 0.004 * word);
    seen.push_back({word, bound, (stream() & 0xFFFFFF) < bound});
  }
  EXPECT_THAT(hits(seen, around(2718)), ElementsAre(hit(2718, seen, 0)));
}

TEST(SeedSearch, ComparesWithTheThresholdExactly) {
  std::mt19937 stream(5);
  Observations at, above;
  for (uint32_t word = 0; word < 60; ++word) {
    const uint32_t bits = stream() & 0xFFFFFF;
    at.push_back({word, bits, false});
    above.push_back({word, bits + 1, true});
  }
  EXPECT_EQ(hits(at, {5, 6}).size(), 1);
  EXPECT_EQ(hits(above, {5, 6}).size(), 1);
  for (MaskObservation& seen : at) seen.kept = true;
  for (MaskObservation& seen : above) seen.kept = false;
  EXPECT_THAT(hits(at, {5, 6}), IsEmpty());
  EXPECT_THAT(hits(above, {5, 6}), IsEmpty());
}

TEST(SeedSearch, SearchesSeveralSetsAtOnce) {
  const std::vector sets{drawn(500, 0.3, 226, 0.8), drawn(501, 0.6, 3000, 0.05), Observations{},
                         drawn(500, 0.7, 226, 0.3), drawn(9'000'000, 0.5, 226, 0.8)};
  std::vector<std::pair<uint32_t, uint32_t>> found;
  for (const SeedHit& hit : search_seeds(sets, {.seeds = {0, 1000}}).hits) {
    found.emplace_back(hit.seed, hit.set);
    EXPECT_EQ(hit.wrong, 0);
    EXPECT_EQ(hit.observed, sets[hit.set].size());
  }
  EXPECT_THAT(found, ElementsAre(std::pair(500, 0), std::pair(500, 3), std::pair(501, 1)));
}

TEST(SeedSearch, FindsTheSameOnEveryIsaInAnyNumberOfThreads) {
  std::vector<Observations> sets;
  for (uint32_t seed = 0; seed < 60'000; seed += 5989) {
    sets.push_back(flipped(drawn(seed, 0.2 + 1e-5 * seed, 300, 0.7), {5, seed % 100, 120}));
    sets.push_back(drawn(seed + 1, 0.5, 4000, 0.03));
  }
  const auto expected = search_seeds(sets, {.seeds = {0, 60'007}}).hits;
  EXPECT_GE(expected.size(), 20);
  for (const Isa isa : supported_isas()) {
    for (const unsigned threads : {1u, 3u}) {
      EXPECT_EQ(search_seeds_on(isa, sets, {.seeds = {0, 60'007}, .threads = threads}).hits,
                expected);
    }
  }
}

TEST(SeedSearch, FindsNothingInLabelsThatNoSeedDrew) {
  Observations seen = drawn(42, 0.53, 226, 0.8);
  std::mt19937 random(8);
  for (MaskObservation& one : seen) one.kept = random() % 2;
  EXPECT_THAT(hits(seen, {0, 1 << 21}), IsEmpty());
}

// 39 labels fit the seed that drew them, but one seed in 2^39 fits as well by chance.
TEST(SeedSearch, NamesNoSeedWhereTheLabelsAreTooFew) {
  const Observations few = drawn(42, 0.5, 39, 1), enough = drawn(42, 0.5, 41, 1);
  EXPECT_THAT(hits(few, around(42)), IsEmpty());
  EXPECT_THAT(hits(enough, around(42)), ElementsAre(hit(42, enough, 0)));
  EXPECT_THAT(hits(flipped(enough, {7}), around(42)), IsEmpty());
}

TEST(SeedSearch, EndsWhenToldToAndGoesOnFromThere) {
  constexpr uint64_t kFirst = 1000, kLast = 1000 + (uint64_t{1} << 24) + 5000;
  const auto late = static_cast<uint32_t>(kLast - 7);
  const std::vector sets{drawn(2000, 0.5, 100, 1), drawn(late, 0.5, 100, 1)};
  SeedSearchOptions options{.seeds = {kFirst, kLast}};
  options.go_on = [](const SeedSearch& so_far) { return so_far.hits.empty(); };
  const SeedSearch begun = search_seeds(sets, options);
  ASSERT_EQ(begun.hits.size(), 1);
  EXPECT_EQ(begun.hits[0].seed, 2000);
  ASSERT_LT(begun.next, kLast);
  options.seeds.first = begun.next;
  const SeedSearch rest = search_seeds(sets, options);
  ASSERT_EQ(rest.hits.size(), 1);
  EXPECT_EQ(rest.hits[0].seed, late);
  EXPECT_EQ(rest.next, kLast);
}

// Binomial coefficients over 2^n.
double exact_bits(uint32_t n, uint32_t wrong) {
  double sum = 0, ways = 1;
  for (uint32_t k = 0; k <= wrong; ++k) {
    sum += ways;
    ways *= static_cast<double>(n - k) / (k + 1);
  }
  return n - std::log2(sum);
}

TEST(AgainstChance, IsExactForNoneWrongAndALittleLowForSome) {
  const Observations seen = drawn(1, 0.5, 200, 1);
  EXPECT_NEAR(against_chance(seen, 0), 200, 1e-9);
  for (const uint32_t wrong : {1, 2, 5, 12, 50}) {
    const double exact = exact_bits(200, wrong), bound = against_chance(seen, wrong);
    EXPECT_LE(bound, exact) << wrong;
    EXPECT_GE(bound, exact - 4) << wrong;
  }
  EXPECT_EQ(against_chance(seen, 100), 0);
  EXPECT_EQ(against_chance({}, 0), 0);
}

TEST(AgainstChance, WeighsRareLabelsMore) {
  const Observations seen{{0, threshold(0.75), true}, {1, threshold(0.75), false}};
  EXPECT_NEAR(against_chance(seen, 0), std::log2(4.0 / 3) + 2, 1e-9);
}

// Every word of such a threshold is dropped, so that label says nothing of the others.
TEST(AgainstChance, CountsALabelThatNoSeedGives) {
  Observations seen = drawn(1, 0.5, 20, 1);
  seen.push_back({20, 0, true});
  EXPECT_GT(against_chance(seen, 0), 60);
  EXPECT_NEAR(against_chance(seen, 1), 20, 1e-3);
}

TEST(PopularSeeds, HoldWhatPeopleChoose) {
  const auto popular = popular_seeds();
  for (const uint64_t seed :
       {uint64_t{0}, uint64_t{42}, uint64_t{1234}, uint64_t{31'337}, uint64_t{20'240'131},
        uint64_t{31'012'024}, uint64_t{4'294'967'295}, uint64_t{0xDEADBEEF}}) {
    EXPECT_TRUE(std::ranges::any_of(popular, [&](SeedRange range) {
      return range.first <= seed && seed < range.last;
    })) << seed;
  }
  EXPECT_EQ(popular[0], (SeedRange{0, 1 << 20}));
  uint64_t seeds = 0;
  for (const SeedRange& range : popular) {
    EXPECT_LE(range.last, kAllSeeds.last);
    seeds += range.last - range.first;
  }
  EXPECT_LT(seeds, 40'000'000);
}

}  // namespace
}  // namespace hieron
