#include "hieron/format/strict_json.h"

#include <gtest/gtest.h>

namespace hieron {
namespace {

TEST(StrictJson, FindsNegativeNumbersOutsideStringsOnly) {
  EXPECT_TRUE(has_negative_number(R"({"a":-1})"));
  EXPECT_TRUE(has_negative_number(R"({"a\"":[0,-0]})"));
  EXPECT_TRUE(has_negative_number(R"({"a\\":-0})"));
  EXPECT_FALSE(has_negative_number(R"({"a-0":"\"-1","b":[1]})"));
}

TEST(StrictJson, EscapesWhatJsonAsksForAndNothingElse) {
  std::string out;
  append_json_string(out, std::string_view("\"\\\b\f\n\r\t\x01\x1f\x7f/é\0", 14));
  EXPECT_EQ(out, "\"\\\"\\\\\\b\\f\\n\\r\\t\\u0001\\u001f\x7f/é\\u0000\"");
}

}  // namespace
}  // namespace hieron
