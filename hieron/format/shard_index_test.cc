#include "hieron/format/shard_index.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <string>
#include <utility>

namespace hieron {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::Pair;
using testing::UnorderedElementsAre;

std::string verdict(std::string_view json) {
  const auto index = parse_shard_index(json, "i.json");
  if (index) return "accepted";
  EXPECT_EQ(index.error().code, ErrorCode::kRefused);
  EXPECT_EQ(index.error().file, "i.json");
  return index.error().sentence;
}

std::string verdict_on_shard(std::string_view shard_in_json) {
  return verdict(fmt::format(R"({{"weight_map":{{"a":"{}"}}}})", shard_in_json));
}

TEST(ShardIndex, ReadsTensorsInFileOrderAndShardsInNameOrder) {
  const auto index = parse_shard_index(
      R"({"metadata":{"total_size":123,"mergekit_version":"0.1.4","f":1.5,"b":true,"n":null},
          "weight_map":{"z":"model-00002-of-00002.safetensors",
                        "a":"model-00001-of-00002.safetensors",
                        "b":"model-00002-of-00002.safetensors"}})",
      "i.json");
  ASSERT_TRUE(index);
  EXPECT_THAT(index->weight_map, ElementsAre(Pair("z", "model-00002-of-00002.safetensors"),
                                             Pair("a", "model-00001-of-00002.safetensors"),
                                             Pair("b", "model-00002-of-00002.safetensors")));
  EXPECT_THAT(index->shards,
              ElementsAre("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"));
  EXPECT_THAT(index->metadata,
              UnorderedElementsAre(Pair("total_size", "123"), Pair("mergekit_version", "0.1.4"),
                                   Pair("f", "1.5"), Pair("b", "true"), Pair("n", "null")));
}

TEST(ShardIndex, NeedsNoMetadata) {
  EXPECT_EQ(verdict(R"({"weight_map":{}})"), "accepted");
  EXPECT_EQ(verdict(R"({"metadata":null,"weight_map":{}})"), "accepted");
}

TEST(ShardIndex, PassesOverWhatOthersAdd) {
  EXPECT_EQ(verdict(R"({"version":[1,{"x":2}],"weight_map":{"a":"m.safetensors"}})"), "accepted");
}

TEST(ShardIndex, RefusesShardsOutsideItsFolder) {
  for (const std::string_view shard :
       {"../x.safetensors", "/etc/passwd", "a/b.safetensors", "..", ".", "", "a\\\\b.safetensors",
        "..\\\\x", "x\\u0000.safetensors", "x\\u001b.safetensors", "x\\n", "x\\u202e.safetensors",
        "\\u002e\\u002e\\u002fx"}) {
    EXPECT_THAT(verdict_on_shard(shard), HasSubstr("not a plain file name")) << shard;
  }
  EXPECT_EQ(verdict_on_shard("..model.safetensors"), "accepted");
}

TEST(ShardIndex, RefusesAnythingTwice) {
  EXPECT_THAT(verdict(R"({"weight_map":{"a":"x","b":"x","\u0061":"y"}})"),
              HasSubstr("tensor \"a\" twice"));
  EXPECT_THAT(verdict(R"({"weight_map":{},"weight_map":{}})"), HasSubstr("\"weight_map\" twice"));
  EXPECT_THAT(verdict(R"({"x":1,"x":1,"weight_map":{}})"), HasSubstr("\"x\" twice"));
  EXPECT_THAT(verdict(R"({"metadata":{"n":1,"n":2},"weight_map":{}})"), HasSubstr("\"n\" twice"));
}

TEST(ShardIndex, RefusesShardsThatAreNotText) {
  for (const std::string_view shard : {"1", "null", "[\"x\"]", "{}"}) {
    EXPECT_THAT(verdict(fmt::format(R"({{"weight_map":{{"a":{}}}}})", shard)),
                HasSubstr("tensor \"a\" a shard that is not a string"));
  }
}

TEST(ShardIndex, RefusesAMissingOrMistypedMap) {
  EXPECT_THAT(verdict("{}"), HasSubstr("has no \"weight_map\""));
  EXPECT_THAT(verdict(R"({"weight_map":[]})"), HasSubstr("not a JSON object"));
  EXPECT_THAT(verdict(R"({"metadata":[],"weight_map":{}})"), HasSubstr("not a JSON object"));
  EXPECT_THAT(verdict("[]"), HasSubstr("not a JSON object"));
}

TEST(ShardIndex, RefusesEmptyNamesAndNul) {
  EXPECT_THAT(verdict(R"({"weight_map":{"":"x"}})"), HasSubstr("name is empty"));
  EXPECT_THAT(verdict(R"({"weight_map":{"a\u0000":"x"}})"), HasSubstr("NUL"));
}

TEST(ShardIndex, RefusesBrokenJson) {
  EXPECT_THAT(verdict(""), HasSubstr("not valid JSON"));
  EXPECT_THAT(verdict(R"({"weight_map":{}} x)"), HasSubstr("not valid JSON"));
  EXPECT_THAT(verdict(R"({"weight_map":{"a":"x",}})"), HasSubstr("not valid JSON"));
  EXPECT_THAT(verdict("{\"weight_map\":{\"a\":\"\xFF\"}}"), HasSubstr("not valid UTF-8"));
  EXPECT_THAT(verdict(R"({"x":)" + std::string(100'000, '[') + std::string(100'000, ']') + "}"),
              HasSubstr("nested more than 16 levels"));
}

TEST(ShardIndex, IsWrittenAsTheHubWritesIt) {
  EXPECT_EQ(write_shard_index({{"b", "m2.safetensors"}, {"a", "m1.safetensors"}}, 42),
            "{\n"
            "  \"metadata\": {\n"
            "    \"total_size\": 42\n"
            "  },\n"
            "  \"weight_map\": {\n"
            "    \"a\": \"m1.safetensors\",\n"
            "    \"b\": \"m2.safetensors\"\n"
            "  }\n"
            "}\n");
  EXPECT_EQ(verdict(write_shard_index({}, 0)), "accepted");
}

RC_GTEST_PROP(ShardIndex, IsReadBackAsWritten, ()) {
  const auto letter = rc::gen::elementOf(std::string("ab.\"\\\n {}"));
  const auto names = rc::gen::nonEmpty(rc::gen::container<std::string>(letter));
  const auto shards = rc::gen::map(rc::gen::inRange(1, 9), [](int n) {
    return fmt::format("model-{:05d}-of-00009.safetensors", n);
  });
  const auto map = *rc::gen::container<std::map<std::string, std::string>>(names, shards);
  const std::vector<std::pair<std::string, std::string>> pairs(map.begin(), map.end());
  const auto index = parse_shard_index(write_shard_index(pairs, 7), "i.json");
  RC_ASSERT(index.has_value());
  RC_ASSERT(index->weight_map == pairs);
  RC_ASSERT(index->metadata.at("total_size") == "7");
}

}  // namespace
}  // namespace hieron
