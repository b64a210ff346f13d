#include "hieron/model/tells.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <string>

#include "hieron/io/scratch_folder.h"

namespace hieron {
namespace {

const Tell* find(const std::vector<Tell>& all, std::string_view id) {
  const auto it = std::ranges::find(all, id, &Tell::id);
  return it == all.end() ? nullptr : &*it;
}

TEST(Tells, AreNoneForAnOrdinaryCheckpoint) {
  const ScratchFolder folder;
  folder.write("README.md", "# A model\n\nTrained on books.\n");
  EXPECT_TRUE(tells(folder.path(), {{"format", "pt"}, {"total_size", "12"}},
                    R"({"model_type": "llama", "_name_or_path": ""})")
                  .empty());
}

TEST(Tells, SeeTheVersionInTheIndex) {
  const auto found = tells("", {{"mergekit_version", "0.1.4"}}, "");
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].id, "mergekit-index-version");
  EXPECT_EQ(found[0].sentence, "the index says mergekit_version 0.1.4");
  EXPECT_EQ(found[0].weight, "strong hint");
}

TEST(Tells, SeeWhatMergekitLeavesInTheFolder) {
  const ScratchFolder folder;
  folder.write("mergekit_config.yml", "merge_method: linear\n");
  folder.write("README.md", "---\ntags:\n- MergeKit\n---\n");
  const auto found = tells(folder.path(), {}, "");
  ASSERT_TRUE(find(found, "mergekit-config-file"));
  ASSERT_TRUE(find(found, "mergekit-card"));
  EXPECT_EQ(find(found, "mergekit-card")->sentence, "README.md mentions mergekit (line 3)");
  EXPECT_EQ(find(found, "mergekit-card")->weight, "hint");
}

TEST(Tells, SeeAConfigThatPointsElsewhere) {
  const auto found = tells("", {}, R"({"_name_or_path": "org/other"})");
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].id, "config-name-or-path");
  EXPECT_EQ(found[0].weight, "weak hint");
}

TEST(Tells, SeeRecipesInHeaders) {
  EXPECT_TRUE(find(tells("", {{"sd_merge_recipe", "{}"}}, ""), "merge-recipe-metadata"));
  EXPECT_TRUE(find(tells("", {{"modelspec.merged_from", "a, b"}}, ""), "modelspec-merged-from"));
}

TEST(Tells, ShowValuesWithoutTheirControlCharacters) {
  const auto found =
      tells("", {{"mergekit_version", "\x1b[31m{}{0:}"}}, R"({"_name_or_path": "\u202e"})");
  ASSERT_EQ(found.size(), 2u);
  for (const Tell& tell : found) {
    EXPECT_EQ(tell.sentence.find('\x1b'), std::string::npos);
    EXPECT_EQ(tell.sentence.find("\xe2\x80\xae"), std::string::npos);
  }
}

TEST(Tells, GoPastWhatCannotBeRead) {
  const ScratchFolder folder;
  std::filesystem::create_symlink("README.md", folder.path("README.md"));  // a loop
  std::filesystem::create_directory(folder.path("mergekit_config.yml"));
  EXPECT_TRUE(tells(folder.path(), {}, "{ damaged").empty());
  EXPECT_TRUE(tells(folder.path("absent"), {}, "[]").empty());
}

}  // namespace
}  // namespace hieron
