#include "hieron/assay/declared.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace hieron {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

std::vector<std::string> told(const std::string& declared, const std::string& found,
                              std::string_view declared_arithmetic = "exact",
                              std::string_view found_arithmetic = "exact") {
  const auto a = parse_recipe(declared, "declared.yml", "mergekit-0.1.5");
  const auto b = parse_recipe(found, "found.yml", "mergekit-0.1.5");
  EXPECT_TRUE(a) << (a ? "" : a.error().sentence);
  EXPECT_TRUE(b) << (b ? "" : b.error().sentence);
  if (!a || !b) return {};
  std::vector<std::string> sentences;
  for (const RecipeDifference& difference :
       recipe_differences({*a, declared_arithmetic}, {*b, found_arithmetic})) {
    sentences.push_back(difference.sentence);
  }
  return sentences;
}

std::string linear(const std::string& x, const std::string& y, const std::string& more = "") {
  return "merge_method: linear\nmodels:\n- {model: X, parameters: {weight: " + x +
         "}}\n- {model: Y, parameters: {weight: " + y + "}}\n" + more;
}

std::string ties(const std::string& of_x, const std::string& more = "") {
  return "merge_method: ties\nbase_model: B\nmodels:\n- {model: X, parameters: {" + of_x +
         "}}\n- {model: Y, parameters: {weight: 1}}\n" + more;
}

TEST(Declared, NothingToSayOfTheSameRecipe) {
  EXPECT_THAT(told(linear("0.5", "0.5"), linear("0.5", "0.5")), IsEmpty());
}

TEST(Declared, NamesTheWeightsThatDiffer) {
  EXPECT_THAT(told(linear("0.5", "0.5"), linear("0.6", "0.4")),
              ElementsAre("declared weight 0.5 of X, the bytes say 0.6",
                          "declared weight 0.5 of Y, the bytes say 0.4"));
}

TEST(Declared, ComparesSharesWhereTheMethodDividesByTheSum) {
  EXPECT_THAT(told(linear("1", "1"), linear("0.5", "0.5")), IsEmpty());
  EXPECT_THAT(told(linear("3", "1"), linear("0.5", "0.5")),
              ElementsAre("declared share of the weights 0.75 of X, the bytes say 0.5",
                          "declared share of the weights 0.25 of Y, the bytes say 0.5"));
}

TEST(Declared, KnowsDefaultsOfParametersThatAreNotWritten) {
  EXPECT_THAT(told(ties("weight: 1"), ties("weight: 1, density: 1")), IsEmpty());
  EXPECT_THAT(told(ties("weight: 1, density: 0.5"), ties("weight: 1, density: 0.53")),
              ElementsAre("declared density 0.5 of X, the bytes say 0.53"));
}

TEST(Declared, NamesTheMethodAndTheBase) {
  EXPECT_THAT(told(ties("weight: 1"), linear("1", "1")),
              ElementsAre("declared method ties, the bytes say linear",
                          "declared base_model B, the bytes say none"));
}

TEST(Declared, NamesAParentThatTookNoPart) {
  const std::string three = linear("0.5", "0.5") + "";
  const std::string with_z =
      "merge_method: linear\nmodels:\n- {model: X, parameters: {weight: 0.5}}\n"
      "- {model: Y, parameters: {weight: 0.5}}\n- {model: Z, parameters: {weight: 0.5}}\n";
  const auto sentences = told(with_z, three);
  ASSERT_FALSE(sentences.empty());
  EXPECT_EQ(sentences.front(), "declared parent Z took no part");
}

TEST(Declared, NamesAnotherOrder) {
  const std::string turned =
      "merge_method: linear\nmodels:\n- {model: Y, parameters: {weight: 0.4}}\n"
      "- {model: X, parameters: {weight: 0.6}}\n";
  EXPECT_THAT(told(linear("0.6", "0.4"), turned),
              ElementsAre("declared order X, Y, the bytes say Y, X"));
}

TEST(Declared, NamesArithmeticAndDtype) {
  EXPECT_THAT(
      told(linear("1", "1"), linear("1", "1", "dtype: bfloat16\n"), "exact", "mergekit-0.1.4"),
      ElementsAre("the dtype of the replay is bfloat16, declared none",
                  "the arithmetic of the replay is mergekit-0.1.4, declared none"));
}

TEST(Declared, NamesKeysThatHadNoEffect) {
  EXPECT_THAT(told(ties("weight: 1, densitty: 0.5"), ties("weight: 1")),
              ElementsAre("declared densitty was ignored because it was misspelt (\"density\" is a "
                          "key)"));
  EXPECT_THAT(told(linear("1", "1", "parameters: {density: 0.5}\n"), linear("1", "1")),
              ElementsAre("declared density was ignored because it has no effect in linear"));
}

}  // namespace
}  // namespace hieron
