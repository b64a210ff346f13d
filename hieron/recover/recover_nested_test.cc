// Merges of merges, and weights that vary over the tensors: made of a real family, found again.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

#include "hieron/recover/nested.h"
#include "hieron/recover/recover_run.h"

namespace hieron {
namespace {

using testing_recovery::Case;
using testing_recovery::Family;
using testing_recovery::made;

const Family& moe() {
  static const Family family("moe");
  return family;
}

const std::vector<std::string>& tunes() {
  static const std::vector<std::string> names{"code", "news", "manual", "scripture"};
  return names;
}

std::string model(const char* name, const std::string& weight) {
  return fmt::format("  - model: {}/{}\n    parameters: {{weight: {}}}\n", moe().folder, name,
                     weight);
}

// An inner merge of code and news, merged with manual.
std::string nested(const std::string& inner, double share) {
  return fmt::format(
      "name: inner\n{}dtype: bfloat16\n---\nmerge_method: linear\nmodels:\n"
      "  - model: inner\n    parameters: {{weight: {:.2f}}}\n{}dtype: bfloat16\n",
      inner, 1 - share, model("manual", fmt::format("{:.2f}", share)));
}

std::optional<Nested> found_in(const std::string& yaml, const std::vector<std::string>& parents) {
  const Case suspect(made(yaml), moe(), parents, "base");
  return recover_nested(suspect.given(), suspect.evidence(), 0, {});
}

void expect_found(const std::optional<Nested>& found, std::string_view method, double share) {
  ASSERT_TRUE(found) << method;
  EXPECT_EQ(found->inner.hypothesis.method, method);
  EXPECT_EQ(found->outer.score.share(), 1) << method;
  std::set<size_t> inside;
  for (const HypothesisInput& input : found->inner.hypothesis.inputs) inside.insert(input.model);
  EXPECT_EQ(inside, (std::set<size_t>{1, 2})) << method;  // code and news
  for (const HypothesisInput& input : found->outer.hypothesis.inputs) {
    if (input.model == 3) {
      EXPECT_DOUBLE_EQ(input.parameters.at("weight").otherwise, share) << method;
    }
  }
}

TEST(RecoverNested, FindsTheInnerMergeThatNobodyPublished) {
  const std::string pair = model("code", "0.62") + model("news", "0.38");
  expect_found(found_in(nested("merge_method: linear\nmodels:\n" + pair, 0.45), tunes()), "linear",
               0.45);
  const std::string base = fmt::format("base_model: {}/base\n", moe().folder);
  expect_found(found_in(nested("merge_method: task_arithmetic\n" + base + "models:\n" +
                                   model("code", "0.7") + model("news", "0.4"),
                               0.4),
                        tunes()),
               "task_arithmetic", 0.4);
}

TEST(RecoverNested, NamesNothingWhereALeafIsNotOffered) {
  const std::string inner =
      "merge_method: linear\nmodels:\n" + model("code", "0.62") + model("news", "0.38");
  const auto found = found_in(nested(inner, 0.45), {"code", "scripture", "manual"});
  EXPECT_TRUE(!found || found->outer.score.share() < 0.3) << found->outer.score.share();
}

TEST(RecoverNested, NamesNothingForAnotherFineTune) {
  const Case innocent(moe()["scripture"], moe(), {"code", "news", "manual"}, "base");
  const auto found = recover_nested(innocent.given(), innocent.evidence(), 0, {});
  EXPECT_TRUE(!found || found->outer.score.share() < 0.3) << found->outer.score.share();
}

// Ratios alone leave a trace, and of their multiples only one rounds as the suspect did.
TEST(RecoverVaryingWeights, FindsGradientsOfNormalisedWeights) {
  for (const char* arithmetic : {"exact", "f32-once", "f32-fma", "bf16-products"}) {
    const std::string yaml =
        "merge_method: linear\nmodels:\n" + model("code", "[0.7, 0.9, 0.3]") +
        model("manual", "[0.2, 0.8]") +
        fmt::format("dtype: bfloat16\nhieron: {{arithmetic: {}}}\n", arithmetic);
    const Case suspect(made(yaml), moe(), tunes(), "base");
    const Recovery found = suspect.recover();
    ASSERT_TRUE(found.best) << arithmetic;
    EXPECT_TRUE(found.holds) << arithmetic << ": " << found.best->score.share();
    EXPECT_EQ(found.best->hypothesis.method, "linear") << arithmetic;
    EXPECT_LT(found.best->hypothesis.complexity, 130) << arithmetic;  // decimals, not fits
  }
}

TEST(RecoverVaryingWeights, FindsFiltersOfTaskVectors) {
  const std::string yaml = fmt::format(
      "merge_method: task_arithmetic\nbase_model: {}/base\nmodels:\n{}{}dtype: bfloat16\n",
      moe().folder, model("code", "[{filter: self_attn, value: 0.65}, {value: 0.9}]"),
      model("news", "[{filter: mlp, value: 0.35}, {value: 0.15}]"));
  const Case suspect(made(yaml), moe(), tunes(), "base");
  const Recovery found = suspect.recover();
  ASSERT_TRUE(found.best);
  EXPECT_TRUE(found.holds) << found.best->score.share();
  EXPECT_EQ(found.best->score.share(), 1);
}

}  // namespace
}  // namespace hieron
