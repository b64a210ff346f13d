#include "hieron/merge/plan_documents.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "hieron/merge/computed.h"
#include "hieron/merge/execute.h"
#include "hieron/merge/recipe_documents.h"
#include "hieron/merge/scratch_checkpoint.h"

namespace hieron {
namespace {

using testing::HasSubstr;

const std::string kHalf =
    "name: half\nmerge_method: linear\nparameters: {weight: 0.5}\ndtype: bfloat16\n"
    "models: [{model: a}, {model: b}]\n";
const std::string kLast =
    "merge_method: linear\ndtype: bfloat16\nmodels:\n"
    "- {model: half, parameters: {weight: 0.3}}\n- {model: c, parameters: {weight: 0.7}}\n";

class Documents : public testing::Test {
 protected:
  Documents() {
    double phase = 0.5;
    for (const char* name : {"a", "b", "c"}) {
      write_model(folder_, name, {{"layer.weight", DType::kBF16, {40, 30}, wave(phase)}});
      phase += 0.7;
    }
  }

  std::vector<Recipe> recipes(const std::string& yaml) {
    auto parsed = parse_recipes(yaml, folder_.write("recipe.yml", yaml));
    EXPECT_TRUE(parsed) << parsed.error().sentence;
    return parsed ? *std::move(parsed) : std::vector<Recipe>{};
  }

  static std::vector<std::byte> bytes_of(const Plan& plan) {
    const auto checkpoint = computed_checkpoint(std::make_shared<const Plan>(plan));
    EXPECT_TRUE(checkpoint) << checkpoint.error().sentence;
    std::vector<std::byte> bytes((*checkpoint)->tensors[0].bytes());
    EXPECT_TRUE(read_elements(**checkpoint, (*checkpoint)->tensors[0], 0, bytes));
    return bytes;
  }

  std::string refusal(const std::string& yaml) {
    const auto plan = plan_documents(recipes(yaml));
    return plan ? "planned" : plan.error().sentence;
  }

  ScratchFolder folder_;
};

TEST_F(Documents, GiveTheBytesOfMergesWrittenOneAfterAnother) {
  const auto at_once = plan_documents(recipes(kHalf + "---\n" + kLast));
  ASSERT_TRUE(at_once) << at_once.error().sentence;
  std::vector<Recipe> apart = recipes(kHalf + "---\n" + kLast);
  const auto half = make_plan(apart[0]);
  ASSERT_TRUE(half && execute(**half, folder_.path("made/half"), {}));
  read_documents_from(apart[1], folder_.path("made"));
  const auto last = make_plan(apart[1]);
  ASSERT_TRUE(last) << last.error().sentence;
  EXPECT_EQ(bytes_of(**at_once), bytes_of(**last));
}

TEST_F(Documents, AreRoundedToTheirDtypeInBetween) {
  const auto in_steps = plan_documents(recipes(kHalf + "---\n" + kLast));
  const auto at_once = plan_documents(
      recipes("merge_method: linear\ndtype: bfloat16\nmodels:\n"
              "- {model: a, parameters: {weight: 0.15}}\n- {model: b, parameters: {weight: 0.15}}\n"
              "- {model: c, parameters: {weight: 0.7}}\n"));
  ASSERT_TRUE(in_steps && at_once);
  EXPECT_NE(bytes_of(**in_steps), bytes_of(**at_once));
}

TEST_F(Documents, MakeAnotherPlanWhenTheFirstMergeChanges) {
  std::string other = kHalf;
  other.replace(other.find("0.5"), 3, "0.6");
  const auto one = plan_documents(recipes(kHalf + "---\n" + kLast));
  const auto two = plan_documents(recipes(other + "---\n" + kLast));
  ASSERT_TRUE(one && two);
  EXPECT_NE((*one)->digest(), (*two)->digest());
}

TEST_F(Documents, AreOneRecipeThatCanBeReadAgain) {
  // The one that is needed stands behind.
  const auto plan = plan_documents(recipes("---\n" + kLast + "---\n" + kHalf));
  ASSERT_TRUE(plan) << plan.error().sentence;
  const auto again = plan_documents(recipes((*plan)->recipe.text));
  ASSERT_TRUE(again) << again.error().sentence;
  EXPECT_EQ(bytes_of(**plan), bytes_of(**again));
}

TEST_F(Documents, NothingIsMadeFromAreWarnedOf) {
  const auto plan = plan_documents(recipes(
      kHalf + "---\nname: idle\nmerge_method: passthrough\nmodels: [{model: a}]\n---\n" + kLast));
  ASSERT_TRUE(plan);
  ASSERT_FALSE((*plan)->warnings.empty());
  EXPECT_THAT((*plan)->warnings[0], HasSubstr("line 6: nothing is made from \"idle\""));
}

TEST_F(Documents, WithAVocabularyOfTheirOwnNeedAFolder) {
  EXPECT_THAT(refusal(kHalf + "tokenizer_source: union\n---\n" + kLast), HasSubstr("-I DIR"));
}

TEST_F(Documents, ThatCannotBePlannedAreRefusedWithTheirLine) {
  std::string broken = kHalf;
  broken.replace(broken.find("model: b"), 8, "model: x");
  EXPECT_THAT(refusal(broken + "---\n" + kLast), HasSubstr("recipe.yml, line 5"));
}

}  // namespace
}  // namespace hieron
