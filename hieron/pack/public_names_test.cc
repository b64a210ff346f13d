#include "hieron/pack/public_names.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <string>
#include <vector>

namespace hieron {
namespace {

std::string name_of(const std::string& ref, const std::set<std::string>& taken = {}) {
  Checkpoint checkpoint;
  checkpoint.ref = ref;
  return public_name(checkpoint, taken);
}

TEST(PublicName, IsTheLastComponentOfAPath) {
  EXPECT_EQ(name_of("/data/secret project/merged"), "merged");
  EXPECT_EQ(name_of("../models/merged/"), "merged");
  EXPECT_EQ(name_of("models/odd.safetensors"), "odd");
}

TEST(PublicName, OfAFileThatIsCalledLikeAnyOtherIsItsFolder) {
  EXPECT_EQ(name_of("/data/base/model.safetensors"), "base");
  EXPECT_EQ(name_of("/data/base/model.safetensors.index.json"), "base");
}

TEST(PublicName, DiffersFromThoseTaken) {
  EXPECT_EQ(name_of("a/base", {"base"}), "base-2");
  EXPECT_EQ(name_of("a/base", {"base", "base-2"}), "base-3");
}

TEST(PublicName, IsNotTheUsers) {
  ::setenv("HOME", "/home/alice", 1);
  EXPECT_EQ(name_of("/home/alice"), "model");
  EXPECT_EQ(name_of("/home/alice/model.safetensors"), "model");
  EXPECT_EQ(name_of("."), "model");
}

TEST(PublicName, OfAHubsModelIsAsTyped) {
  Checkpoint checkpoint;
  checkpoint.ref = "org/name@main";
  checkpoint.commit = std::string(40, 'a');
  EXPECT_EQ(public_name(checkpoint, {}), "org/name@main");
}

TEST(PublicName, OfAHubsModelNamedByItsPlaceInTheCacheIsNoPath) {
  Checkpoint checkpoint;
  checkpoint.ref = "/home/alice/.cache/hub/snapshots/abc";
  checkpoint.commit = std::string(40, 'a');
  EXPECT_EQ(public_name(checkpoint, {}), "abc");
}

TEST(PublicUrl, HasNoSignatureAndNoUser) {
  EXPECT_EQ(public_url("https://a:t@hub.example/org/x/resolve/1/m.safetensors?X-Sig=1#f"),
            "https://hub.example/org/x/resolve/1/m.safetensors");
  EXPECT_EQ(public_url("https://hub.example/o/x@y/m"), "https://hub.example/o/x@y/m");
  EXPECT_EQ(public_url("no address"), "");
}

const std::vector<std::string> kMine{"/srv/models/mine"}, kOther{"/srv/m"};

TEST(WithoutThisMachine, CutsTheFolderItLiesIn) {
  EXPECT_EQ(without_this_machine("{\"from\": \"/srv/models/mine/x\"}", kMine),
            "{\"from\": \"mine/x\"}");
  EXPECT_EQ(without_this_machine("from /srv/models/mine.", kMine), "from mine.");
  EXPECT_EQ(without_this_machine("from org/name", kMine), "from org/name");
}

TEST(WithoutThisMachine, CutsTheFoldersOfTheOtherModels) {
  const std::vector<std::string> models{"/srv/models/mine", "/data/a/b/yours"};
  EXPECT_EQ(without_this_machine("- model: /data/a/b/yours\n", models), "- model: yours\n");
}

TEST(WithoutThisMachine, CutsTheHomeFolder) {
  ::setenv("HOME", "/home/alice", 1);
  EXPECT_EQ(without_this_machine("/home/alice/a, /home/alice/b", kOther), "a, b");
}

TEST(WithoutThisMachine, LeavesWhatManyMachinesHave) {
  ::setenv("HOME", "/root", 1);
  EXPECT_EQ(without_this_machine("from /root/data/qwen", kOther), "from /root/data/qwen");
}

}  // namespace
}  // namespace hieron
