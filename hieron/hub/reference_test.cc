#include "hieron/hub/reference.h"

#include <gtest/gtest.h>

namespace hieron {
namespace {

TEST(HubReference, IsANameWithOrWithoutRevision) {
  EXPECT_EQ(parse_hub_reference("org/name"), (HubReference{"org/name", ""}));
  EXPECT_EQ(parse_hub_reference("org/name")->revision_or_main(), "main");
  EXPECT_EQ(parse_hub_reference("Org-1/n.a_me@v1.0"), (HubReference{"Org-1/n.a_me", "v1.0"}));
  EXPECT_EQ(parse_hub_reference("org/name@refs/pr/1"), (HubReference{"org/name", "refs/pr/1"}));
  EXPECT_EQ(parse_hub_reference("hf://org/name@x"), (HubReference{"org/name", "x"}));
}

TEST(HubReference, OfOneWordNeedsItsScheme) {
  EXPECT_EQ(parse_hub_reference("gpt2"), std::nullopt);
  EXPECT_EQ(parse_hub_reference("hf://gpt2"), (HubReference{"gpt2", ""}));
}

TEST(HubReference, RefusesWhatHuggingFaceHubRefuses) {
  for (const char* text :
       {"",       "/",      "a/",       "/a",      "a/b/c", "a//b", ".a/b",     "a/b.",
        "-a/b",   "a--b/c", "a/b..c",   "a/b.git", "a/b c", "a/b@", "a/b@../x", "a/b@x y",
        "a/b@/x", "a/b@x/", "a/b@x\\y", "../a",    "~/a",   "a/ü"}) {
    EXPECT_EQ(parse_hub_reference(text), std::nullopt) << text;
  }
  EXPECT_EQ(parse_hub_reference("a/" + std::string(95, 'b')), std::nullopt);
}

TEST(IsCommit, Takes40LowerCaseDigits) {
  EXPECT_TRUE(is_commit(std::string(40, 'a')));
  EXPECT_FALSE(is_commit(std::string(40, 'A')));
  EXPECT_FALSE(is_commit(std::string(39, 'a')));
  EXPECT_TRUE(is_sha256(std::string(64, '0')));
}

}  // namespace
}  // namespace hieron
