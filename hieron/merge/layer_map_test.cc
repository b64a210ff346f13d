#include "hieron/merge/layer_map.h"

#include <gtest/gtest.h>

namespace hieron {
namespace {

// Layers of three tensors each, below "PREFIX.N.", and loose ones.
Checkpoint of(const std::vector<std::pair<std::string, int>>& rows,
              const std::vector<std::string>& loose = {}) {
  Checkpoint checkpoint;
  const auto add = [&](const std::string& name) {
    checkpoint.tensors.push_back({.name = name,
                                  .dtype = DType::kF32,
                                  .shape = {2, 2},
                                  .elements = 4,
                                  .stored = {},
                                  .computed = nullptr});
  };
  for (const auto& [prefix, layers] : rows) {
    for (int layer = 0; layer < layers; ++layer) {
      for (const char* kind : {"norm.weight", "mlp.weight", "attn.weight"}) {
        add(prefix + "." + std::to_string(layer) + "." + kind);
      }
    }
  }
  for (const std::string& name : loose) add(name);
  return checkpoint;
}

LayerMap map_of(const Checkpoint& checkpoint, const std::vector<uint32_t>& parts = {}) {
  return {checkpoint, RoleTable::of(""), parts};
}

std::string rows_of(const LayerMap& map, uint32_t part = 0) {
  std::string text;
  for (const LayerMap::Row* row : map.rows(part)) {
    text += row->prefix + " " + std::to_string(row->layers) + ";";
  }
  return text;
}

TEST(LayerMap, AnEncoderAndADecoderAreTwoRows) {
  const Checkpoint t5 = of({{"encoder.block", 2}, {"decoder.block", 3}});
  EXPECT_EQ(rows_of(map_of(t5)), "encoder.block 2;decoder.block 3;");
  EXPECT_EQ(map_of(t5).layers(0), 0u);
  EXPECT_FALSE(map_of(t5).layer(t5.tensors[0]));
}

TEST(LayerMap, TowersStandAside) {
  const Checkpoint vlm = of({{"visual.blocks", 4}, {"model.layers", 3}});
  const LayerMap map = map_of(vlm);
  EXPECT_EQ(rows_of(map), "model.layers 3;");
  ASSERT_EQ(map.rows_aside(0).size(), 1u);
  EXPECT_EQ(map.rows_aside(0)[0]->prefix, "visual.blocks");
  EXPECT_FALSE(map.layer(vlm.tensors[0]));
}

TEST(LayerMap, ATowerIsTheRowOfAPartThatHasNoOther) {
  EXPECT_EQ(rows_of(map_of(of({{"visual.blocks", 4}}, {"visual.merger.mlp.0.weight"}))),
            "visual.blocks 4;");
}

TEST(LayerMap, NumbersThatCountNoLayersAreNoRow) {
  const Checkpoint model =
      of({{"model.layers", 3}}, {"model.projections.0.weight", "model.projections.1.weight"});
  const LayerMap map = map_of(model);
  EXPECT_EQ(rows_of(map), "model.layers 3;");
  EXPECT_FALSE(map.layer(model.tensors.back()));
  EXPECT_EQ(map.depth(model.tensors.back()), 0.0);
}

TEST(LayerMap, EveryRowHasADepthOfItsOwn) {
  const Checkpoint t5 = of({{"encoder.block", 2}, {"decoder.block", 3}}, {"shared.weight"});
  const LayerMap map = map_of(t5);
  const auto depth = [&](size_t layer) { return map.depth(t5.tensors[3 * layer]); };
  EXPECT_EQ(depth(0), 0.0);
  EXPECT_EQ(depth(1), 1.0);
  EXPECT_EQ(depth(2), 0.0);
  EXPECT_EQ(depth(3), 0.5);
  EXPECT_EQ(depth(4), 1.0);
  EXPECT_EQ(map.depth(t5.tensors.back()), 0.0);
}

TEST(LayerMap, APartHasItsOwnRows) {
  const Checkpoint t5 = of({{"encoder.block", 2}, {"decoder.block", 3}}, {"shared.0.weight"});
  std::vector<uint32_t> parts(t5.tensors.size(), 1);
  std::fill_n(parts.begin(), 6, 0);
  parts.back() = kNoPart;
  const LayerMap map = map_of(t5, parts);
  EXPECT_EQ(map.layers(0), 2u);
  EXPECT_EQ(map.layers(1), 3u);
  EXPECT_EQ(map.layer(t5.tensors[9])->layer, 1u);
}

TEST(LayerMap, ALayerBeyondThoseStatedIsAsDeepAsTheLast) {
  const Checkpoint model = of({{"model.layers", 4}});
  LayerMap map = map_of(model);
  map.state_layers(0, 3);
  EXPECT_EQ(map.layers(0), 3u);
  EXPECT_EQ(map.depth(model.tensors.back()), 1.0);
}

TEST(LayerMap, FindsWhatOnlyTheFirstLayerHas) {
  const std::string bias = "decoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight";
  const Checkpoint t5 = of({{"decoder.block", 2}}, {bias});
  ASSERT_TRUE(map_of(t5).only_in_first(0));
  EXPECT_EQ(map_of(t5).only_in_first(0)->name, bias);
  EXPECT_FALSE(map_of(of({{"decoder.block", 2}})).only_in_first(0));
}

// A dense first layer before layers of experts lacks nothing that the others need.
TEST(LayerMap, AFirstLayerOfAnotherKindIsNotMissed) {
  const Checkpoint mixed = of({{"model.layers", 1}}, {"model.layers.1.mlp.experts.0.up.weight",
                                                      "model.layers.1.norm.weight"});
  EXPECT_FALSE(map_of(mixed).only_in_first(0));
}

}  // namespace
}  // namespace hieron
