#include "hieron/io/intervals.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <set>

namespace hieron {
namespace {

std::set<uint64_t> bytes_of(const std::vector<Extent>& extents) {
  std::set<uint64_t> bytes;
  for (const Extent& extent : extents) {
    for (uint64_t i = 0; i < extent.bytes; ++i) bytes.insert(extent.offset + i);
  }
  return bytes;
}

// What was added and removed, byte by byte, in a plain set beside it.
RC_GTEST_PROP(Intervals, AreTheSetOfTheirBytes, ()) {
  Intervals intervals;
  std::set<uint64_t> plain;
  const auto steps = *rc::gen::container<std::vector<std::tuple<bool, uint8_t, uint8_t>>>(
      rc::gen::tuple(rc::gen::arbitrary<bool>(), rc::gen::inRange<uint8_t>(0, 60),
                     rc::gen::inRange<uint8_t>(0, 20)));
  for (const auto& [add, offset, count] : steps) {
    const Extent extent{offset, count};
    add ? intervals.add(extent) : intervals.remove(extent);
    for (const uint64_t byte : bytes_of({extent}))
      add ? (void)plain.insert(byte) : (void)plain.erase(byte);
  }
  const uint64_t offset = *rc::gen::inRange(0, 60), count = *rc::gen::inRange(0, 40);
  const Extent asked{offset, count};
  std::set<uint64_t> absent;
  for (const uint64_t byte : bytes_of({asked})) {
    if (!plain.contains(byte)) absent.insert(byte);
  }
  RC_ASSERT(bytes_of(intervals.missing(asked)) == absent);
  RC_ASSERT(intervals.covers(asked) == absent.empty());
  RC_ASSERT(intervals.touches(asked) == (absent.size() < count));
}

TEST(Coalesce, JoinsNeighboursAcrossSmallGapsOnly) {
  const std::vector<Extent> extents{{0, 10}, {14, 6}, {30, 5}};
  EXPECT_EQ(coalesce(extents, 4, 1000, {}), (std::vector<Extent>{{0, 20}, {30, 5}}));
  EXPECT_EQ(coalesce(extents, 10, 1000, {}), (std::vector<Extent>{{0, 35}}));
}

TEST(Coalesce, DoesNotFetchAgainWhatLiesInTheGap) {
  Intervals here;
  here.add({11, 1});
  const std::vector<Extent> extents{{0, 10}, {14, 6}};
  EXPECT_EQ(coalesce(extents, 4, 1000, here), extents);
}

TEST(Coalesce, CutsWhatIsTooLongIntoEqualParts) {
  const std::vector<Extent> extents{{100, 25}};
  EXPECT_EQ(coalesce(extents, 0, 10, {}), (std::vector<Extent>{{100, 8}, {108, 8}, {116, 9}}));
}

TEST(Coalesce, TakesOverlappingExtents) {
  const std::vector<Extent> extents{{0, 10}, {5, 10}, {6, 2}};
  EXPECT_EQ(coalesce(extents, 0, 100, {}), (std::vector<Extent>{{0, 15}}));
}

}  // namespace
}  // namespace hieron
