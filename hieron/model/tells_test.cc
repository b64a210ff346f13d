#include "hieron/model/tells.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "hieron/io/scratch_folder.h"

namespace hieron {
namespace {

const Tell* find(const std::vector<Tell>& all, std::string_view id) {
  const auto it = std::ranges::find(all, id, &Tell::id);
  return it == all.end() ? nullptr : &*it;
}

std::vector<Tell> tells(const std::string& folder, std::map<std::string, std::string> metadata,
                        const std::string& config_json) {
  return hieron::tells({.ref = folder,
                        .folder = folder,
                        .metadata = std::move(metadata),
                        .config_json = config_json,
                        .shards = {},
                        .tensors = {}});
}

ModelFiles model(const std::string& ref, const std::string& folder, std::string config = "") {
  return {.ref = ref,
          .folder = folder,
          .metadata = {},
          .config_json = std::move(config),
          .shards = {},
          .tensors = {}};
}

// Layers of two tensors each, in shards of so many bytes, in the order that `names` has.
struct Sharded {
  std::vector<std::string> names;
  ModelFiles files = model("m", "");

  Sharded(bool by_name, uint64_t bytes_per_tensor, uint64_t shard_bytes, int layers = 12) {
    names.emplace_back("model.embed_tokens.weight");
    for (int i = 0; i < layers; ++i) {
      names.push_back("model.layers." + std::to_string(i) + ".mlp.up_proj.weight");
      names.push_back("model.layers." + std::to_string(i) + ".self_attn.q_proj.weight");
    }
    names.emplace_back("model.norm.weight");
    if (by_name) {
      names.emplace_back("lm_head.weight");
      std::ranges::sort(names);
    } else {
      names.emplace_back("lm_head.weight");
    }
    uint64_t filled = shard_bytes;
    for (const std::string& name : names) {
      if (filled + bytes_per_tensor > shard_bytes) {
        files.shards.push_back("model-0000" + std::to_string(files.shards.size() + 1));
        filled = 0;
      }
      filled += bytes_per_tensor;
      files.tensors.push_back(
          {name, static_cast<uint32_t>(files.shards.size() - 1), bytes_per_tensor});
    }
  }
};

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
  folder.write("README.md", "---\nbase_model: [a, b\n---\n");
  folder.write("tokenizer_config.json", std::string(100'000, '['));
  EXPECT_TRUE(tells(folder.path(), {}, std::string(100'000, '{')).empty());
}

TEST(Tells, StandInTheOrderOfTheirWeight) {
  const ScratchFolder folder;
  folder.write("README.md", "made with mergekit");
  const auto found = tells(folder.path(), {{"mergekit_version", "1"}}, R"({"_name_or_path": "x"})");
  ASSERT_EQ(found.size(), 3u);
  EXPECT_EQ(found[0].weight, "strong hint");
  EXPECT_EQ(found[1].weight, "hint");
  EXPECT_EQ(found[2].weight, "weak hint");
}

TEST(Writer, FillsShardsInTheOrderOfNamesIfItIsMergekit) {
  const auto found = tells(Sharded(true, 900'000'000, 5'000'000'000).files);
  ASSERT_TRUE(find(found, "shards-in-name-order-5gb"));
  EXPECT_EQ(find(found, "shards-in-name-order-5gb")->weight, "strong hint");
  // Of another size: anybody who sorts names does so.
  const auto small = tells(Sharded(true, 9'000, 50'000).files);
  ASSERT_TRUE(find(small, "shards-in-name-order"));
  EXPECT_EQ(find(small, "shards-in-name-order")->weight, "hint");
}

TEST(Writer, IsNotBetrayedByTheOrderOfLayers) {
  EXPECT_TRUE(tells(Sharded(false, 900'000'000, 5'000'000'000).files).empty());
  // Below eleven layers, the order of names is that of layers.
  EXPECT_TRUE(tells(Sharded(true, 900'000'000, 5'000'000'000, 10).files).empty());
  EXPECT_TRUE(tells(Sharded(true, 1, 5'000'000'000).files).empty());  // one file
}

TEST(Writer, OfAnotherModelThatIsCutAlike) {
  const Sharded one(true, 9'000, 50'000), same(true, 9'000, 50'000), other(false, 9'000, 50'000);
  const std::vector<ModelFiles> others{same.files, other.files};
  const auto found = comparative_tells(one.files, others);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].id, "shards-cut-alike");
  EXPECT_TRUE(comparative_tells(one.files, std::span(others).first(1)).empty());
}

TEST(Card, ClaimsAreRead) {
  const ScratchFolder folder;
  folder.write("README.md",
               "---\r\nbase_model:\r\n- org/A-7B\r\n- org/B-7B\r\nbase_model_relation: merge\r\n"
               "tags: [merge, x]\r\n---\r\n# Mine\nIt was trained from scratch.\n");
  const auto found = tells(folder.path(), {}, "");
  ASSERT_TRUE(find(found, "card-relation-merge"));
  EXPECT_EQ(find(found, "card-relation-merge")->weight, "strong hint");
  ASSERT_TRUE(find(found, "card-tag-merge"));
  ASSERT_TRUE(find(found, "card-several-bases"));
  EXPECT_EQ(find(found, "card-several-bases")->sentence,
            "README.md names 2 base models: \"org/A-7B\", \"org/B-7B\"");
  ASSERT_TRUE(find(found, "card-from-scratch"));
}

TEST(Card, IsComparedWithTheModelsOffered) {
  const ScratchFolder folder;
  folder.write("README.md", "---\nbase_model: Org/A-7B\n---\n# Mine\nUnlike beta-13b, it …\n");
  const std::vector<ModelFiles> others{model("models/a-7b", ""), model("Other/Beta-13B@main", "")};
  const auto found = comparative_tells(model("mine", folder.path()), others);
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0].id, "card-base-offered");
  EXPECT_EQ(found[1].sentence, "README.md mentions Other/Beta-13B@main, but not as base model");
  const auto absent =
      comparative_tells(model("mine", folder.path()), std::span(others).subspan(1, 1));
  ASSERT_TRUE(find(absent, "card-base-not-offered"));
}

TEST(Card, OfAnotherCachedCommitShowsWhatChanged) {
  const ScratchFolder cache;
  const auto snapshot = [&](const std::string& commit, std::string_view card) {
    const std::string folder = "models--org--m/snapshots/" + commit;
    std::filesystem::create_directories(cache.path(folder));
    cache.write(folder + "/README.md", card);
    return cache.path(folder);
  };
  const std::string early = snapshot(std::string(40, 'a'), "---\nlicense: mit\n---\n# M\n");
  const std::string late = snapshot(
      std::string(40, 'b'), "---\nlicense: mit\nbase_model: [org/A, org/B]\n---\n# M\nA merge.\n");
  const auto found = tells(early, {}, "");
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].sentence,
            "README.md differs from that of the cached commit bbbbb…bbbb: base_model is absent "
            "here and \"org/A\", \"org/B\" there; a merge is absent here and mentioned there");
  snapshot(std::string(40, 'b'), "---\nlicense: mit\n---\n# M\nReworded.\n");
  EXPECT_TRUE(tells(early, {}, "").empty());
}

TEST(Identity, OfAnotherModelInTheTemplateIsSeen) {
  const ScratchFolder folder;
  folder.write("tokenizer_config.json",
               R"({"chat_template": "{{- 'You are Qwen, created by Alibaba Cloud.' }}"})");
  folder.write("README.md", "# Rio\n\nA model of ours.\n");
  const auto found = tells(folder.path(), {}, R"({"model_type": "qwen3_5_moe"})");
  ASSERT_TRUE(find(found, "template-names-another"));
  EXPECT_EQ(find(found, "template-names-another")->sentence,
            "the chat template says \"You are Qwen, created by Alibaba Cloud.\", while neither "
            "the model's name nor README.md mentions Qwen");
  EXPECT_TRUE(find(found, "family-unnamed"));
}

TEST(Identity, OfADeclaredOriginIsNoTell) {
  const ScratchFolder folder;
  folder.write("chat_template.jinja", "You are Qwen, created by Alibaba Cloud.");
  folder.write("README.md", "---\nbase_model: Qwen/Qwen3-8B\n---\n# Rio\n");
  EXPECT_TRUE(tells(folder.path(), {}, R"({"model_type": "qwen3"})").empty());
  folder.write("chat_template.jinja", "You are philosophical.");
  EXPECT_TRUE(tells(folder.path(), {}, "").empty());
}

constexpr std::string_view kLlamaLicence =
    "LLAMA 3.1 COMMUNITY\nLICENSE AGREEMENT\nLlama 3.1 Version Release Date: July 23, 2024\n";

TEST(Licence, OfAnotherFamilyIsSeen) {
  const ScratchFolder folder;
  folder.write("LICENSE", kLlamaLicence);
  const auto found = tells(folder.path(), {}, R"({"model_type": "qwen3"})");
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].id, "licence-of-another-family");
}

TEST(Licence, AsksForItsNotices) {
  const ScratchFolder folder;
  folder.write("LICENSE", kLlamaLicence);
  folder.write("README.md", "# Rio\n\nA model.\n");
  const auto found = tells(folder.path(), {}, R"({"model_type": "llama"})");
  ASSERT_TRUE(find(found, "licence-notice-missing"));
  ASSERT_TRUE(find(found, "licence-name-rule"));
  folder.write("README.md", "# Llama-3.1-Rio\n\n**Built with\nLlama**\n");
  folder.write("NOTICE", "Llama 3.1 is licensed under the Llama 3.1 Community License, …");
  EXPECT_TRUE(tells(folder.path(), {}, R"({"model_type": "llama"})").empty());
}

TEST(Licence, ThatAParentHasAndTheSuspectLacksIsSeen) {
  const ScratchFolder suspect, parent;
  suspect.write("README.md", "---\nlicense: mit\n---\n# Mine\n");
  parent.write("README.md", "---\nlicense: apache-2.0\n---\n# P\n");
  parent.write("LICENSE", "Apache License\nVersion 2.0, January 2004\n");
  parent.write("NOTICE", "Copyright P");
  const std::vector<ModelFiles> others{model("p", parent.path())};
  const auto found = comparative_tells(model("mine", suspect.path()), others);
  ASSERT_EQ(found.size(), 3u);
  EXPECT_EQ(find(found, "licence-differs")->sentence,
            "p comes with Apache License 2.0, the suspect with no licence file");
  EXPECT_TRUE(find(found, "notice-dropped"));
  EXPECT_EQ(find(found, "card-licence-differs")->sentence,
            "README.md says license mit, that of p says apache-2.0");
}

TEST(Settings, ThatEqualOneModelAndNotAnotherAreTold) {
  const ScratchFolder suspect, a, b;
  const auto fill = [](const ScratchFolder& folder, std::string_view vocabulary,
                       std::string_view chat) {
    folder.write("tokenizer.json", vocabulary);
    folder.write("chat_template.jinja", chat);
  };
  fill(suspect, R"({"vocab": {"a b": 1, "\"": 2}})", "{{ one }}");
  fill(a, "{\n  \"vocab\": {\"a b\":1,\t\"\\\"\":2} }\n", "{{ two }}");  // indented otherwise
  fill(b, R"({"vocab": {"ab": 1, "\"": 2}})", "{{ one }}");
  const std::vector<ModelFiles> others{
      model("A", a.path(), R"({"hidden_size": 1, "rope": {"theta": 2}, "torch_dtype": "float32"})"),
      model("B", b.path(), R"({"hidden_size": 1, "rope": {"theta": 3}})")};
  const auto found = comparative_tells(
      model("s", suspect.path(), R"({"rope": {"theta": 2}, "hidden_size": 1})"), others);
  ASSERT_EQ(found.size(), 3u);
  EXPECT_EQ(find(found, "tokenizer-equal")->sentence,
            "its tokenizer.json equals that of A, unlike that of B");
  EXPECT_EQ(find(found, "chat-template-equal")->sentence,
            "its chat template equals that of B, unlike that of A");
  EXPECT_EQ(find(found, "config-equal")->sentence,
            "config.json equals that of A; from that of B it differs in 1 key (rope.theta)");
}

TEST(Settings, ThatAllModelsShareTellNothing) {
  const std::vector<ModelFiles> others{model("A", "", R"({"a": 1})"),
                                       model("B", "", R"({"a": 1})")};
  EXPECT_TRUE(comparative_tells(model("s", "", R"({"a": 1})"), others).empty());
}

}  // namespace
}  // namespace hieron
