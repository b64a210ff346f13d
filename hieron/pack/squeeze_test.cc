#include "hieron/pack/squeeze.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cstring>

#include "hieron/io/scratch_folder.h"

namespace hieron {
namespace {

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

RC_GTEST_PROP(Squeeze, ComesBackAsItWas, (const std::vector<uint8_t>& words)) {
  std::string text;
  for (const uint8_t word : words) text.append(40, static_cast<char>(word % 7));
  const int planes = *rc::gen::inRange(1, kMostPlanes + 1);
  const auto squeezed = squeeze(bytes_of(text), planes);
  if (squeezed.empty()) return;
  RC_ASSERT(squeezed.size() < text.size());
  std::vector<std::byte> again(text.size());
  RC_ASSERT(unsqueeze(squeezed, planes, again));
  RC_ASSERT(std::memcmp(again.data(), text.data(), text.size()) == 0);
}

TEST(Squeeze, MakesNumbersWithLikeExponentsSmaller) {
  std::string text = noise(8192);
  for (size_t i = 1; i < text.size(); i += 2) text[i] = i % 16 < 12 ? '\x3c' : '\x3d';
  EXPECT_LT(squeeze(bytes_of(text), 2).size(), text.size() * 7 / 10);
}

TEST(Squeeze, GivesNothingForNoise) { EXPECT_TRUE(squeeze(bytes_of(noise(4096)), 2).empty()); }

class Damaged : public ::testing::Test {
 protected:
  std::string text_ = std::string(3000, 'a');
  std::vector<std::byte> squeezed_ = squeeze(bytes_of(text_), 1);
};

TEST_F(Damaged, RefusesAnotherLength) {
  std::vector<std::byte> shorter(text_.size() - 1), longer(text_.size() + 1);
  EXPECT_FALSE(unsqueeze(squeezed_, 1, shorter));
  EXPECT_FALSE(unsqueeze(squeezed_, 1, longer));
}

TEST_F(Damaged, RefusesBytesBehindTheStream) {
  squeezed_.push_back(std::byte{0});
  std::vector<std::byte> out(text_.size());
  EXPECT_FALSE(unsqueeze(squeezed_, 1, out));
}

TEST_F(Damaged, RefusesAStreamThatIsCutShort) {
  squeezed_.pop_back();
  std::vector<std::byte> out(text_.size());
  EXPECT_FALSE(unsqueeze(squeezed_, 1, out));
}

}  // namespace
}  // namespace hieron
