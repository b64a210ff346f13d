// Two uploads on real families: the same bytes, a format trip, training on top, another mix,
// another model.
#include "hieron/assay/also.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>

#include "hieron/assay/test_family.h"
#include "hieron/recover/recover_run.h"

namespace hieron {
namespace {

using made::Model;

Model merge(double alpha) {
  return made::blended({&hacker_news(), &base()},
                       {{alpha, std::round((1 - alpha) * 1e4) / 1e4}, true});
}

// What `share` of another fine-tune's training would do to a model, in tensors whose name holds
// `where`.
Model trained(const Model& model, const Model& tuned, const Model& origin, double share,
              const std::string& where = "") {
  size_t t = 0;
  return made::changed(model, [&](made::Tensor& tensor) {
    if (tensor.name.find(where) != std::string::npos) {
      for (size_t i = 0; i < tensor.values.size(); ++i) {
        tensor.values[i] += share * (tuned[t].values[i] - origin[t].values[i]);
      }
    }
    ++t;
  });
}

struct Family {
  const Model &parent = hacker_news(), &origin = base();
  std::vector<const Model*> controls{&legal(), &apple()};
  bool with_base = true;
  unsigned threads = 0;
};

SecondUpload compared(const Model& first, const Model& second, uint64_t sample_bytes = 0,
                      const Family& given = {}) {
  AuditInput input;
  input.suspect = made::checkpoint("first", first);
  input.parents.push_back(made::checkpoint("parent", given.parent));
  if (given.with_base) {
    input.base = made::checkpoint("base", given.origin);
  } else {
    input.parents.push_back(made::checkpoint("base", given.origin));
  }
  for (size_t i = 0; i < given.controls.size(); ++i) {
    input.controls.push_back(made::checkpoint("control-" + std::to_string(i), *given.controls[i]));
  }
  AuditOptions options;
  options.seed = *Seed::from_hex("5eed");
  options.sample_bytes = sample_bytes;
  options.walk.threads = given.threads;
  const auto audited = audit(input, options);
  EXPECT_TRUE(audited) << (audited ? "" : audited.error().sentence);
  if (!audited) return {};
  auto also = compare_uploads(input, made::checkpoint("second", second), options, *audited);
  EXPECT_TRUE(also) << (also ? "" : also.error().sentence);
  return also ? *std::move(also) : SecondUpload{};
}

TEST(Also, TheSameBytesCarryNoTraining) {
  const SecondUpload found = compared(merge(0.6), merge(0.6));
  EXPECT_EQ(found.kind, "identical") << found.sentence;
  EXPECT_EQ(found.changed, 0u);
  EXPECT_TRUE(found.where.empty());
  EXPECT_EQ(found.verdict.kind, VerdictKind::kExactMerge);
  ASSERT_TRUE(found.recipe_replay);
  EXPECT_EQ(found.recipe_replay->equal, found.recipe_replay->elements);
}

TEST(Also, TrainingOnTopIsMeasuredWithTheControls) {
  const Model second = trained(merge(0.6), puppers(), base(), 0.5);
  const SecondUpload found = compared(merge(0.6), second);
  EXPECT_EQ(found.kind, "trained") << found.sentence;
  ASSERT_TRUE(found.ratio && found.outside);
  EXPECT_GT(*found.ratio, 0.1);
  EXPECT_LT(*found.ratio, 2);
  EXPECT_GT(*found.outside, 0.8);
  EXPECT_EQ(found.yardsticks.size(), 2u);
  ASSERT_TRUE(found.recipe_replay);
  EXPECT_LT(found.recipe_replay->share, 0.9);
  EXPECT_FALSE(found.where.empty());
}

TEST(Also, SaysWhereTheChangesAre) {
  const Model second = trained(merge(0.6), puppers(), base(), 1, "embedding");
  const SecondUpload found = compared(merge(0.6), second);
  ASSERT_EQ(found.where.size(), 1u);
  EXPECT_EQ(found.where[0].scope, "role");
  EXPECT_EQ(found.where[0].name, "embedding");
  EXPECT_EQ(found.where[0].tensors_changed, found.tensors_changed);
  EXPECT_EQ(found.where[0].changed, found.changed);
  EXPECT_TRUE(found.where[0].ratio);
}

TEST(Also, ATouchIsNotCalledTraining) {
  const SecondUpload found = compared(merge(0.6), trained(merge(0.6), puppers(), base(), 0.02));
  EXPECT_EQ(found.kind, "little-changed") << found.sentence;
}

TEST(Also, AFormatTripIsNoTraining) {
  const Model first = merge(0.6);
  const Model second = made::changed(first, [](made::Tensor& tensor) {
    for (double& value : tensor.values) {
      value = decode(DType::kF8E4M3, encode(DType::kF8E4M3, value));
    }
  });
  SecondUpload found = compared(first, second);
  EXPECT_EQ(found.kind, "reformatted") << found.sentence;
  EXPECT_NE(found.sentence.find("F8_E4M3"), std::string::npos) << found.sentence;
  found = compared(second, first);
  EXPECT_EQ(found.kind, "reformatted") << found.sentence;
}

TEST(Also, TheSameNumbersInAWiderFormatAreNoTraining) {
  const Model second = made::changed(merge(0.6), [](made::Tensor& tensor) {
    std::vector<std::byte> bytes(tensor.values.size() * 2);
    encode(tensor.dtype, std::span<const double>(tensor.values), bytes.data());
    decode(tensor.dtype, bytes.data(), std::span(tensor.values));
    tensor.dtype = DType::kF32;
  });
  const SecondUpload found = compared(merge(0.6), second);
  EXPECT_EQ(found.kind, "reformatted") << found.sentence;
  EXPECT_EQ(found.changed, 0u);
}

TEST(Also, AnotherMixOfTheSameModelsIsNoTraining) {
  const SecondUpload found = compared(merge(0.6), merge(0.45));
  EXPECT_EQ(found.kind, "remade") << found.sentence;
  EXPECT_GT(found.changed, 0u);
}

// Mostly another mix, with some training on it: what the mix gives is not called training.
TEST(Also, WhatAnotherMixGivesIsToldApart) {
  const SecondUpload found = compared(merge(0.7), trained(merge(0.5), puppers(), base(), 0.08));
  EXPECT_EQ(found.kind, "changed") << found.sentence;
  ASSERT_TRUE(found.outside);
  EXPECT_LT(*found.outside, 0.3);
}

// The same recipe with other random numbers, which nobody finds again.
TEST(Also, MasksDrawnAnewAreNotCalledTraining) {
  const testing_recovery::Family moe("moe");
  const auto merged = [&](const std::string& seed) {
    return testing_recovery::made(
        fmt::format("merge_method: dare_linear\nbase_model: {0}/base\nmodels:\n"
                    "  - model: {0}/code\n    parameters: {{weight: 0.6, density: 0.3}}\n"
                    "  - model: {0}/news\n    parameters: {{weight: 0.5, density: 0.7}}\n"
                    "dtype: bfloat16\nhieron: {{seed: {1}}}\n",
                    moe.folder, seed));
  };
  AuditInput input;
  input.suspect = merged("2789455377");
  input.parents = {moe["code"], moe["news"]};
  input.base = moe["base"];
  input.controls = {moe["scripture"]};
  AuditOptions options;
  options.seed = *Seed::from_hex("5eed");
  const auto first = audit(input, options);
  ASSERT_TRUE(first);
  const auto found = compare_uploads(input, merged("3141592653"), options, *first);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->kind, "changed") << found->sentence;
}

TEST(Also, AnotherFineTuneIsNotTheFirstChanged) {
  const SecondUpload found = compared(merge(0.6), legal());
  EXPECT_EQ(found.kind, "another-model") << found.sentence;
  EXPECT_EQ(found.nearest, "control-0");
}

TEST(Also, AStrangerIsNotTheFirstChanged) {
  const Model &code = family("moe/code"), &origin = family("moe/base");
  const Family given{.parent = code, .origin = origin, .controls = {&family("moe/news")}};
  const Model first = made::blended({&code, &origin}, {{0.6, 0.4}, true});
  const SecondUpload found = compared(first, family("moe/independent"), 0, given);
  EXPECT_EQ(found.kind, "another-model") << found.sentence;
}

TEST(Also, WorksOnASampleAndOnAMixtureOfExperts) {
  const Model &code = family("moe/code"), &origin = family("moe/base");
  const Family given{.parent = code, .origin = origin, .controls = {&family("moe/news")}};
  const Model first = made::blended({&code, &origin}, {{0.6, 0.4}, true});
  const Model second = trained(first, family("moe/scripture"), origin, 0.5, "layers.3.");
  const SecondUpload sampled = compared(first, second, 8192, given);
  const SecondUpload whole = compared(first, second, 0, given);
  EXPECT_EQ(sampled.kind, whole.kind) << sampled.sentence;
  EXPECT_EQ(sampled.tensors_changed, whole.tensors_changed);
  EXPECT_LT(sampled.elements, whole.elements);
  size_t layers = 0;
  for (const ChangedPart& part : whole.where) {
    if (part.scope != "layer") continue;
    ++layers;
    EXPECT_EQ(part.name, "3");
  }
  EXPECT_EQ(layers, 1u);
}

TEST(Also, WithoutABaseTheSizeOfTrainingIsNotKnown) {
  const Family given{.with_base = false};
  const SecondUpload found =
      compared(merge(0.6), trained(merge(0.6), puppers(), base(), 0.5), 0, given);
  EXPECT_EQ(found.kind, "changed") << found.sentence;
  EXPECT_FALSE(found.ratio);
}

TEST(Also, CountsDoNotDependOnThreads) {
  const Model second = trained(merge(0.6), puppers(), base(), 0.5);
  const SecondUpload a = compared(merge(0.6), second, 0, {.threads = 1});
  const SecondUpload b = compared(merge(0.6), second, 0, {.threads = 3});
  EXPECT_EQ(a.sentence, b.sentence);
  EXPECT_EQ(a.reasons, b.reasons);
}

}  // namespace
}  // namespace hieron
