#include "hieron/walk/alignment.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>

#include "hieron/walk/bare_checkpoint.h"
#include "hieron/walk/conformed.h"

namespace hieron {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

Alignment aligned(const Checkpoint& a, const Checkpoint& b, size_t required) {
  return align(std::array{&a, &b}, required);
}

std::vector<std::string> names_of(const Alignment& alignment) {
  std::vector<std::string> names;
  for (const Row& row : alignment.rows) names.push_back(row.name);
  return names;
}

const Tensors kSeparate{{"model.layers.0.mlp.experts.0.gate_proj.weight", {3, 5}},
                        {"model.layers.0.mlp.experts.0.up_proj.weight", {3, 5}},
                        {"model.layers.0.mlp.experts.0.down_proj.weight", {5, 3}},
                        {"model.layers.0.mlp.experts.1.gate_proj.weight", {3, 5}},
                        {"model.layers.0.mlp.experts.1.up_proj.weight", {3, 5}},
                        {"model.layers.0.mlp.experts.1.down_proj.weight", {5, 3}}};
const Tensors kFused{{"model.layers.0.mlp.experts.gate_up_proj", {2, 6, 5}},
                     {"model.layers.0.mlp.experts.down_proj", {2, 5, 3}}};

TEST(Alignment, EqualNamesLineUpWholeAndInTheLeadersOrder) {
  const Checkpoint a = checkpoint_of("a", kFused);
  const Checkpoint b = checkpoint_of("b", {kFused[1], kFused[0]});
  const Alignment both = aligned(a, b, 2);
  EXPECT_THAT(names_of(both), ElementsAre(kFused[0].first, kFused[1].first));
  EXPECT_EQ(both.rows[0].views[1]->tensor, &b.tensors[1]);
  EXPECT_THAT(both.ledger, IsEmpty());
}

TEST(Alignment, ARenamedPrefixLinesUp) {
  const Checkpoint a = checkpoint_of("a", {{"model.norm.weight", {4}}, {"lm_head.weight", {4, 4}}});
  const Checkpoint b = checkpoint_of(
      "b", {{"language_model.lm_head.weight", {4, 4}}, {"language_model.model.norm.weight", {4}}});
  const Alignment both = aligned(a, b, 2);
  EXPECT_THAT(names_of(both), ElementsAre("model.norm.weight", "lm_head.weight"));
  EXPECT_EQ(both.rows[0].views[1]->tensor, &b.tensors[1]);
  EXPECT_THAT(both.ledger, IsEmpty());
}

TEST(Alignment, ATensorIsNobodysTwice) {
  // "norm.weight" is b's own; a's "model.norm.weight" must not take it as well.
  const Checkpoint a = checkpoint_of("a", {{"norm.weight", {4}}, {"model.norm.weight", {4}}});
  const Checkpoint b = checkpoint_of("b", {{"norm.weight", {4}}});
  const Alignment both = aligned(a, b, 2);
  EXPECT_THAT(names_of(both), ElementsAre("norm.weight"));
  ASSERT_EQ(both.ledger.size(), 1U);
  EXPECT_EQ(both.ledger[0].tensor, "model.norm.weight");
}

TEST(Alignment, SeparateExpertsTakeStretchesOfFusedOnes) {
  const Checkpoint a = checkpoint_of("a", kSeparate), b = checkpoint_of("b", kFused);
  const Alignment both = aligned(a, b, 2);
  ASSERT_EQ(both.rows.size(), 6U);
  EXPECT_THAT(both.ledger, IsEmpty());
  EXPECT_EQ(both.rows[4].name, "model.layers.0.mlp.experts.1.up_proj.weight");
  EXPECT_EQ(both.rows[4].views[1]->tensor, &b.tensors[0]);
  EXPECT_EQ(both.rows[4].views[1]->first, 45U);
  EXPECT_EQ(both.rows[5].views[1]->tensor, &b.tensors[1]);
  EXPECT_EQ(both.rows[5].views[1]->first, 15U);
}

TEST(Alignment, AFusedLeaderIsTakenApartOnlyWhereAnotherNeedsIt) {
  const Checkpoint a = checkpoint_of("a", kFused), b = checkpoint_of("b", kSeparate),
                   c = checkpoint_of("c", kFused);
  const Alignment all = align(std::array<const Checkpoint*, 3>{&a, &b, &c}, 3);
  ASSERT_EQ(all.rows.size(), 6U);
  EXPECT_THAT(all.ledger, IsEmpty());
  const Row& row = all.rows[3];
  EXPECT_EQ(row.name, "model.layers.0.mlp.experts.1.up_proj.weight");
  EXPECT_EQ(row.elements, 15U);
  EXPECT_EQ(row.views[0]->first, 45U);
  EXPECT_EQ(row.views[1]->tensor->name, row.name);
  EXPECT_EQ(row.views[1]->first, 0U);
  EXPECT_EQ(row.views[2]->first, 45U);
}

TEST(Alignment, FusedExpertsUnderAnotherPrefixStayWhole) {
  const Checkpoint a = checkpoint_of("a", kFused);
  const Checkpoint b =
      checkpoint_of("b", {{"language_model.layers.0.mlp.experts.gate_up_proj", {2, 6, 5}},
                          {"language_model.layers.0.mlp.experts.down_proj", {2, 5, 3}}});
  const Alignment both = aligned(a, b, 2);
  EXPECT_EQ(both.rows.size(), 2U);
  EXPECT_THAT(both.ledger, IsEmpty());
}

TEST(Alignment, WhatIsLeftOverIsInTheLedger) {
  Tensors fewer(kSeparate.begin(), kSeparate.begin() + 3);
  const Checkpoint a = checkpoint_of("a", fewer), b = checkpoint_of("b", kFused);
  const Alignment both = aligned(a, b, 2);
  EXPECT_EQ(both.rows.size(), 3U);
  ASSERT_EQ(both.ledger.size(), 2U);
  EXPECT_EQ(both.ledger[0].model, 1U);
  EXPECT_THAT(both.ledger[0].reason, HasSubstr("a has only 30 of its 60 elements"));
}

TEST(Alignment, AnotherShapeIsNoCounterpart) {
  const Checkpoint a = checkpoint_of("a", {{"model.norm.weight", {4}}}),
                   b = checkpoint_of("b", {{"norm.weight", {8}}});
  const Alignment both = aligned(a, b, 2);
  EXPECT_THAT(both.rows, IsEmpty());
  EXPECT_THAT(both.ledger[0].reason, HasSubstr("its shape is [4] here and [8] in b"));
}

TEST(Conformed, StandsUnderTheLeadersNames) {
  const Checkpoint a = checkpoint_of("a", kSeparate);
  auto b = std::make_shared<Checkpoint>(
      checkpoint_of("b", {kFused[0], kFused[1], {"extra.weight", {3}}}));
  b->tensors[0].stored.offset = 1000;
  const Alignment both = aligned(a, *b, 1);
  EXPECT_FALSE(conforms(both));
  const auto made = conformed(both, 1, b);
  ASSERT_TRUE(made) << made.error().sentence;
  const Alignment again = aligned(a, **made, 1);
  EXPECT_TRUE(conforms(again));
  EXPECT_EQ(again.rows.size(), 6U);
  const TensorInfo* up = (*made)->find("model.layers.0.mlp.experts.1.up_proj.weight");
  ASSERT_NE(up, nullptr);
  EXPECT_EQ(up->stored.offset, 1000 + 2 * 45U);
  EXPECT_EQ(up->shape, (Shape{3, 5}));
  EXPECT_NE((*made)->find("extra.weight"), nullptr);
}

TEST(Conformed, IsTheModelItselfWhereNamesAgree) {
  const Checkpoint a = checkpoint_of("a", kFused);
  const auto b = std::make_shared<const Checkpoint>(checkpoint_of("b", kFused));
  const Alignment both = aligned(a, *b, 1);
  EXPECT_TRUE(conforms(both));
  const auto made = conformed(both, 1, b);
  ASSERT_TRUE(made);
  EXPECT_EQ(*made, b);
}

}  // namespace
}  // namespace hieron
