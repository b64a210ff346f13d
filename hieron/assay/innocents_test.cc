// Nobody innocent is accused: each of these fools a published tool. docs/assay.md §8, on both real
// families.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "hieron/assay/audit.h"
#include "hieron/recover/made_models.h"

namespace hieron {
namespace {

using made::Model;

struct Family {
  std::string folder, suffix;
  std::vector<std::string> fine_tunes;
};

const Family kRecurrent{
    "textgenrnn/",
    "-bf16",
    {"hacker_news", "reddit_rarepuppers", "reddit_legaladvice", "reddit_apple_android"}};
const Family kExperts{"moe/", "", {"code", "scripture", "news", "manual"}};

const Model& load(const Family& family, const std::string& name) {
  static std::map<std::string, Model> loaded;
  const std::string folder = family.folder + name + family.suffix;
  auto [it, added] = loaded.try_emplace(folder);
  if (added) it->second = made::load(folder);
  return it->second;
}

AuditResult accuse(const Model& suspect, const std::vector<const Model*>& parents,
                   const Model* base, const std::vector<const Model*>& controls = {}) {
  AuditInput input;
  input.suspect = made::checkpoint("suspect", suspect);
  int n = 0;
  for (const Model* parent : parents) {
    input.parents.push_back(made::checkpoint("parent " + std::to_string(++n), *parent));
  }
  if (base) input.base = made::checkpoint("base", *base);
  for (const Model* control : controls)
    input.controls.push_back(made::checkpoint("control", *control));
  AuditOptions options;
  options.seed = *Seed::from_hex("1abe1");
  auto result = audit(input, options);
  EXPECT_TRUE(result) << (result ? "" : result.error().sentence);
  return result ? *std::move(result) : AuditResult{};
}

void expect_innocent(const AuditResult& result, VerdictKind expected) {
  EXPECT_EQ(name(result.verdict.kind), name(expected)) << result.verdict.sentence;
  EXPECT_FALSE(result.recipe);
}

// From p on: a dense step of `size` deviations of p's own change from the base, tensor by tensor.
Model trained_on(const Model& p, const Model& base, double scale, double size) {
  size_t t = 0;
  return made::changed(p, [&](made::Tensor& tensor) {
    std::vector<double> delta(tensor.values.size());
    for (size_t i = 0; i < delta.size(); ++i) delta[i] = tensor.values[i] - base[t].values[i];
    const double deviation = made::deviation(delta);
    for (size_t i = 0; i < delta.size(); ++i) {
      tensor.values[i] =
          base[t].values[i] + scale * delta[i] + size * deviation * made::normal(77 + t, i);
    }
    ++t;
  });
}

Model random_like(const Model& base) {
  uint64_t seed = 500;
  return made::changed(base, [&](made::Tensor& tensor) {
    double mean = 0;
    for (const double v : tensor.values) mean += v / static_cast<double>(tensor.values.size());
    const double deviation = made::deviation(tensor.values);
    ++seed;
    for (size_t i = 0; i < tensor.values.size(); ++i) {
      tensor.values[i] = mean + deviation * made::normal(seed, i);
    }
  });
}

class Innocents : public testing::TestWithParam<const Family*> {
 protected:
  const Family& family() const { return *GetParam(); }
  const Model& base() const { return load(family(), "base"); }
  const Model& tuned(size_t i) const { return load(family(), family().fine_tunes[i]); }
};

TEST_P(Innocents, ASiblingFineTuneIsNoBlendOfAnotherAndTheBase) {
  expect_innocent(accuse(tuned(1), {&tuned(0)}, &base(), {&tuned(2)}), VerdictKind::kFineTune);
}

TEST_P(Innocents, ASiblingIsNoBlendOfThreeCandidates) {
  expect_innocent(accuse(tuned(3), {&tuned(0), &tuned(1), &tuned(2)}, &base()),
                  VerdictKind::kFineTune);
}

TEST_P(Innocents, TheBaseIsNoBlendOfItsFineTunes) {
  expect_innocent(accuse(base(), {&tuned(0), &tuned(1), &tuned(2)}, nullptr),
                  VerdictKind::kFineTune);
}

TEST_P(Innocents, AFurtherFineTuneOfOneParentIsNoBlend) {
  expect_innocent(accuse(trained_on(tuned(0), base(), 1, 0.05), {&tuned(0)}, &base(), {&tuned(1)}),
                  VerdictKind::kFineTune);
}

TEST_P(Innocents, AnEarlierCheckpointOfTheSameTrainingIsNoBlend) {
  expect_innocent(accuse(trained_on(tuned(0), base(), 0.8, 0.2), {&tuned(0)}, &base(), {&tuned(1)}),
                  VerdictKind::kFineTune);
}

TEST_P(Innocents, ALaterCheckpointOfTheSameTrainingIsNoBlend) {
  expect_innocent(accuse(trained_on(tuned(0), base(), 1.1, 0.1), {&tuned(0)}, &base(), {&tuned(1)}),
                  VerdictKind::kFineTune);
}

TEST_P(Innocents, RandomNumbersWithTheBasesMomentsAreIndependent) {
  expect_innocent(accuse(random_like(base()), {&tuned(0)}, &base(), {&tuned(1)}),
                  VerdictKind::kIndependent);
}

TEST_P(Innocents, AnHonestParentIsNotAccusedThroughItsOwnChild) {
  for (const double alpha : {0.6, 0.75, 0.3}) {
    const Model child =
        made::blended({&tuned(0), &tuned(1)}, {{alpha, std::round((1 - alpha) * 100) / 100}, true});
    expect_innocent(accuse(tuned(0), {&child, &tuned(1)}, nullptr, {&tuned(2)}),
                    VerdictKind::kUndetermined);
  }
}

TEST_P(Innocents, TheBaseIsNotAccusedThroughAMergeAndItsParent) {
  const Model child = made::blended({&tuned(0), &base()}, {{0.6, 0.4}, true});
  const AuditResult result = accuse(base(), {&child, &tuned(0)}, nullptr, {&tuned(2)});
  EXPECT_NE(result.verdict.kind, VerdictKind::kExactMerge) << result.verdict.sentence;
  EXPECT_NE(result.verdict.kind, VerdictKind::kMergeWithChanges) << result.verdict.sentence;
}

TEST_P(Innocents, AMergeIsNotBookedToAWrongPairOfParents) {
  const Model merge = made::blended({&tuned(0), &tuned(1)}, {{0.6, 0.4}, true});
  expect_innocent(accuse(merge, {&tuned(2)}, &base(), {&tuned(3)}), VerdictKind::kFineTune);
}

TEST_P(Innocents, YetAMergeOfTheSameFamilyIsFound) {
  const Model merge = made::blended({&tuned(0), &tuned(1)}, {{0.6, 0.4}, true});
  const AuditResult result = accuse(merge, {&tuned(0), &tuned(1), &tuned(2)}, &base(), {&tuned(3)});
  EXPECT_EQ(name(result.verdict.kind), "exact-merge") << result.verdict.sentence;
  EXPECT_EQ(result.verdict.of, (std::vector<std::string>{"parent 1", "parent 2"}));
  ASSERT_TRUE(result.recipe);
  EXPECT_EQ(result.recipe->models[0].weight, 0.6);
}

INSTANTIATE_TEST_SUITE_P(Families, Innocents, testing::Values(&kRecurrent, &kExperts),
                         [](const auto& about) {
                           return std::string(about.param == &kRecurrent ? "Recurrent" : "Experts");
                         });

TEST(InnocentStranger, AnIndependentRunOfTheSameRecipeIsIndependent) {
  const Model& stranger = load(kExperts, "independent");
  expect_innocent(accuse(stranger, {&load(kExperts, "code")}, &load(kExperts, "base"),
                         {&load(kExperts, "news")}),
                  VerdictKind::kIndependent);
}

TEST(AMergeOfExperts, WithOneAlteredExpertIsChangedThere) {
  const Model altered = made::changed(
      made::blended({&load(kExperts, "code"), &load(kExperts, "base")}, {{0.6, 0.4}, true}),
      [](made::Tensor& tensor) {
        if (tensor.name != "model.layers.3.mlp.experts.5.up_proj.weight") return;
        for (size_t i = 0; i < tensor.values.size(); ++i)
          tensor.values[i] += 0.01 * made::normal(3, i);
      });
  const AuditResult result = accuse(altered, {&load(kExperts, "code")}, &load(kExperts, "base"),
                                    {&load(kExperts, "news")});
  EXPECT_EQ(name(result.verdict.kind), "merge-with-changes") << result.verdict.sentence;
  ASSERT_TRUE(result.after_merge);
  ASSERT_FALSE(result.after_merge->where.empty());
  EXPECT_EQ(result.after_merge->where[0].name, "model.layers.3.mlp.experts.5.up_proj.weight");
  EXPECT_EQ(std::ranges::count_if(result.tensors, [](const auto& t) { return t.state != "equal"; }),
            1);
}

}  // namespace
}  // namespace hieron
