#include "hieron/merge/prompt_gate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "hieron/core/hash.h"
#include "hieron/kernels/decode.h"

namespace hieron {
namespace {

using testing::HasSubstr;
using Texts = std::vector<std::string>;

struct Prompts {
  Texts positive, negative;
};

const Prompts kCode{
    {"def main():\n    return self.name", "import os"},
    {"In the beginning God created the heaven and the earth.", "And it came to pass"}};
const Prompts kNews{{"The president said on Tuesday that the economy is growing, and that the "
                     "growth of the year before was a surprise to everyone."},
                    {}};

// Gates of a model of 1,024 tokens and 128 columns.
class PromptGateTest : public testing::Test {
 protected:
  void SetUp() override {
    const std::string folder = HIERON_TEST_DATA "/moe/base";
    base_ = *open_checkpoint(folder);
    encoder_ = *open_encoder(folder);
    embedding_ = base_->find("model.embed_tokens.weight");
  }

  Result<std::vector<std::byte>> gate(const std::vector<Prompts>& experts, DType dtype,
                                      std::optional<mergekit::Version> replay = {}) const {
    std::vector<GatePrompts> all;
    for (const auto& [positive, negative] : experts) {
      HIERON_TRY(PromptTokens to, tokens_of_prompts(*encoder_, positive, 1024, "moe.yml:3"));
      HIERON_TRY(PromptTokens away, tokens_of_prompts(*encoder_, negative, 1024, "moe.yml:3"));
      all.push_back({"moe.yml:3", std::move(to), std::move(away)});
    }
    const auto computed = prompt_gate(base_, *embedding_, std::move(all), dtype, replay);
    std::vector<std::byte> out(experts.size() * 128 * info(dtype).bits / 8);
    HIERON_CHECK(computed->read(0, out));
    return out;
  }

  std::vector<double> numbers(const std::vector<Prompts>& experts) const {
    const auto raw = gate(experts, DType::kF64);
    std::vector<double> out(experts.size() * 128);
    decode(DType::kF64, raw->data(), std::span(out));
    return out;
  }

  std::string hash(const std::vector<std::byte>& raw) const {
    return to_hex(sha256({reinterpret_cast<const char*>(raw.data()), raw.size()}));
  }

  std::vector<double> embedding(uint32_t token) const {
    std::vector<std::byte> raw(256);
    EXPECT_TRUE(read_elements(*base_, *embedding_, token * 128, raw));
    std::vector<double> row(128);
    decode(DType::kBF16, raw.data(), std::span(row));
    return row;
  }

  std::shared_ptr<const Checkpoint> base_;
  std::shared_ptr<const Encoder> encoder_;
  const TensorInfo* embedding_ = nullptr;
};

// The hashes are those of what mergekit 0.1.5 (router.py, torch 2.15, one thread) makes of the same
// prompts.
TEST_F(PromptGateTest, IsMergekitsBitForBitInF32) {
  const auto raw = gate({kCode, kNews}, DType::kF32, mergekit::Version::k015);
  ASSERT_TRUE(raw) << raw.error().sentence;
  EXPECT_EQ(hash(*raw), "894db39e9ab5995d1181bf4e732a254813f1c41bb6d3c45ffc50732d22b39ef2");
}

TEST_F(PromptGateTest, IsMergekitsBitForBitInBf16) {
  const auto raw = gate({kCode, kNews}, DType::kBF16, mergekit::Version::k015);
  ASSERT_TRUE(raw) << raw.error().sentence;
  EXPECT_EQ(hash(*raw), "6455027ad9149db48f8cf4794f45bd0a7e4e6fa4d81dd26aa25992de2fd77880");
}

TEST_F(PromptGateTest, PointsFromTheNegativePromptsToThePositive) {
  const std::vector<double> in = embedding(803), the = embedding(265);
  const auto row = numbers({{{"In"}, {" the"}}});  // one token each
  double length = 0, there = 0, away = 0;
  for (size_t i = 0; i < 128; ++i) {
    length += row[i] * row[i];
    there += row[i] * in[i];
    away += row[i] * the[i];
  }
  EXPECT_NEAR(length, 1, 1e-12);
  EXPECT_GT(there, 0);
  EXPECT_LT(away, 0);
}

TEST_F(PromptGateTest, IsTheEmbeddingOfItsOnlyToken) {
  const std::vector<double> in = embedding(803);
  double squares = 0;
  for (const double x : in) squares += x * x;
  const auto row = numbers({{{"In"}, {}}});
  for (size_t i = 0; i < 128; ++i) EXPECT_EQ(row[i], in[i] / std::sqrt(squares));
}

TEST_F(PromptGateTest, DoesNotDependOnTheOrderOfItsPrompts) {
  Prompts turned = kCode;
  std::ranges::reverse(turned.positive);
  std::ranges::reverse(turned.negative);
  EXPECT_EQ(numbers({turned}), numbers({kCode}));
}

TEST_F(PromptGateTest, CanBeReadFromAnyElementOn) {
  std::vector<GatePrompts> all;
  for (const Prompts& prompts : {kCode, kNews}) {
    all.push_back({"", *tokens_of_prompts(*encoder_, prompts.positive, 1024, ""), {}});
  }
  const auto computed = prompt_gate(base_, *embedding_, std::move(all), DType::kBF16, {});
  std::vector<std::byte> whole(512), part(100);
  ASSERT_TRUE(computed->read(0, whole));
  ASSERT_TRUE(computed->read(150, part));
  EXPECT_TRUE(std::ranges::equal(part, std::span(whole).subspan(300, 100)));
}

TEST_F(PromptGateTest, RefusesPromptsThatCancelEachOther) {
  const auto raw = gate({{{"import os"}, {"import os"}}}, DType::kF32);
  ASSERT_FALSE(raw);
  EXPECT_THAT(raw.error().sentence, HasSubstr("moe.yml:3: its positive and its negative prompts "
                                              "have the same embedding"));
}

TEST_F(PromptGateTest, RefusesPromptsWithoutText) {
  EXPECT_THAT(gate({{{""}, {}}}, DType::kF32).error().sentence, HasSubstr("have no tokens"));
}

TEST_F(PromptGateTest, RefusesTokensThatTheEmbeddingHasNoRowOf) {
  const auto tokens = tokens_of_prompts(*encoder_, {"In"}, 800, "moe.yml:3");
  ASSERT_FALSE(tokens);
  EXPECT_THAT(tokens.error().sentence, HasSubstr("has a token of the id 803, and the base's "
                                                 "embedding has 800 rows"));
}

}  // namespace
}  // namespace hieron
