#include "hieron/walk/canonical.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <set>
#include <sstream>

#include "hieron/model/roles.h"
#include "hieron/walk/bare_checkpoint.h"

namespace hieron {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

std::vector<std::string> names_of(const Checkpoint& checkpoint) {
  std::vector<std::string> names;
  for (const LogicalTensor& logical : logical_tensors(checkpoint)) names.push_back(logical.name);
  return names;
}

TEST(CanonicalName, DropsWhatWrapsALanguageModel) {
  for (const char* name : {"layers.3.mlp.up_proj.weight", "model.layers.3.mlp.up_proj.weight",
                           "model.language_model.layers.3.mlp.up_proj.weight",
                           "language_model.model.layers.3.mlp.up_proj.weight",
                           "base_model.model.model.layers.3.mlp.up_proj.weight",
                           "_orig_mod.model.layers.3.mlp.up_proj.weight"}) {
    EXPECT_EQ(canonical_name(name), "layers.3.mlp.up_proj.weight") << name;
  }
  EXPECT_EQ(canonical_name("transformer.h.0.attn.c_attn.weight"), "h.0.attn.c_attn.weight");
  EXPECT_EQ(canonical_name("model.embed_tokens.weight"), "embed_tokens.weight");
  EXPECT_EQ(canonical_name("lm_head.weight"), "lm_head.weight");
}

TEST(CanonicalName, KeepsWhatTellsPartsApart) {
  EXPECT_EQ(canonical_name("model.visual.blocks.0.norm1.weight"), "visual.blocks.0.norm1.weight");
  EXPECT_NE(canonical_name("model.encoder.layers.0.fc1.weight"),
            canonical_name("model.decoder.layers.0.fc1.weight"));
}

TEST(CanonicalName, CallsMixtralsExpertsAsAllOthers) {
  const std::string stem = "model.layers.0.block_sparse_moe.";
  EXPECT_EQ(canonical_name(stem + "experts.7.w1.weight"),
            "layers.0.mlp.experts.7.gate_proj.weight");
  EXPECT_EQ(canonical_name(stem + "experts.7.w3.weight"), "layers.0.mlp.experts.7.up_proj.weight");
  EXPECT_EQ(canonical_name(stem + "experts.7.w2.weight"),
            "layers.0.mlp.experts.7.down_proj.weight");
  EXPECT_EQ(canonical_name(stem + "gate.weight"), "layers.0.mlp.gate.weight");
}

TEST(CanonicalName, IsItsOwn) {
  for (const char* name : {"model.layers.0.block_sparse_moe.experts.7.w1.weight",
                           "language_model.model.norm.weight"}) {
    EXPECT_EQ(canonical_name(canonical_name(name)), canonical_name(name));
  }
}

TEST(LogicalTensors, AFusedTensorIsItsContiguousParts) {
  const Checkpoint fused =
      checkpoint_of("model", {{"model.layers.0.mlp.experts.gate_up_proj", {2, 6, 5}},
                              {"model.layers.0.mlp.experts.down_proj", {2, 5, 3}}});
  const auto all = logical_tensors(fused);
  ASSERT_THAT(names_of(fused), ElementsAre("layers.0.mlp.experts.0.gate_proj.weight",
                                           "layers.0.mlp.experts.0.up_proj.weight",
                                           "layers.0.mlp.experts.1.gate_proj.weight",
                                           "layers.0.mlp.experts.1.up_proj.weight",
                                           "layers.0.mlp.experts.0.down_proj.weight",
                                           "layers.0.mlp.experts.1.down_proj.weight"));
  EXPECT_EQ(all[2].first, 30U);
  EXPECT_EQ(all[2].shape, (Shape{3, 5}));
  EXPECT_EQ(all[5].first, 15U);
  EXPECT_EQ(all[5].shape, (Shape{5, 3}));
  EXPECT_EQ(part_name(all[2]), "model.layers.0.mlp.experts.1.gate_proj.weight");
}

TEST(LogicalTensors, TransposedExpertsStayOneTensor) {
  // Llama 4: [E, H, 2I] and [E, I, H].
  const Checkpoint transposed =
      checkpoint_of("model", {{"model.layers.0.feed_forward.experts.gate_up_proj", {2, 5, 6}},
                              {"model.layers.0.feed_forward.experts.down_proj", {2, 3, 5}}});
  EXPECT_THAT(names_of(transposed), ElementsAre("layers.0.feed_forward.experts.gate_up_proj",
                                                "layers.0.feed_forward.experts.down_proj"));
}

TEST(LogicalTensors, KeepTheirNamesWhereTwoWouldBeCalledTheSame) {
  const Checkpoint both = checkpoint_of(
      "model", {{"model.norm.weight", {4}}, {"norm.weight", {4}}, {"model.up.weight", {4}}});
  EXPECT_THAT(names_of(both), ElementsAre("model.norm.weight", "norm.weight", "up.weight"));
}

// The tensor lists of public models.
struct HubModel {
  std::string architecture;
  std::vector<std::string> names;
};

std::map<std::string, HubModel> hub_models() {
  std::map<std::string, HubModel> models;
  std::ifstream file(HIERON_TEST_DATA "/hub/patterns.tsv");
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line[0] == '#') continue;
    std::istringstream fields(line);
    std::string model, architecture, pattern;
    std::getline(fields, model, '\t');
    std::getline(fields, architecture, '\t');
    std::getline(fields, pattern, '\t');
    models[model].architecture = architecture;
    const auto filled = [](std::string text, const std::string& hole, int number) {
      const size_t at = text.find(hole);
      return at == text.npos ? text : text.replace(at, hole.size(), std::to_string(number));
    };
    std::set<std::string> names;
    for (const int layer : {0, 3}) {
      for (const int expert : {0, 11}) {
        names.insert(filled(filled(pattern, "{layer}", layer), "{expert}", expert));
      }
    }
    auto& all = models[model].names;
    all.insert(all.end(), names.begin(), names.end());
  }
  return models;
}

TEST(CanonicalName, TellsAllTensorsOfPublicModelsApartAndKeepsTheirRoles) {
  const auto models = hub_models();
  ASSERT_GE(models.size(), 10U);
  for (const auto& [model, hub] : models) {
    const RoleTable roles = RoleTable::of(hub.architecture);
    std::set<std::string> canonical;
    for (const std::string& name : hub.names) {
      const std::string other = canonical_name(name);
      EXPECT_TRUE(canonical.insert(other).second) << model << ": " << name;
      const TensorRole before = roles.classify(name, {8, 8}), after = roles.classify(other, {8, 8});
      EXPECT_EQ(before.role, after.role) << model << ": " << name;
      EXPECT_EQ(before.layer, after.layer) << model << ": " << name;
      EXPECT_EQ(before.expert, after.expert) << model << ": " << name;
      EXPECT_EQ(before.tower, after.tower) << model << ": " << name;
      EXPECT_EQ(canonical_name("language_model.model." + name), other) << model << ": " << name;
    }
  }
}

}  // namespace
}  // namespace hieron
