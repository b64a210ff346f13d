#include "hieron/report/terminal.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <sstream>

#include "hieron/core/text.h"
#include "hieron/report/samples_test.h"

namespace hieron {
namespace {

using testing::HasSubstr;
using testing::Not;

std::vector<std::string> lines(const std::string& text) {
  std::vector<std::string> out;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) out.push_back(line);
  return out;
}

size_t columns_of(const std::string& line) {
  return static_cast<size_t>(
      std::ranges::count_if(line, [](char c) { return (c & 0xC0) != 0x80; }));
}

void expect_in_order(const std::string& text, std::initializer_list<std::string> parts) {
  size_t at = 0;
  for (const std::string& part : parts) {
    const size_t found = text.find(part, at);
    ASSERT_NE(found, std::string::npos) << '"' << part << "\" does not follow in\n" << text;
    at = found;
  }
}

TEST(Terminal, AnswersInTheOrderOfAReadersQuestions) {
  const WrittenFile written[] = {{"page", "out/report.html"}};
  const std::string text = audit_text(samples::exact_merge(), {}, written);
  expect_in_order(
      text, {"exact-merge: suspect is 0.6 of", "What would prove it wrong", "The recipe found",
             "Depth against alpha", "The figures", "What was checked", "out/report.html"});
}

TEST(Terminal, OpensWithTheVerdict) {
  for (const auto& [name_, result] : samples::all()) {
    EXPECT_TRUE(audit_text(result, {}).starts_with(std::string(name(result.verdict.kind)) + ": "))
        << name_;
  }
}

TEST(Terminal, FitsOnAScreenful) {
  EXPECT_LE(lines(audit_text(samples::exact_merge(), {})).size(), 60u);
}

TEST(Terminal, KeepsToItsWidthUnlessAWordIsLonger) {
  for (int width : {60, 80, 100, 120}) {
    for (const AuditResult& result :
         {samples::exact_merge(), samples::fine_tune(), samples::undetermined()}) {
      for (const std::string& line : lines(audit_text(result, {.width = width}))) {
        EXPECT_LE(columns_of(line), static_cast<size_t>(width)) << line;
      }
    }
  }
}

TEST(Terminal, DrawsTheSuspectsSpikeToTheTopAndLeavesTheControlsOnTheFloor) {
  const auto text = lines(audit_text(samples::exact_merge(), {}));
  const auto top = std::ranges::find_if(text, [](auto& line) { return line.contains("1.0 ┤"); });
  ASSERT_NE(top, text.end());
  EXPECT_THAT(*top, HasSubstr("█"));
  EXPECT_THAT(top->substr(top->find("   │")), Not(HasSubstr("█")));
  EXPECT_THAT(*(top + 7), HasSubstr("▁▁▁▁"));
  EXPECT_THAT(*(top + 9), HasSubstr("0.600"));
}

TEST(Terminal, HasNoColourUnlessAsked) {
  EXPECT_THAT(audit_text(samples::exact_merge(), {}), Not(HasSubstr("\x1b")));
  EXPECT_THAT(audit_text(samples::exact_merge(), {.colour = true}), HasSubstr("\x1b[1m"));
}

TEST(Terminal, ColourChangesNothingButTheColour) {
  std::string coloured = audit_text(samples::exact_merge(), {.colour = true}), plain;
  for (size_t i = 0; i < coloured.size(); ++i) {
    if (coloured[i] == '\x1b') {
      i = coloured.find('m', i);
    } else {
      plain += coloured[i];
    }
  }
  EXPECT_EQ(plain, audit_text(samples::exact_merge(), {}));
}

TEST(Terminal, IsSevenBitWithoutUnicode) {
  for (const auto& [name_, result] : samples::all()) {
    const std::string text = audit_text(result, {.unicode = false});
    EXPECT_TRUE(std::ranges::all_of(text, [](char c) {
      return c == '\n' || (c >= ' ' && c < 0x7f);
    })) << name_;
  }
}

TEST(Terminal, DrawsTheSpikeInAsciiToo) {
  EXPECT_THAT(audit_text(samples::exact_merge(), {.unicode = false}), HasSubstr("#"));
}

TEST(Terminal, NoNameReachesTheTerminalAsACode) {
  for (const bool colour : {false, true}) {
    const std::string text = audit_text(samples::hostile(), {.colour = colour});
    EXPECT_TRUE(valid_utf8(text));
    EXPECT_THAT(text, Not(HasSubstr("\x1b[2J")));
    EXPECT_THAT(text, Not(HasSubstr("\x1b]0")));
    EXPECT_THAT(text, HasSubstr("\\x1b[2J"));
    if (colour) continue;
    for (const std::string& line : lines(text)) EXPECT_FALSE(has_control_or_bidi(line)) << line;
  }
}

TEST(Terminal, NoBytesInASentenceEscape) {
  rc::check([](const std::string& bytes) {
    AuditResult result;
    result.suspect.ref = result.verdict.sentence = bytes;
    result.warnings = {bytes};
    result.skipped = {{bytes, bytes}};
    for (const std::string& line : lines(audit_text(result, {}))) {
      RC_ASSERT(valid_utf8(line));
      RC_ASSERT(!has_control_or_bidi(line));
    }
  });
}

TEST(Terminal, ShowsARecipeThatVariesAsYaml) {
  AuditResult result = samples::exact_merge();
  result.recipe->varies = "layer";
  result.recipe->yaml = "merge_method: linear\nslices:\n";
  for (int i = 0; i < 40; ++i) result.recipe->yaml += "- layer " + std::to_string(i) + "\n";
  const std::string text = audit_text(result, {});
  EXPECT_THAT(text, HasSubstr("  slices:"));
  EXPECT_THAT(text, HasSubstr("and 18 more lines"));
}

TEST(Terminal, NamesTheFirstDifferenceAndWhatWasLeftOut) {
  const std::string text = audit_text(samples::merge_with_changes(), {.width = 120});
  EXPECT_THAT(text, HasSubstr("First difference: tensor"));
  EXPECT_THAT(text, HasSubstr("\"lm_head.weight\": shape [32000, 4096] here"));
  EXPECT_THAT(text, HasSubstr("Read in part"));
  EXPECT_THAT(text, HasSubstr("Warning: config.json"));
}

}  // namespace
}  // namespace hieron
