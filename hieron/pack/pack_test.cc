#include "hieron/pack/pack.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace hieron {
namespace {

using ::testing::HasSubstr;

PackedBytes content(uint64_t bytes, char digit) {
  return {.bytes = bytes, .sha256 = std::string(64, digit), .stored = bytes, .planes = 0};
}

// Two models with the same header; what a pack may hold, once.
Pack sample() {
  Pack pack;
  pack.version = "9.9";
  PackedWeights file{"model.safetensors", 1000, {}, {}};
  file.blocks = {{0, content(100, 'a')}, {200, content(50, 'b')}};
  PackedModel suspect{"suspect", {}, "model.safetensors.index.json", {file}, {}};
  suspect.texts = {{"config.json", content(30, 'c')},
                   {"model.safetensors.index.json", content(40, 'd')}};
  suspect.texts[0].content.stored = 20;
  suspect.texts[0].content.planes = 1;
  PackedModel parent{"org/parent", std::string(40, '1'), {}, {file}, {}};
  parent.files[0].origin = {"https://hub.example/org/parent", "tag", std::string(64, 'e')};
  parent.files[0].blocks[1].content = content(50, 'f');
  pack.models = {suspect, parent};
  pack.parents = {1};
  pack.base = 1;
  pack.sample_bytes = 65536;
  pack.report_sha256 = std::string(64, '0');
  pack.blocks_bytes = place_contents(pack).bytes;
  return pack;
}

std::string with(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  EXPECT_NE(at, text.npos) << from;
  return at == text.npos ? text : text.replace(at, from.size(), to);
}

std::string complaint(const std::string& json) {
  const auto pack = parse_pack(json, "evidence.json");
  if (pack) return "accepted";
  EXPECT_EQ(pack.error().code, ErrorCode::kRefused);
  return pack.error().sentence;
}

TEST(Pack, ReadsBackAsItWasWritten) {
  const std::string json = pack_json(sample());
  const auto pack = parse_pack(json, "evidence.json");
  ASSERT_TRUE(pack) << pack.error().sentence;
  EXPECT_EQ(pack_json(*pack), json);
}

TEST(Pack, StoresTheSameContentOnce) {
  Pack pack = sample();
  EXPECT_EQ(place_contents(pack).bytes, 100 + 50 + 50 + 20 + 40);
  EXPECT_EQ(pack.models[1].files[0].blocks[0].content.at, 0);
  EXPECT_EQ(pack.models[1].files[0].blocks[1].content.at, 150);
  EXPECT_EQ(pack.models[0].texts[0].content.at, 200);
}

TEST(Pack, RefusesAnotherSchema) {
  EXPECT_THAT(complaint(with(pack_json(sample()), "evidence/1", "evidence/2")),
              HasSubstr("evidence/2"));
}

TEST(Pack, RefusesAKeyThatIsThereTwice) {
  EXPECT_THAT(complaint(with(pack_json(sample()), "\"offset\":0", "\"offset\":0,\"offset\":0")),
              HasSubstr("twice"));
}

TEST(Pack, RefusesNamesThatLeadElsewhere) {
  for (const char* name : {"../config.json", "/etc/passwd", "a/b", "..", "", "x\\u0000y"}) {
    EXPECT_THAT(complaint(with(pack_json(sample()), "\"path\":\"config.json\"",
                               std::string("\"path\":\"") + name + "\"")),
                HasSubstr("leads out"))
        << name;
  }
  EXPECT_THAT(complaint(with(pack_json(sample()), "\"path\":\"model.safetensors\"",
                             "\"path\":\"sub/../../model.safetensors\"")),
              HasSubstr("leads out"));
}

TEST(Pack, RefusesBlocksThatOverlap) {
  EXPECT_THAT(complaint(with(pack_json(sample()), "\"offset\":200", "\"offset\":99")),
              HasSubstr("overlaps"));
}

TEST(Pack, RefusesBlocksBeyondTheirFile) {
  EXPECT_THAT(complaint(with(pack_json(sample()), "\"offset\":200", "\"offset\":951")),
              HasSubstr("beyond the end"));
  EXPECT_THAT(
      complaint(with(pack_json(sample()), "\"offset\":200", "\"offset\":18446744073709551615")),
      HasSubstr("beyond the end"));
}

TEST(Pack, RefusesBlocksThatAreTooLongOrEmpty) {
  EXPECT_THAT(complaint(with(pack_json(sample()), "\"bytes\":50", "\"bytes\":65537")),
              HasSubstr("more than"));
  EXPECT_THAT(complaint(with(pack_json(sample()), "\"bytes\":50", "\"bytes\":0")),
              HasSubstr("beyond the end"));
}

TEST(Pack, RefusesASumOfBlocksThatIsNotTheFiles) {
  EXPECT_THAT(complaint(with(pack_json(sample()), "\"bytes\":260", "\"bytes\":261")),
              HasSubstr("sum of the blocks"));
}

TEST(Pack, RefusesDeflatedBytesThatAreNoFewer) {
  EXPECT_THAT(complaint(with(pack_json(sample()), "\"deflated\":20", "\"deflated\":30")),
              HasSubstr("fewer"));
}

TEST(Pack, RefusesModelsThatAreNotThere) {
  EXPECT_THAT(complaint(with(pack_json(sample()), "\"suspect\":0", "\"suspect\":2")),
              HasSubstr("none of the models"));
  EXPECT_THAT(complaint(with(pack_json(sample()), "\"parents\":[1]", "\"parents\":[-1]")),
              HasSubstr("none of the models"));
  EXPECT_THAT(complaint(with(pack_json(sample()), "\"parents\":[1]", "\"parents\":[]")),
              HasSubstr("is empty"));
}

TEST(Pack, RefusesAnIndexThatIsNotAmongTheTexts) {
  EXPECT_THAT(complaint(with(pack_json(sample()), "\"index\":null", "\"index\":\"other.json\"")),
              HasSubstr("none of the texts"));
}

TEST(Pack, RefusesATextNamedTwice) {
  EXPECT_THAT(complaint(with(pack_json(sample()), "\"path\":\"model.safetensors.index.json\"",
                             "\"path\":\"config.json\"")),
              HasSubstr("named before"));
}

TEST(Pack, RefusesWhatIsNoHash) {
  EXPECT_THAT(complaint(with(pack_json(sample()), std::string(64, 'b'), std::string(64, 'B'))),
              HasSubstr("no SHA-256"));
}

TEST(Pack, RefusesDepthThatHasNoEnd) {
  EXPECT_THAT(complaint(with(pack_json(sample()), "\"pool\":null",
                             "\"pool\":" + std::string(1000, '[') + std::string(1000, ']'))),
              HasSubstr("too deeply"));
}

TEST(Pack, RefusesEveryFieldThatIsMissing) {
  for (const char* key : {"schema", "tool", "audit", "models", "blocks", "report", "suspect",
                          "seed", "sample_bytes", "ref", "files", "texts", "offset", "sha256"}) {
    const std::string quoted = "\"" + std::string(key) + "\"";
    EXPECT_NE(complaint(with(pack_json(sample()), quoted, "\"other\"")), "accepted") << key;
  }
}

}  // namespace
}  // namespace hieron
