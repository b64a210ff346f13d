#include "hieron/core/text.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <array>
#include <cmath>

namespace hieron {
namespace {

TEST(ParseSize, ReadsDecimalAndBinaryUnits) {
  EXPECT_EQ(parse_size("4096"), 4096u);
  EXPECT_EQ(parse_size("5B"), 5u);
  EXPECT_EQ(parse_size("64KiB"), 65536u);
  EXPECT_EQ(parse_size("512MiB"), 512u << 20);
  EXPECT_EQ(parse_size("5GB"), 5000000000u);
  EXPECT_EQ(parse_size("5G"), 5000000000u);
  EXPECT_EQ(parse_size("1.5 MB"), 1500000u);
  EXPECT_EQ(parse_size("0.5kib"), 512u);
  EXPECT_EQ(parse_size("2TiB"), uint64_t{2} << 40);
}

TEST(ParseSize, RefusesWhatIsNotASize) {
  for (const char* text : {"", "GB", "5XB", "-5GB", "5  GB", "1.2.3", "5GBx", "1e9", ".", "5 Gi",
                           "99999999999999999999999999999999999999999", "9999999999 TB"}) {
    const auto size = parse_size(text);
    ASSERT_FALSE(size) << text;
    EXPECT_EQ(size.error().code, ErrorCode::kUsage);
  }
}

TEST(ShowBytes, HasThreeSignificantDigits) {
  EXPECT_EQ(show_bytes(0), "0 B");
  EXPECT_EQ(show_bytes(999), "999 B");
  EXPECT_EQ(show_bytes(1000), "1 kB");
  EXPECT_EQ(show_bytes(1900000000), "1.9 GB");
  EXPECT_EQ(show_bytes(123456), "123 kB");
  EXPECT_EQ(show_bytes(999499), "999 kB");
  EXPECT_EQ(show_bytes(999999), "1 MB");
  EXPECT_EQ(show_bytes(UINT64_MAX), "18.4 EB");
}

TEST(WithCommas, GroupsByThree) {
  EXPECT_EQ(with_commas(0), "0");
  EXPECT_EQ(with_commas(999), "999");
  EXPECT_EQ(with_commas(1000), "1,000");
  EXPECT_EQ(with_commas(9663676416), "9,663,676,416");
}

TEST(Printable, LeavesOrdinaryNamesAlone) {
  EXPECT_EQ(printable("model.layers.7.mlp.up_proj.weight"), "model.layers.7.mlp.up_proj.weight");
  EXPECT_EQ(printable("名前 – ñ 🙂"), "名前 – ñ 🙂");
}

TEST(Printable, EscapesWhatCouldDeceiveATerminal) {
  EXPECT_EQ(printable("a\x1b[31mb"), "a\\x1b[31mb");
  EXPECT_EQ(printable("a\nb\x7f"), "a\\x0ab\\x7f");
  EXPECT_EQ(printable("\u202Eevil"), "\\u{202e}evil");
  EXPECT_EQ(printable("\u0085"), "\\u{85}");
  EXPECT_EQ(printable("\uFEFFx"), "\\u{feff}x");
  EXPECT_EQ(printable("\xff\xfe"), "\\xff\\xfe");
}

TEST(Printable, CutsLongNamesInTheMiddle) {
  const std::string name(500, 'a');
  const std::string shown = printable("start" + name + "end", 20);
  EXPECT_LE(shown.size(), 20u);
  EXPECT_TRUE(shown.starts_with("start"));
  EXPECT_TRUE(shown.ends_with("end"));
  EXPECT_NE(shown.find("…"), std::string::npos);
}

RC_GTEST_PROP(Printable, IsAlwaysSafeAndShort, (const std::string& name)) {
  for (const size_t limit : {size_t{10}, size_t{120}}) {
    const std::string shown = printable(name, limit);
    RC_ASSERT(valid_utf8(shown));
    RC_ASSERT(!has_control_or_bidi(shown));
    RC_ASSERT(shown.size() <= limit);
  }
}

// Kuhn, "UTF-8 decoder capability and stress test", sections 2–5.
TEST(ValidUtf8, AcceptsBoundariesAndRefusesMalformedSequences) {
  for (const char* good :
       {"", "a", "\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80", "\xed\x9f\xbf", "\xee\x80\x80",
        "\xef\xbf\xbf", "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf"}) {
    EXPECT_TRUE(valid_utf8(good)) << good;
  }
  for (const char* bad :
       {"\x80", "\xbf", "\xc0\xaf", "\xc1\xbf", "\xe0\x9f\xbf", "\xf0\x8f\xbf\xbf", "\xed\xa0\x80",
        "\xed\xbf\xbf", "\xf4\x90\x80\x80", "\xf8\x88\x80\x80\x80", "\xc2", "\xe2\x82",
        "\xf0\x9f\x99", "\xfe", "\xff", "a\xc3("}) {
    EXPECT_FALSE(valid_utf8(bad)) << printable(bad);
  }
}

TEST(HasControlOrBidi, FindsThemAnywhere) {
  EXPECT_FALSE(has_control_or_bidi("plain name, ümlaut"));
  for (const char* text : {"tab\there", "\u200E", "\u200F", "x\u202A", "x\u202E", "\u2066x",
                           "\u2069", "\u061C", "\u009F", "\uFEFF", "\x7f"}) {
    EXPECT_TRUE(has_control_or_bidi(text)) << printable(text);
  }
}

TEST(EditDistance, CountsEditsAndTranspositions) {
  EXPECT_EQ(edit_distance("", ""), 0);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3);
  EXPECT_EQ(edit_distance("weight", "wieght"), 1);
  EXPECT_EQ(edit_distance("densty", "density"), 1);
  EXPECT_EQ(edit_distance("abc", ""), 3);
  EXPECT_EQ(edit_distance("ca", "abc"), 3) << "optimal string alignment, as published";
}

RC_GTEST_PROP(EditDistance, IsSymmetricAndZeroOnlyForEquals,
              (const std::string& a, const std::string& b)) {
  RC_ASSERT(edit_distance(a, b) == edit_distance(b, a));
  RC_ASSERT((edit_distance(a, b) == 0) == (a == b));
  RC_ASSERT(edit_distance(a, b) <= static_cast<int>(std::max(a.size(), b.size())));
}

TEST(Nearest, FindsTheFirstOfTheNearest) {
  constexpr std::array<std::string_view, 4> kNames{"weight", "density", "normalize", "height"};
  EXPECT_EQ(nearest("densty", kNames), "density");
  EXPECT_EQ(nearest("eight", kNames), "weight");
  EXPECT_EQ(nearest("normalise", kNames), "normalize");
  EXPECT_EQ(nearest("gamma", kNames), "");
  EXPECT_EQ(nearest("dnsty", kNames, 1), "");
}

RC_GTEST_PROP(Shortest, ReadsBackAsTheSameDouble, (double value)) {
  if (std::isfinite(value)) RC_ASSERT(std::stod(shortest(value)) == value);
}

TEST(Shortest, IsWhatAPersonWouldWrite) {
  EXPECT_EQ(shortest(0.6), "0.6");
  EXPECT_EQ(shortest(1e-5), "1e-05");
  EXPECT_EQ(shortest(-0.3), "-0.3");
  EXPECT_EQ(shortest(4.0 / 7), "0.5714285714285714");
}

}  // namespace
}  // namespace hieron
