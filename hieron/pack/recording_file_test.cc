#include "hieron/pack/recording_file.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cstring>
#include <set>

#include "hieron/io/scratch_folder.h"

namespace hieron {
namespace {

struct Recorded {
  ScratchFolder folder;
  std::string text = noise(1000);
  std::shared_ptr<GrowingFile> spool = *GrowingFile::create(folder.path("read"), 1000);
  RecordingFile file{*open_file(folder.write("weights", text)), spool};

  std::string read(uint64_t offset, size_t bytes) const {
    std::string out(bytes, '\0');
    EXPECT_TRUE(file.read_at(offset, std::as_writable_bytes(std::span(out))));
    return out;
  }
};

TEST(RecordingFile, GivesTheBytesOfTheFile) {
  const Recorded recorded;
  EXPECT_EQ(recorded.read(10, 20), recorded.text.substr(10, 20));
}

TEST(RecordingFile, NotesNothingThatWasNotRead) {
  const Recorded recorded;
  EXPECT_TRUE(recorded.file.kept().empty());
}

TEST(RecordingFile, JoinsWhatTouches) {
  const Recorded recorded;
  recorded.read(100, 50);
  recorded.read(150, 50);
  recorded.read(300, 10);
  EXPECT_EQ(recorded.file.kept(), (std::vector<Extent>{{100, 100}, {300, 10}}));
}

TEST(RecordingFile, KeepsWhatWasReadTwiceOnce) {
  const Recorded recorded;
  recorded.read(100, 50);
  recorded.read(80, 100);
  EXPECT_EQ(recorded.spool->size(), 100);
}

TEST(RecordingFile, KeepsWhatItReadFirstThoughTheFileChanges) {
  const Recorded recorded;
  recorded.read(0, 100);
  recorded.folder.write("weights", std::string(1000, 'x'));
  std::string out(100, '\0');
  ASSERT_TRUE(recorded.file.copy(0, std::as_writable_bytes(std::span(out))));
  EXPECT_EQ(out, recorded.text.substr(0, 100));
}

TEST(RecordingFile, SaysWhenItWouldKeepTooMuch) {
  ScratchFolder folder;
  const auto spool = *GrowingFile::create(folder.path("read"), 64);
  const RecordingFile file(*open_file(folder.write("weights", noise(1000))), spool);
  std::string out(65, '\0');
  const Status done = file.read_at(0, std::as_writable_bytes(std::span(out)));
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, ErrorCode::kRefused);
  EXPECT_NE(done.error().sentence.find("--max-evidence"), std::string::npos);
}

RC_GTEST_PROP(RecordingFile, AnyReadsLeaveTheirUnion,
              (const std::vector<std::pair<uint8_t, uint8_t>>& reads)) {
  const Recorded recorded;
  std::set<uint64_t> expected;
  for (const auto& [offset, bytes] : reads) {
    recorded.read(offset, bytes);
    for (uint64_t i = 0; i < bytes; ++i) expected.insert(offset + i);
  }
  std::set<uint64_t> kept;
  for (const Extent& extent : recorded.file.kept()) {
    std::string out(extent.bytes, '\0');
    RC_ASSERT(
        recorded.file.copy(extent.offset, std::as_writable_bytes(std::span(out))).has_value());
    RC_ASSERT(out == recorded.text.substr(extent.offset, extent.bytes));
    for (uint64_t i = 0; i < extent.bytes; ++i) kept.insert(extent.offset + i);
  }
  RC_ASSERT(kept == expected);
  RC_ASSERT(recorded.spool->size() == expected.size());
}

}  // namespace
}  // namespace hieron
