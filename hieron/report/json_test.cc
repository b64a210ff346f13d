#include "hieron/report/json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "hieron/core/text.h"
#include "hieron/report/samples_test.h"

namespace hieron {
namespace {

using nlohmann::ordered_json;
using testing::ElementsAre;

std::vector<std::string> keys(const ordered_json& object) {
  std::vector<std::string> out;
  for (const auto& [key, value] : object.items()) out.push_back(key);
  return out;
}

TEST(Json, KeepsTheOrderOfTheSchema) {
  const auto document = ordered_json::parse(audit_json(samples::exact_merge()));
  EXPECT_THAT(keys(document),
              ElementsAre("schema", "tool", "suspect", "base", "parents", "controls", "verdict",
                          "recipe", "replay", "depth", "direction", "edit", "after_merge",
                          "kinship", "tensors", "coverage", "unexplained", "sampling", "skipped",
                          "tells", "pool", "also", "warnings", "thresholds", "seconds"));
}

TEST(Json, SaysNullWhereNothingIsKnown) {
  const auto document = ordered_json::parse(audit_json(samples::undetermined()));
  for (const char* key :
       {"base", "recipe", "replay", "depth", "direction", "after_merge", "unexplained"}) {
    EXPECT_TRUE(document.at(key).is_null()) << key;
  }
  EXPECT_TRUE(document["suspect"]["commit"].is_null());
  EXPECT_EQ(document["verdict"]["kind"], "undetermined");
}

TEST(Json, HasNullForNanAndInfinity) {
  AuditResult result = samples::exact_merge();
  result.depth->alpha = std::numeric_limits<double>::quiet_NaN();
  result.depth->bits = -std::numeric_limits<double>::infinity();
  const auto document = ordered_json::parse(audit_json(result));
  EXPECT_TRUE(document["depth"]["alpha"].is_null());
  EXPECT_TRUE(document["depth"]["bits"].is_null());
  EXPECT_TRUE(document["tensors"][7]["alpha"].is_null());
}

TEST(Json, NumbersReadBackAsTheSameDouble) {
  rc::check([](double value) {
    AuditResult result;
    result.depth.emplace();
    result.depth->bits = value;
    const auto document = ordered_json::parse(audit_json(result));
    RC_ASSERT(document["depth"]["bits"].get<double>() == value);
  });
}

TEST(Json, CountsBeyond53BitsAreExact) {
  AuditResult result;
  result.sampling.bytes_total = std::numeric_limits<uint64_t>::max();
  EXPECT_THAT(audit_json(result), testing::HasSubstr("\"bytes_total\":18446744073709551615"));
}

TEST(Json, IsUtf8WhateverTheNamesAre) {
  const std::string text = audit_json(samples::hostile());
  EXPECT_TRUE(valid_utf8(text));
  const auto document = ordered_json::parse(text);
  EXPECT_EQ(document["tensors"][0]["name"], "<script>alert(1)</script>");
  EXPECT_THAT(document["tensors"][4]["name"].get<std::string>(),
              testing::HasSubstr("\xef\xbf\xbd"));
}

TEST(Json, SurvivesAnyBytesInAName) {
  rc::check([](const std::string& bytes) {
    AuditResult result;
    result.suspect.ref = bytes;
    const auto document = ordered_json::parse(audit_json(result));
    if (valid_utf8(bytes)) RC_ASSERT(document["suspect"]["ref"].get<std::string>() == bytes);
  });
}

TEST(Json, DiffersBetweenEqualAuditsInSecondsOnly) {
  AuditResult one = samples::exact_merge(), other = samples::exact_merge();
  other.seconds = 99;
  const std::string a = audit_json(one), b = audit_json(other);
  EXPECT_NE(a, b);
  const size_t at = a.rfind("\"seconds\"");
  EXPECT_EQ(a.substr(0, at), b.substr(0, at));
}

TEST(Json, KeepsThePeakOfALongCurve) {
  AuditResult result = samples::exact_merge();
  auto& curve = result.depth->curve;
  curve.clear();
  for (int i = 0; i < 100'000; ++i) curve.push_back({i * 1e-5, 0.001});
  curve[31'415].share = 0.75;
  const auto document = ordered_json::parse(audit_json(result));
  const auto& written = document["depth"]["curve"];
  EXPECT_LE(written.size(), 512u);
  double highest = 0;
  for (const auto& point : written) highest = std::max(highest, point[1].get<double>());
  EXPECT_EQ(highest, 0.75);
}

TEST(Json, NamesWhatChangedByItsScope) {
  const auto document = ordered_json::parse(audit_json(samples::merge_with_changes()));
  const auto& where = document["after_merge"]["where"];
  EXPECT_EQ(where[0]["tensor"], "model.layers.7.mlp.up_proj.weight");
  EXPECT_EQ(where[1]["role"], "mlp.up");
  EXPECT_EQ(where[2]["layer"], 7);
}

TEST(Json, PutsATensorALine) {
  const std::string text = audit_json(samples::large(3, 2));
  const size_t from = text.find("\n \"tensors\"") + 1, to = text.find("\"coverage\"");
  EXPECT_EQ(std::count(text.begin() + static_cast<ptrdiff_t>(from),
                       text.begin() + static_cast<ptrdiff_t>(to), '\n'),
            3 * (6 + 2 * 3) + 2);
}

}  // namespace
}  // namespace hieron
