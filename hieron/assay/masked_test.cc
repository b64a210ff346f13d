// The audit of masked merges whose seed is out of reach: whose changes, how many, and nobody
// else's.
#include "hieron/assay/masked.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <set>
#include <string>

#include "hieron/assay/audit.h"
#include "hieron/recover/recover_run.h"

namespace hieron {
namespace {

using testing_recovery::Family;
using testing_recovery::made;

const Family& moe() {
  static const Family family("moe");
  return family;
}

// dare_linear of code (.6, density .3) and news (.5, density .7).
std::shared_ptr<const Checkpoint> merged(const std::string& hieron) {
  return made(
      fmt::format("merge_method: dare_linear\nbase_model: {0}/base\nmodels:\n"
                  "  - model: {0}/code\n    parameters: {{weight: 0.6, density: 0.3}}\n"
                  "  - model: {0}/news\n    parameters: {{weight: 0.5, density: 0.7}}\n"
                  "dtype: bfloat16\nhieron: {{{1}}}\n",
                  moe().folder, hieron));
}

AuditResult audited(std::shared_ptr<const Checkpoint> suspect,
                    const std::vector<std::string>& parents,
                    std::vector<std::shared_ptr<const Checkpoint>> controls) {
  AuditInput input;
  input.suspect = std::move(suspect);
  for (const std::string& parent : parents) input.parents.push_back(moe()[parent]);
  input.base = moe()["base"];
  input.controls = std::move(controls);
  AuditOptions options;
  options.seed = *Seed::from_hex("5eed");
  auto result = audit(input, options);
  EXPECT_TRUE(result) << (result ? "" : result.error().sentence);
  return result ? *std::move(result) : AuditResult{};
}

TEST(AuditMasked, SaysWhoseChangesWereKeptWhereTheSeedIsOutOfReach) {
  for (const char* how : {"seed: 2789455377", "arithmetic: mergekit-0.1.5, seed: 2789455377"}) {
    const AuditResult result =
        audited(merged(how), {"code", "news", "manual"}, {moe()["scripture"]});
    EXPECT_EQ(result.verdict.kind, VerdictKind::kMergeWithChanges) << result.verdict.sentence;
    EXPECT_EQ(std::set(result.verdict.of.begin(), result.verdict.of.end()),
              (std::set{moe()["code"]->ref, moe()["news"]->ref}));
    EXPECT_FALSE(result.replay) << how;
    ASSERT_TRUE(result.recipe);
    EXPECT_EQ(result.recipe->method, "dare_linear");
    for (const RecipeModel& model : result.recipe->models) {
      const bool code = model.ref == moe()["code"]->ref;
      EXPECT_NEAR(*model.weight, code ? 0.6 : 0.5, 0.02);
      EXPECT_NEAR(model.parameters.front().second, code ? 0.3 : 0.7, 0.011);
    }
  }
}

TEST(AuditMasked, FindsItsOwnSeedsBelowAMillion) {
  const AuditResult result =
      audited(merged("seed: 851343"), {"code", "news", "manual"}, {moe()["scripture"]});
  EXPECT_EQ(result.verdict.kind, VerdictKind::kExactMerge) << result.verdict.sentence;
  ASSERT_TRUE(result.recipe);
  EXPECT_EQ(result.recipe->seed, 851343u);
  ASSERT_TRUE(result.replay);
  EXPECT_EQ(result.replay->equal, result.replay->elements);
}

// A control that the same masks explain shows that they say nothing.
TEST(AuditMasked, SaysNothingWhereAControlIsExplainedToo) {
  const AuditResult result =
      audited(merged("seed: 2789455377"), {"code", "news", "manual"}, {merged("seed: 3789455377")});
  EXPECT_NE(result.verdict.kind, VerdictKind::kMergeWithChanges) << result.verdict.sentence;
  EXPECT_NE(result.verdict.kind, VerdictKind::kExactMerge) << result.verdict.sentence;
}

// mergekit 0.1.5 merges fused experts as one tensor: its thresholds are not those of each expert.
TEST(AuditExperts, AreMergedAsTheSuspectHasThem) {
  const auto suspect =
      made(fmt::format("merge_method: ties\nbase_model: {0}/base\nmodels:\n"
                       "  - model: {0}/code\n    parameters: {{weight: 0.8, density: 0.55}}\n"
                       "  - model: {0}/news\n    parameters: {{weight: 0.5, density: 0.4}}\n"
                       "dtype: bfloat16\nhieron: {{arithmetic: mergekit-0.1.5}}\n",
                       moe().folder));
  const AuditResult result = audited(suspect, {"code", "news"}, {moe()["scripture"]});
  EXPECT_EQ(result.verdict.kind, VerdictKind::kExactMerge) << result.verdict.sentence;
  ASSERT_TRUE(result.replay);
  EXPECT_EQ(result.replay->equal, result.replay->elements);
}

// Weights of f32 that bf16 parents reproduce to the last digit: the parents have not these digits.
TEST(AuditDirection, IsThatOfTheDigits) {
  const auto suspect =
      made(fmt::format("merge_method: task_arithmetic\nbase_model: {0}/base\nmodels:\n"
                       "  - model: {0}/code\n    parameters: {{weight: [{{filter: self_attn, "
                       "value: 0.5}}, {{value: 0.8}}]}}\n"
                       "  - model: {0}/news\n    parameters: {{weight: [{{filter: mlp, value: "
                       "0.15}}, {{value: 0.7}}]}}\n"
                       "dtype: float32\n",
                       moe().folder));
  const AuditResult result = audited(suspect, {"code", "news"}, {moe()["scripture"]});
  EXPECT_EQ(result.verdict.kind, VerdictKind::kExactMerge) << result.verdict.sentence;
}

}  // namespace
}  // namespace hieron
