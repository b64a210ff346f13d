#include "hieron/pack/archive.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "hieron/io/scratch_folder.h"

namespace hieron {
namespace {

using ::testing::HasSubstr;

const std::vector<std::string_view> kWanted{"a", "b"};

class Archive : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_.write("a", "first");
    folder_.write("b", noise(1000));
    ASSERT_TRUE(write_tar(folder_.path(), {"b", "a"}, tar_));
    text_ = folder_.read("x.tar");
  }
  std::string complaint(const std::string& text) const {
    const auto members = open_members(folder_.write("damaged.tar", text), kWanted);
    if (members) return "accepted";
    EXPECT_EQ(members.error().code, ErrorCode::kRefused);
    return members.error().sentence;
  }
  // With a checksum that fits.
  std::string with(size_t at, std::string_view bytes) const {
    std::string text = text_;
    text.replace(at, bytes.size(), bytes);
    unsigned sum = 0;
    for (size_t i = 0; i < 512; ++i) {
      sum += i >= 148 && i < 156 ? ' ' : static_cast<unsigned char>(text[i]);
    }
    char digits[8];
    std::snprintf(digits, sizeof digits, "%06o", sum);
    return text.replace(148, 6, digits, 6);
  }

  ScratchFolder folder_;
  std::string tar_ = folder_.path("x.tar"), text_;
};

TEST_F(Archive, GivesItsFilesBack) {
  const auto members = open_members(tar_, kWanted);
  ASSERT_TRUE(members) << members.error().sentence;
  ASSERT_EQ(members->size(), 2);
  const File& b = *members->find("b")->second;
  std::string out(900, '\0');
  ASSERT_EQ(b.size(), 1000);
  ASSERT_TRUE(b.read_at(100, std::as_writable_bytes(std::span(out))));
  EXPECT_EQ(out, noise(1000).substr(100));
  EXPECT_FALSE(b.read_at(101, std::as_writable_bytes(std::span(out))));
}

TEST_F(Archive, DependsOnNamesAndBytesAlone) {
  ScratchFolder other;
  other.write("b", noise(1000));
  other.write("a", "first");
  ASSERT_TRUE(write_tar(other.path(), {"a", "b"}, other.path("x.tar")));
  EXPECT_EQ(other.read("x.tar"), text_);
}

TEST_F(Archive, ThatIsCutShortIsRefused) {
  for (const size_t bytes : {0, 100, 511, 512, 600, 1024, 1500, 2000, 2560, 3071}) {
    EXPECT_NE(complaint(text_.substr(0, bytes)), "accepted") << bytes;
  }
}

TEST_F(Archive, WithAChangedHeaderIsRefused) {
  for (const size_t at : {0, 100, 110, 124, 130, 140, 148, 154, 155, 156, 257, 345, 511}) {
    std::string text = text_;
    text[at] = static_cast<char>(text[at] ^ 1);
    EXPECT_NE(complaint(text), "accepted") << at;
  }
}

TEST_F(Archive, WithBytesBetweenItsFilesIsRefused) {
  std::string text = text_;
  text[600] = 'x';
  EXPECT_THAT(complaint(text), HasSubstr("belongs to no file"));
  EXPECT_THAT(complaint(text_ + std::string(511, '\0') + "x"), HasSubstr("belongs to no file"));
}

TEST_F(Archive, ThatLeadsElsewhereIsRefused) {
  for (const char* name : {"../a", "/a", "x/y/a", "./../a"}) {
    EXPECT_NE(complaint(with(0, std::string_view(name, std::char_traits<char>::length(name) + 1))),
              "accepted")
        << name;
  }
}

TEST_F(Archive, WithALinkIsRefused) {
  EXPECT_THAT(complaint(with(156, "2")), HasSubstr("more than plain files"));
}

TEST_F(Archive, WithAFileTwiceIsRefused) {
  EXPECT_THAT(complaint(with(0, "b")), HasSubstr("twice"));
}

TEST_F(Archive, WithASizeBeyondItsEndIsRefused) {
  EXPECT_THAT(complaint(with(124, "77777777777")), HasSubstr("more bytes than it has"));
  EXPECT_THAT(complaint(with(124, "0000000-001")), HasSubstr("more bytes than it has"));
}

TEST_F(Archive, OfOneFolderIsRead) {
  const auto members = open_members(folder_.write("y.tar", with(0, "./a")), kWanted);
  ASSERT_TRUE(members);
  EXPECT_EQ(members->count("a"), 1);
}

}  // namespace
}  // namespace hieron
