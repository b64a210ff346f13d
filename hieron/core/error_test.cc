#include "hieron/core/error.h"

#include <gtest/gtest.h>

namespace hieron {
namespace {

TEST(Error, ExitStatusIsWhatTheInterfaceSays) {
  EXPECT_EQ(exit_status(ErrorCode::kUsage), 2);
  EXPECT_EQ(exit_status(ErrorCode::kRefused), 3);
  EXPECT_EQ(exit_status(ErrorCode::kSystem), 4);
  EXPECT_EQ(exit_status(ErrorCode::kBug), 70);
}

Result<int> half(int n) {
  if (n % 2) return refuse("An odd number has no half; give an even one.", "f", "t", 7);
  return n / 2;
}

Result<int> quarter(int n) {
  HIERON_TRY(const int once, half(n));
  HIERON_TRY(const int twice, half(once));
  return twice;
}

Status check(int n) {
  HIERON_CHECK(quarter(n));
  return {};
}

TEST(Error, TravelsUpWithItsPlace) {
  EXPECT_EQ(quarter(12), 3);
  EXPECT_TRUE(check(12));
  const Status failed = check(6);
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code, ErrorCode::kRefused);
  EXPECT_EQ(failed.error().file, "f");
  EXPECT_EQ(failed.error().tensor, "t");
  EXPECT_EQ(failed.error().offset, 7u);
}

}  // namespace
}  // namespace hieron
