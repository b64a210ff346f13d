#include "hieron/kernels/random_words.h"

#include <gtest/gtest.h>

#include <vector>

namespace hieron {
namespace {

TEST(RandomWords, AreThoseOfThePrfFromAnyPlaceOnEveryIsa) {
  const Prf prf(Seed{}, "words");
  // The last places are around one where the counter's upper half begins.
  for (const uint64_t first : {uint64_t{0}, uint64_t{1}, uint64_t{4095}, (uint64_t{1} << 34) - 7}) {
    for (const size_t n : {0, 1, 3, 31, 32, 33, 67, 1001}) {
      std::vector<uint32_t> wanted(n), made(n);
      prf.fill(first, wanted);
      for (const Isa isa : supported_isas()) {
        random_words_on(isa, prf, first, made);
        EXPECT_EQ(made, wanted) << first << ", " << n;
      }
    }
  }
}

}  // namespace
}  // namespace hieron
