#include "hieron/merge/module_pattern.h"

#include <gtest/gtest.h>

#include <string>

namespace hieron {
namespace {

bool matches(const char* pattern, std::string_view module) {
  const auto parsed = ModulePattern::parse(pattern);
  EXPECT_TRUE(parsed) << pattern;
  return parsed && parsed->matches(module);
}

TEST(ModulePattern, IsTheWholeNameOrAllOfItAfterADot) {
  EXPECT_TRUE(matches("q_proj", "model.layers.1.self_attn.q_proj"));
  EXPECT_TRUE(matches("1.self_attn.q_proj", "model.layers.1.self_attn.q_proj"));
  EXPECT_FALSE(matches("q_proj", "model.layers.1.self_attn.qq_proj"));
  EXPECT_FALSE(matches("self_attn", "model.layers.1.self_attn.q_proj"));
  EXPECT_FALSE(matches("layers.1.mlp", "model.layers.11.mlp"));
}

TEST(ModulePattern, KnowsTheUsualExpressions) {
  EXPECT_TRUE(matches(R"(layers\.\d+\.mlp\..*)", "model.layers.17.mlp.up_proj"));
  EXPECT_TRUE(matches("layers.(0|1|2).(q|v)_proj", "model.layers.2.v_proj"));
  EXPECT_FALSE(matches("layers.(0|1|2).(q|v)_proj", "model.layers.3.v_proj"));
  EXPECT_TRUE(matches("[a-c]+[0-9]?x{2,3}", "abc1xx"));
  EXPECT_FALSE(matches("[a-c]+[0-9]?x{2,3}", "abc1xxxx"));
  EXPECT_TRUE(matches("[^.]+", "model.lm_head"));
  EXPECT_TRUE(matches("^model.*v_proj$", "model.layers.0.v_proj"));
  EXPECT_FALSE(matches("^layers.*v_proj", "model.layers.0.v_proj"));
  EXPECT_TRUE(matches("(a*)*b", "aaab"));
}

TEST(ModulePattern, RefusesWhatItDoesNotKnow) {
  for (const char* text :
       {"", "(a", "a)", "*a", "(?=a)", R"(\1)", "[a", "a{3,1}", "a{99}", "a\\"}) {
    EXPECT_FALSE(ModulePattern::parse(text)) << text;
  }
}

TEST(ModulePattern, ExpressionsMadeToTakeForeverDoNot) {
  const std::string module(400, 'a');
  EXPECT_FALSE(matches("((a+)+)+b", module));
  EXPECT_FALSE(matches("(a|a|aa)*c", module));
}

}  // namespace
}  // namespace hieron
