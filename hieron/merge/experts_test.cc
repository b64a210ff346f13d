#include "hieron/merge/experts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "hieron/merge/scratch_checkpoint.h"

namespace hieron {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr uint64_t kE = 3, kI = 2, kH = 5;

struct Names {
  std::string block, gate, up, down;
};
const Names kQwen{"mlp", "gate_proj", "up_proj", "down_proj"};
const Names kMixtral{"block_sparse_moe", "w1", "w3", "w2"};

// One layer of experts whose elements all differ.
std::vector<ScratchTensor> layer(const Names& names, bool gated = true) {
  std::vector<ScratchTensor> out;
  const std::string block = "model.layers.0." + names.block + ".";
  const auto add = [&](const std::string& name, Shape shape) {
    const double start = 100.0 * static_cast<double>(out.size());
    out.push_back({name, DType::kF32, std::move(shape),
                   [start](size_t i) { return start + static_cast<double>(i); }});
  };
  add("model.embed_tokens.weight", {4, kH});
  for (uint64_t e = 0; e < kE; ++e) {
    const std::string expert = block + "experts." + std::to_string(e) + ".";
    add(expert + names.down + ".weight", {kH, kI});
    if (gated) add(expert + names.gate + ".weight", {kI, kH});
    add(expert + names.up + ".weight", {kI, kH});
  }
  add(block + "gate.weight", {kE, kH});
  return out;
}

std::shared_ptr<const Checkpoint> open(const ScratchFolder& folder,
                                       const std::vector<ScratchTensor>& tensors,
                                       const std::string& config = "{}") {
  const auto opened = open_checkpoint(write_model(folder, "model", tensors, config));
  EXPECT_TRUE(opened) << opened.error().sentence;
  return *opened;
}

std::vector<float> values(const Checkpoint& checkpoint, const TensorInfo& tensor) {
  std::vector<float> out(tensor.elements);
  EXPECT_TRUE(read_elements(checkpoint, tensor, 0, std::as_writable_bytes(std::span(out))));
  return out;
}

std::vector<std::string> names_of(const Checkpoint& checkpoint) {
  std::vector<std::string> out;
  for (const TensorInfo& tensor : checkpoint.tensors) out.push_back(tensor.name);
  return out;
}

std::string refusal(const std::shared_ptr<const Checkpoint>& checkpoint, ExpertLayout layout) {
  const auto made = with_experts(checkpoint, layout);
  return made ? "" : made.error().sentence;
}

TEST(Experts, FusedTensorHoldsOfEachExpertTheGateRowsThenTheUpRows) {
  const ScratchFolder folder;
  const auto stored = open(folder, layer(kQwen));
  const auto fused = with_experts(stored, ExpertLayout::kFused);
  ASSERT_TRUE(fused) << fused.error().sentence;
  EXPECT_THAT(
      names_of(**fused),
      ElementsAre("model.embed_tokens.weight", "model.layers.0.mlp.experts.down_proj",
                  "model.layers.0.mlp.experts.gate_up_proj", "model.layers.0.mlp.gate.weight"));
  const TensorInfo& rows = (*fused)->tensors[2];
  EXPECT_EQ(rows.shape, (Shape{kE, 2 * kI, kH}));
  std::vector<float> expected;
  for (const std::string expert : {"0", "1", "2"}) {
    for (const std::string part : {"gate_proj", "up_proj"}) {
      const auto* tensor =
          stored->find("model.layers.0.mlp.experts." + expert + "." + part + ".weight");
      const auto some = values(*stored, *tensor);
      expected.insert(expected.end(), some.begin(), some.end());
    }
  }
  EXPECT_EQ(values(**fused, rows), expected);
}

TEST(Experts, ThereAndBackIsTheSameCheckpointForEveryNaming) {
  for (const auto& [names, config] : {std::pair{kQwen, R"({"model_type": "qwen3_moe"})"},
                                      std::pair{kMixtral, R"({"model_type": "mixtral"})"}}) {
    const ScratchFolder folder;
    const auto stored = open(folder, layer(names), config);
    const auto fused = with_experts(stored, ExpertLayout::kFused);
    ASSERT_TRUE(fused) << fused.error().sentence;
    EXPECT_TRUE((*fused)->find("model.layers.0.mlp.gate.weight"));
    const auto back = with_experts(*fused, ExpertLayout::kSeparate);
    ASSERT_TRUE(back) << back.error().sentence;
    ASSERT_EQ((*back)->tensors.size(), stored->tensors.size());
    for (const TensorInfo& tensor : stored->tensors) {
      const TensorInfo* same = (*back)->find(tensor.name);
      ASSERT_TRUE(same) << tensor.name;
      EXPECT_EQ(same->shape, tensor.shape);
      EXPECT_EQ(values(**back, *same), values(*stored, tensor)) << tensor.name;
    }
  }
}

TEST(Experts, AnyRangeOfAFusedTensorCanBeRead) {
  const ScratchFolder folder;
  const auto fused = *with_experts(open(folder, layer(kQwen)), ExpertLayout::kFused);
  for (const TensorInfo& tensor : fused->tensors) {
    const std::vector<float> whole = values(*fused, tensor);
    for (uint64_t first = 0; first < tensor.elements; ++first) {
      for (uint64_t count = 1; count <= tensor.elements - first; ++count) {
        std::vector<float> some(count);
        ASSERT_TRUE(read_elements(*fused, tensor, first, std::as_writable_bytes(std::span(some))));
        ASSERT_TRUE(std::equal(some.begin(), some.end(),
                               whole.begin() + static_cast<std::ptrdiff_t>(first)));
      }
    }
  }
}

TEST(Experts, ExpertsOfAStoredFusedTensorAreRangesOfItsFile) {
  const ScratchFolder folder;
  const auto stored =
      open(folder, {{"l.mlp.experts.gate_up_proj", DType::kBF16, {kE, 2 * kI, kH}, wave(1)},
                    {"l.mlp.experts.down_proj", DType::kBF16, {kE, kH, kI}, wave(2)}});
  EXPECT_EQ(expert_layout(*stored), ExpertLayout::kFused);
  const auto apart = with_experts(stored, ExpertLayout::kSeparate);
  ASSERT_TRUE(apart) << apart.error().sentence;
  EXPECT_EQ(expert_layout(**apart), ExpertLayout::kSeparate);
  const TensorInfo* up = (*apart)->find("l.mlp.experts.1.up_proj.weight");
  ASSERT_TRUE(up && !up->computed);
  EXPECT_EQ(up->stored.offset,
            stored->find("l.mlp.experts.gate_up_proj")->stored.offset + 2 * 3 * kI * kH);
  // And parts that lie back to back in one file are one range again.
  const auto again = *with_experts(*apart, ExpertLayout::kFused);
  EXPECT_FALSE(again->find("l.mlp.experts.gate_up_proj")->computed);
}

TEST(Experts, WithoutAGateHaveTheirUpRowsAlone) {
  const ScratchFolder folder;
  const auto fused = with_experts(open(folder, layer(kQwen, false)), ExpertLayout::kFused);
  ASSERT_TRUE(fused) << fused.error().sentence;
  const TensorInfo* up = (*fused)->find("model.layers.0.mlp.experts.up_proj");
  ASSERT_TRUE(up);
  EXPECT_EQ(up->shape, (Shape{kE, kI, kH}));
  EXPECT_TRUE((*with_experts(*fused, ExpertLayout::kSeparate))
                  ->find("model.layers.0.mlp.experts.2.up_proj.weight"));
}

TEST(Experts, AModelWithoutExpertsIsItself) {
  const ScratchFolder folder;
  const auto dense = open(folder, {{"l.mlp.up_proj.weight", DType::kF32, {2, 3}, wave(1)}});
  EXPECT_EQ(expert_layout(*dense), std::nullopt);
  EXPECT_EQ(*with_experts(dense, ExpertLayout::kFused), dense);
  EXPECT_EQ(*with_experts(dense, ExpertLayout::kSeparate), dense);
}

TEST(Experts, RefusesAGroupThatLacksATensor) {
  const ScratchFolder folder;
  auto tensors = layer(kQwen);
  tensors.erase(tensors.begin() + 5);  // gate_proj of expert 1
  EXPECT_THAT(refusal(open(folder, tensors), ExpertLayout::kFused),
              HasSubstr("experts.1.gate_proj.weight\" is missing"));
}

TEST(Experts, RefusesAGroupWithFewerExpertsThanItsRouter) {
  const ScratchFolder folder;
  auto tensors = layer(kQwen);
  tensors.erase(tensors.begin() + 7, tensors.begin() + 10);  // expert 2, whole
  EXPECT_THAT(refusal(open(folder, tensors), ExpertLayout::kFused),
              HasSubstr("has 2 experts, not the 3 of its router"));
}

TEST(Experts, RefusesExpertsThatCarryScales) {
  const ScratchFolder folder;
  auto tensors = layer(kQwen);
  tensors.push_back(
      {"model.layers.0.mlp.experts.0.up_proj.weight_scale_inv", DType::kF32, {1, 1}, wave(1)});
  EXPECT_THAT(refusal(open(folder, tensors), ExpertLayout::kFused),
              HasSubstr("keep them separate"));
}

TEST(Experts, RefusesToTakeATransposedLayoutApart) {
  const ScratchFolder folder;  // gpt-oss and Llama 4: [E, H, 2I] and [E, I, H]
  const auto stored =
      open(folder, {{"l.mlp.experts.gate_up_proj", DType::kBF16, {kE, kH, 2 * kI}, wave(1)},
                    {"l.mlp.experts.down_proj", DType::kBF16, {kE, kI, kH}, wave(2)}});
  EXPECT_EQ(expert_layout(*stored), std::nullopt);
  EXPECT_THAT(refusal(stored, ExpertLayout::kSeparate),
              HasSubstr("[3, 5, 4] is not one of a pair"));
  EXPECT_EQ(*with_experts(stored, ExpertLayout::kFused), stored);
}

}  // namespace
}  // namespace hieron
