#include "hieron/io/file.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cerrno>
#include <thread>
#include <utility>
#include <vector>

#include "hieron/io/faulty_file.h"
#include "hieron/io/scratch_folder.h"

namespace hieron {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr size_t kBytes = (size_t{3} << 20) + 1234;  // long enough for direct reads, odd at its end

int nothing_is_cached(void*, size_t, unsigned char* page) {
  *page = 0;
  return 0;
}

std::string read_range(const File& file, uint64_t offset, size_t bytes, size_t misaligned = 0) {
  const AlignedBuffer buffer(bytes + misaligned);
  const std::span<std::byte> out = buffer.span().subspan(misaligned);
  const Status status = file.read_at(offset, out);
  if (!status) return "failed: " + status.error().sentence;
  return {reinterpret_cast<const char*>(out.data()), out.size()};
}

std::string sentence_for(const std::string& path) {
  const auto file = open_file(path);
  if (file) return "opened";
  EXPECT_EQ(file.error().code, ErrorCode::kSystem);
  EXPECT_EQ(file.error().file, path);
  return file.error().sentence;
}

void check_any_range(Syscalls calls, Caching caching) {
  static const std::string content = noise(kBytes);
  const ScratchFolder folder;
  const auto file = open_file(folder.write("weights", content), caching);
  RC_ASSERT(file.has_value());
  const ScopedSyscalls scope(std::move(calls));
  for (int i = 0; i < 4; ++i) {
    const auto begin = *rc::gen::inRange<size_t>(0, kBytes + 1);
    const auto length = *rc::gen::oneOf(rc::gen::inRange<size_t>(0, kBytes + 1),
                                        rc::gen::inRange<size_t>(0, 20'000));
    const auto misaligned = *rc::gen::element<size_t>(0, 1, 8, begin % 4096);
    const size_t bytes = std::min(length, kBytes - begin);
    RC_ASSERT(read_range(**file, begin, bytes, misaligned) == content.substr(begin, bytes));
  }
}

RC_GTEST_PROP(File, ReadsAnyRangeToAnyAddressThroughTheCache, ()) {
  check_any_range({}, Caching::kBuffered);
}

RC_GTEST_PROP(File, ReadsAnyRangeToAnyAddressDirectly, ()) {
  check_any_range({.mincore = nothing_is_cached}, Caching::kAuto);
}

RC_GTEST_PROP(File, ReadsAnyRangeFromAPartlyFilledCache, ()) {
  uint32_t state = *rc::gen::arbitrary<uint32_t>();
  const auto some = [&state](void*, size_t, unsigned char* page) {
    state = state * 1664525 + 1013904223;
    *page = static_cast<unsigned char>(state >> 31);
    return 0;
  };
  check_any_range({.mincore = some}, Caching::kAuto);
}

RC_GTEST_PROP(File, GoesOnAfterShortReadsAndInterruptions, ()) {
  const auto seed = *rc::gen::arbitrary<uint32_t>();
  uint32_t state = seed | 1;
  const auto short_read = [&state](int fd, void* p, size_t n, int64_t at) -> int64_t {
    state = state * 1664525 + 1013904223;
    if (state >> 30 == 0) {
      errno = EINTR;
      return -1;
    }
    return ::pread(fd, p, std::min<size_t>(n, 1 + (state >> 12)), at);
  };
  check_any_range({.pread = short_read, .mincore = nothing_is_cached}, Caching::kAuto);
}

TEST(File, ReadsLongColdRangesWithDirectIo) {
  const ScratchFolder folder;
  const auto file = open_file(folder.write("weights", noise(kBytes)));
  ASSERT_TRUE(file);
  size_t direct = 0, buffered = 0;
  const auto counted = [&](int fd, void* p, size_t n, int64_t at) -> int64_t {
    ((::fcntl(fd, F_GETFL) & O_DIRECT) != 0 ? direct : buffered) += n;
    return ::pread(fd, p, n, at);
  };
  const ScopedSyscalls scope({.pread = counted, .mincore = nothing_is_cached});
  read_range(**file, 0, size_t{2} << 20);
  if (buffered > 0) GTEST_SKIP() << "this file system has no direct I/O";
  EXPECT_EQ(direct, size_t{2} << 20);
  read_range(**file, 5, 4000);
  EXPECT_EQ(buffered, 4000u);  // short
}

TEST(File, CopiesWhatIsCachedWithoutAskingTheDevice) {
  const ScratchFolder folder;
  const std::string content = noise(kBytes);
  const auto file = open_file(folder.write("weights", content));
  ASSERT_TRUE(file);
  const auto buffered_only = [](int fd, void* p, size_t n, int64_t at) -> int64_t {
    EXPECT_EQ(::fcntl(fd, F_GETFL) & O_DIRECT, 0);
    return ::pread(fd, p, n, at);
  };
  const auto all = [](void*, size_t, unsigned char* page) {
    *page = 1;
    return 0;
  };
  const ScopedSyscalls scope({.pread = buffered_only, .mincore = all});
  EXPECT_EQ(read_range(**file, 0, kBytes), content);
}

TEST(File, KnowsWhatIsCachedAndDoesNotDisturbIt) {
  const ScratchFolder folder;
  const std::string path = folder.write("weights", noise(kBytes));
  const int fd = ::open(path.c_str(), O_RDONLY);
  ::fsync(fd);
  ::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
  ::close(fd);
  size_t cached = 0;
  const auto count = [&cached](void* address, size_t n, unsigned char* page) {
    const int status = ::mincore(address, n, page);
    cached += *page & 1;
    return status;
  };
  const auto file = open_file(path);
  ASSERT_TRUE(file);
  const ScopedSyscalls scope({.mincore = count});
  read_range(**file, 0, kBytes);
  if (cached > 0) GTEST_SKIP() << "this file system keeps everything in memory";
  read_range(**file, 0, kBytes);
  EXPECT_EQ(cached, 0u);  // neither the question nor the direct read filled the cache
}

TEST(File, FallsBackWhereTheFileSystemRefusesDirectIo) {
  const ScratchFolder folder;
  const std::string content = noise(kBytes);
  const auto file = open_file(folder.write("weights", content));
  ASSERT_TRUE(file);
  int refusals = 0;
  const auto refuse_direct = [&](int fd, void* p, size_t n, int64_t at) -> int64_t {
    if ((::fcntl(fd, F_GETFL) & O_DIRECT) == 0) return ::pread(fd, p, n, at);
    ++refusals;
    errno = EINVAL;
    return -1;
  };
  const ScopedSyscalls scope({.pread = refuse_direct, .mincore = nothing_is_cached});
  EXPECT_EQ(read_range(**file, 0, kBytes), content);
  EXPECT_EQ(read_range(**file, 3, kBytes - 3), content.substr(3));
  EXPECT_LE(refusals, 1);  // and does not ask again
}

TEST(File, NamesTheByteWhereTheDeviceFailed) {
  const ScratchFolder folder;
  const auto file = open_file(folder.write("weights", noise(kBytes)));
  ASSERT_TRUE(file);
  const auto fails_at_a_million = [](int fd, void* p, size_t n, int64_t at) -> int64_t {
    if (at < 1'000'000) return ::pread(fd, p, std::min<size_t>(n, 1'000'000 - size_t(at)), at);
    errno = EIO;
    return -1;
  };
  const ScopedSyscalls scope({.pread = fails_at_a_million, .mincore = nothing_is_cached});
  EXPECT_THAT(read_range(**file, 0, kBytes),
              AllOf(HasSubstr("weights cannot be read at byte 1,000,000"), HasSubstr("I/O error"),
                    HasSubstr("system log")));
}

TEST(File, ReadingPastTheEndNamesTheNumbers) {
  const ScratchFolder folder;
  const auto file = open_file(folder.write("weights", "0123456789"));
  ASSERT_TRUE(file);
  EXPECT_THAT(read_range(**file, 8, 3),
              AllOf(HasSubstr("weights: bytes 8 to 11"), HasSubstr("the file has 10")));
  EXPECT_THAT(read_range(**file, UINT64_MAX, 3), HasSubstr("the file has 10"));
  EXPECT_EQ(read_range(**file, 10, 0), "");
}

TEST(File, SaysThatAnotherProgramShortenedIt) {
  const ScratchFolder folder;
  const std::string path = folder.write("weights", noise(kBytes));
  const auto file = open_file(path);
  ASSERT_TRUE(file);
  ASSERT_EQ(::truncate(path.c_str(), 1'000'000), 0);
  EXPECT_THAT(read_range(**file, 0, kBytes),
              AllOf(HasSubstr("ends at byte 1,000,000"), HasSubstr("another program")));
}

TEST(File, KeepsReadingTheFileThatItOpened) {
  const ScratchFolder folder;
  const std::string content = noise(kBytes);
  const auto file = open_file(folder.write("weights", content));
  ASSERT_TRUE(file);
  std::filesystem::remove(folder.path("weights"));
  folder.write("weights", "something else");
  EXPECT_EQ(read_range(**file, 0, kBytes), content);
}

TEST(File, ServesManyThreadsAtOnce) {
  const ScratchFolder folder;
  const std::string content = noise(kBytes);
  const auto file = open_file(folder.write("weights", content));
  ASSERT_TRUE(file);
  const ScopedSyscalls scope({.mincore = nothing_is_cached});
  std::atomic<int> right = 0;
  std::vector<std::jthread> threads;
  for (size_t i = 0; i < 8; ++i) {
    threads.emplace_back([&, i] {
      const size_t begin = i * 100'003;
      right += read_range(**file, begin, kBytes - begin, i) == content.substr(begin) ? 1 : 0;
    });
  }
  threads.clear();
  EXPECT_EQ(right, 8);
}

TEST(OpenFile, FollowsLinks) {
  const ScratchFolder folder;
  folder.write("weights", "abc");
  ASSERT_EQ(::symlink("weights", folder.path("link").c_str()), 0);
  const auto file = open_file(folder.path("link"));
  ASSERT_TRUE(file);
  EXPECT_EQ(read_range(**file, 0, 3), "abc");
  EXPECT_EQ((*file)->name(), folder.path("link"));
}

TEST(OpenFile, SaysThatAFileIsMissing) {
  const ScratchFolder folder;
  EXPECT_THAT(sentence_for(folder.path("no")), HasSubstr("no cannot be opened: it does not exist"));
  EXPECT_THAT(sentence_for(""), HasSubstr("does not exist"));
}

TEST(OpenFile, SaysThatLinksFormALoop) {
  const ScratchFolder folder;
  ASSERT_EQ(::symlink("b", folder.path("a").c_str()), 0);
  ASSERT_EQ(::symlink("a", folder.path("b").c_str()), 0);
  EXPECT_THAT(sentence_for(folder.path("a")), HasSubstr("form a loop"));
}

TEST(OpenFile, RefusesWhatIsNoFileWithoutWaitingForIt) {
  const ScratchFolder folder;
  ASSERT_EQ(::mkfifo(folder.path("pipe").c_str(), 0600), 0);
  EXPECT_THAT(sentence_for(folder.path("pipe")), HasSubstr("is a pipe, not a file"));
  EXPECT_THAT(sentence_for(folder.path()), HasSubstr("is a folder, not a file"));
  EXPECT_THAT(sentence_for("/dev/zero"), HasSubstr("is a device, not a file"));
}

TEST(OpenFile, SaysThatItMayNotRead) {
  const ScratchFolder folder;
  const std::string path = folder.write("weights", "abc");
  ASSERT_EQ(::chmod(path.c_str(), 0), 0);
  ASSERT_EQ(::chmod(folder.path().c_str(), 0755), 0);
  const uid_t user = ::geteuid();
  constexpr uid_t kNobody = 65534;
  if (user == 0) {
    ASSERT_EQ(::seteuid(kNobody), 0);  // root may read everything
  }
  const std::string sentence = sentence_for(path);
  if (user == 0) {
    ASSERT_EQ(::seteuid(user), 0);
  }
  EXPECT_THAT(sentence, HasSubstr("permission denied"));
}

TEST(OpenFile, RefusesAFileAsAFolder) {
  const ScratchFolder folder;
  EXPECT_THAT(sentence_for(folder.write("weights", "abc") + "/x"), HasSubstr("not a folder"));
}

TEST(OpenFile, DoesNotCutAPathAtANul) {
  const ScratchFolder folder;
  folder.write("weights", "abc");
  EXPECT_NE(sentence_for(folder.path(std::string_view("weights\0.json", 13))), "opened");
}

TEST(ReadText, ReadsTheWhole) {
  const ScratchFolder folder;
  EXPECT_EQ(read_text(folder.write("config.json", "{}"), 2).value(), "{}");
  EXPECT_EQ(read_text(folder.write("empty", ""), 2).value(), "");
}

TEST(ReadText, RefusesMoreThanTheLimit) {
  const ScratchFolder folder;
  const auto text = read_text(folder.write("config.json", "{  }"), 3);
  ASSERT_FALSE(text);
  EXPECT_EQ(text.error().code, ErrorCode::kRefused);
  EXPECT_THAT(text.error().sentence, AllOf(HasSubstr("has 4 bytes"), HasSubstr("at most 3")));
}

TEST(AlignedBuffer, IsAlignedToPagesAndToHugePagesWhenLarge) {
  const AlignedBuffer small(100), large(5'000'000);
  EXPECT_EQ(std::bit_cast<uintptr_t>(small.data()) % 4096, 0u);
  EXPECT_EQ(std::bit_cast<uintptr_t>(large.data()) % (2 << 20), 0u);
  EXPECT_EQ(large.size(), 5'000'000u);
  large.span().back() = std::byte{1};
}

TEST(AlignedBuffer, MovesAndLeavesNothing) {
  AlignedBuffer from(100);
  const AlignedBuffer to = std::move(from);
  EXPECT_EQ(to.size(), 100u);
  EXPECT_TRUE(from.span().empty());
  EXPECT_TRUE(AlignedBuffer().span().empty());
  EXPECT_TRUE(AlignedBuffer(0).span().empty());
}

}  // namespace
}  // namespace hieron
