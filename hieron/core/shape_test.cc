#include "hieron/core/shape.h"

#include <gtest/gtest.h>

namespace hieron {
namespace {

TEST(Shape, ScalarHasOneElement) {
  EXPECT_EQ(element_count({}), 1u);
  EXPECT_EQ(row_length({}), 1u);
  EXPECT_EQ(to_string(Shape{}), "[]");
}

TEST(Shape, CountIsTheProduct) {
  EXPECT_EQ(element_count({128, 512}), 65536u);
  EXPECT_EQ(row_length({128, 512}), 512u);
  EXPECT_EQ(row_length({128}), 1u);
  EXPECT_EQ(row_length({8, 3, 5}), 15u);
  EXPECT_EQ(to_string(Shape{128, 512}), "[128, 512]");
}

TEST(Shape, ZeroExtentMakesItEmpty) {
  EXPECT_EQ(element_count({0}), 0u);
  EXPECT_EQ(element_count({5, 0, 7}), 0u);
}

TEST(Shape, RefusesWhatDoesNotFit) {
  const uint64_t big = uint64_t{1} << 32;
  EXPECT_EQ(element_count({big, big}), std::nullopt);
  EXPECT_EQ(element_count({uint64_t{1} << 63}), std::nullopt);
  EXPECT_EQ(element_count({(uint64_t{1} << 63) - 1}), (uint64_t{1} << 63) - 1);
  EXPECT_EQ(element_count({UINT64_MAX, UINT64_MAX, UINT64_MAX}), std::nullopt);
}

// Otherwise row_length of an empty tensor could overflow.
TEST(Shape, RefusesExtentsThatOnlyAZeroWouldTame) {
  const uint64_t big = uint64_t{1} << 40;
  EXPECT_EQ(element_count({0, big, big}), std::nullopt);
  EXPECT_EQ(element_count({big, big, 0}), std::nullopt);
}

}  // namespace
}  // namespace hieron
