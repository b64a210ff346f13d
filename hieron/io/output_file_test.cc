#include "hieron/io/output_file.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <thread>
#include <utility>
#include <vector>

#include "hieron/io/faulty_file.h"
#include "hieron/io/file.h"
#include "hieron/io/scratch_folder.h"

namespace hieron {
namespace {

using testing::AllOf;
using testing::HasSubstr;

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

int fail_with(int error_number) {
  errno = error_number;
  return -1;
}

// Writes `content` cut at `cuts`, the pieces in the order given by `turn`, from odd addresses.
void write_in_pieces(OutputFile& file, const std::string& content, std::vector<size_t> cuts,
                     size_t turn, size_t misaligned) {
  cuts.push_back(0);
  cuts.push_back(content.size());
  std::ranges::sort(cuts);
  const AlignedBuffer buffer(content.size() + 4096);
  for (size_t i = 0; i + 1 < cuts.size(); ++i) {
    const size_t k = (i + turn) % (cuts.size() - 1);
    const size_t length = cuts[k + 1] - cuts[k];
    std::memcpy(buffer.data() + misaligned, content.data() + cuts[k], length);
    RC_ASSERT(file.write_at(cuts[k], buffer.span().subspan(misaligned, length)).has_value());
  }
}

void check_any_pieces(Syscalls calls) {
  const ScratchFolder folder;
  const auto size =
      *rc::gen::oneOf(rc::gen::inRange<size_t>(0, 20'000), rc::gen::inRange<size_t>(0, 3'000'000));
  const std::string content = noise(size);
  const auto cut = rc::gen::oneOf(rc::gen::inRange<size_t>(0, size + 1),
                                  rc::gen::map(rc::gen::inRange<size_t>(0, size / 4096 + 1),
                                               [](size_t block) { return block * 4096; }));
  const auto cuts = *rc::gen::container<std::vector<size_t>>(cut);
  const auto turn = *rc::gen::inRange<size_t>(0, 8);
  const auto misaligned = *rc::gen::element<size_t>(0, 1, 8, 4095);
  const ScopedSyscalls scope(std::move(calls));
  const auto file = create_file(folder.path("out"), size);
  RC_ASSERT(file.has_value());
  write_in_pieces(**file, content, cuts, turn, misaligned);
  RC_ASSERT((*file)->commit().has_value());
  RC_ASSERT(folder.read("out") == content);
  RC_ASSERT(folder.entries() == 1u);
}

RC_GTEST_PROP(OutputFile, HoldsWhatWasWrittenInAnyPiecesAndOrder, ()) { check_any_pieces({}); }

RC_GTEST_PROP(OutputFile, GoesOnAfterShortWritesAndInterruptions, ()) {
  uint32_t state = *rc::gen::arbitrary<uint32_t>() | 1;
  const auto short_write = [&state](int fd, const void* p, size_t n, int64_t at) -> int64_t {
    state = state * 1664525 + 1013904223;
    if (state >> 30 == 0) return fail_with(EINTR);
    size_t most = 1 + (state >> 12);
    if ((::fcntl(fd, F_GETFL) & O_DIRECT) != 0) most = (most + 4095) / 4096 * 4096;
    return ::pwrite(fd, p, std::min(n, most), at);
  };
  int interrupted = 0;
  const auto sync = [&interrupted](int fd) {
    return ++interrupted % 2 == 1 ? fail_with(EINTR) : ::fsync(fd);
  };
  check_any_pieces({.pwrite = short_write, .fsync = sync});
}

RC_GTEST_PROP(OutputFile, FallsBackWhereTheFileSystemRefuses, ()) {
  const auto refuse_direct = [](int fd, const void* p, size_t n, int64_t at) -> int64_t {
    if ((::fcntl(fd, F_GETFL) & O_DIRECT) != 0) return fail_with(EINVAL);
    return ::pwrite(fd, p, n, at);
  };
  const auto refuse_reserve = [](int, int64_t) { return fail_with(EOPNOTSUPP); };
  check_any_pieces({.pwrite = refuse_direct, .reserve = refuse_reserve});
}

TEST(OutputFile, WritesWholeBlocksWithDirectIo) {
  const ScratchFolder folder;
  const std::string content = noise((size_t{1} << 20) + 100);
  size_t direct = 0, buffered = 0;
  const auto counted = [&](int fd, const void* p, size_t n, int64_t at) -> int64_t {
    ((::fcntl(fd, F_GETFL) & O_DIRECT) != 0 ? direct : buffered) += n;
    return ::pwrite(fd, p, n, at);
  };
  const ScopedSyscalls scope({.pwrite = counted});
  const auto file = create_file(folder.path("out"), content.size());
  ASSERT_TRUE(file);
  ASSERT_TRUE((*file)->write_at(0, bytes_of(content)));
  if (direct == 0) GTEST_SKIP() << "this file system has no direct I/O";
  EXPECT_EQ(direct, size_t{1} << 20);
  EXPECT_EQ(buffered, 100u);
}

TEST(OutputFile, TakesDisjointWritesFromManyThreads) {
  const ScratchFolder folder;
  const std::string content = noise(4'000'000);
  const auto file = create_file(folder.path("out"), content.size());
  ASSERT_TRUE(file);
  std::vector<std::jthread> threads;
  for (size_t i = 0; i < 8; ++i) {
    threads.emplace_back([&, i] {
      const std::string_view piece = std::string_view(content).substr(i * 500'000, 500'000);
      EXPECT_TRUE((*file)->write_at(i * 500'000, bytes_of(piece)));
    });
  }
  threads.clear();
  ASSERT_TRUE((*file)->commit());
  EXPECT_EQ(folder.read("out"), content);
}

TEST(OutputFile, ShowsNothingUnderItsNameBeforeCommit) {
  const ScratchFolder folder;
  folder.write("model.safetensors", "old");
  const auto file = create_file(folder.path("model.safetensors"), 3);
  ASSERT_TRUE(file);
  ASSERT_TRUE((*file)->write_at(0, bytes_of("new")));
  EXPECT_EQ(folder.read("model.safetensors"), "old");
  for (const auto& entry : std::filesystem::directory_iterator(folder.path())) {
    const std::string name = entry.path().filename();
    EXPECT_EQ(is_temporary_name(name), name != "model.safetensors");
    EXPECT_EQ(name.ends_with(".safetensors"), name == "model.safetensors");
  }
  ASSERT_TRUE((*file)->commit());
  EXPECT_EQ(folder.read("model.safetensors"), "new");
  EXPECT_EQ(folder.entries(), 1u);
}

TEST(OutputFile, LeavesNothingWhenItIsNotCommitted) {
  const ScratchFolder folder;
  ASSERT_TRUE(create_file(folder.path("out"), 100));
  EXPECT_EQ(folder.entries(), 0u);
}

TEST(OutputFile, TwoOfTheSameNameDoNotMeet) {
  const ScratchFolder folder;
  const auto a = create_file(folder.path("out"), 1), b = create_file(folder.path("out"), 1);
  ASSERT_TRUE(a && b);
  ASSERT_TRUE((*a)->write_at(0, bytes_of("a")) && (*b)->write_at(0, bytes_of("b")));
  ASSERT_TRUE((*b)->commit());
  ASSERT_TRUE((*a)->commit());
  EXPECT_EQ(folder.read("out"), "a");
}

TEST(OutputFile, KeepsWithinTheUmask) {
  const ScratchFolder folder;
  const mode_t before = ::umask(027);
  const Status status = write_text(folder.path("out"), "x");
  ::umask(before);
  ASSERT_TRUE(status);
  EXPECT_EQ(std::filesystem::status(folder.path("out")).permissions(),
            std::filesystem::perms(0640));
}

TEST(OutputFile, FindsAFullDiskBeforeWriting) {
  const ScratchFolder folder;
  struct statvfs disk;
  ASSERT_EQ(::statvfs(folder.path().c_str(), &disk), 0);
  const uint64_t too_much = uint64_t{disk.f_blocks} * disk.f_frsize + 1'000'000'000;
  const auto file = create_file(folder.path("out"), too_much);
  ASSERT_FALSE(file);
  EXPECT_EQ(file.error().code, ErrorCode::kSystem);
  EXPECT_THAT(file.error().sentence,
              AllOf(HasSubstr("out cannot be written: it needs"), HasSubstr("are free"),
                    HasSubstr("or choose another folder")));
  EXPECT_EQ(folder.entries(), 0u);
}

TEST(OutputFile, SaysSoWhenReservingFails) {
  const ScratchFolder folder;
  const ScopedSyscalls scope({.reserve = [](int, int64_t) { return fail_with(ENOSPC); }});
  const auto file = create_file(folder.path("out"), 100);
  ASSERT_FALSE(file);
  EXPECT_THAT(file.error().sentence, HasSubstr("or choose another folder"));
  EXPECT_EQ(folder.entries(), 0u);
}

TEST(OutputFile, SaysSoWhenTheDiskFillsLater) {
  const ScratchFolder folder;
  size_t room = 1'000'000;
  const auto fills = [&room](int fd, const void* p, size_t n, int64_t at) -> int64_t {
    if (room < n) return fail_with(ENOSPC);
    room -= n;
    return ::pwrite(fd, p, n, at);
  };
  const ScopedSyscalls scope({.pwrite = fills});
  {
    const auto file = create_file(folder.path("out"), 3'000'000);
    ASSERT_TRUE(file);
    const std::string content = noise(3'000'000);
    const Status status = (*file)->write_at(0, bytes_of(content));
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().code, ErrorCode::kSystem);
    EXPECT_THAT(status.error().sentence,
                AllOf(HasSubstr("it needs 3 MB"), HasSubstr("or choose another folder")));
  }
  EXPECT_EQ(folder.entries(), 0u);
}

TEST(OutputFile, SaysSoWhenTheDeviceFails) {
  const ScratchFolder folder;
  const ScopedSyscalls scope(
      {.pwrite = [](int, const void*, size_t, int64_t) -> int64_t { return fail_with(EIO); }});
  const Status status = write_text(folder.path("out"), "x");
  ASSERT_FALSE(status);
  EXPECT_THAT(status.error().sentence, HasSubstr("out cannot be written: the device reports"));
}

TEST(OutputFile, KeepsTheOldFileWhenSyncFails) {
  const ScratchFolder folder;
  folder.write("out", "old");
  const ScopedSyscalls scope({.fsync = [](int) { return fail_with(EIO); }});
  const Status status = write_text(folder.path("out"), "new");
  ASSERT_FALSE(status);
  EXPECT_EQ(folder.read("out"), "old");
  EXPECT_EQ(folder.entries(), 1u);
}

TEST(OutputFile, KeepsTheOldFileWhenRenameFails) {
  const ScratchFolder folder;
  folder.write("out", "old");
  const ScopedSyscalls scope({.rename = [](const char*, const char*) { return fail_with(EROFS); }});
  const Status status = write_text(folder.path("out"), "new");
  ASSERT_FALSE(status);
  EXPECT_THAT(status.error().sentence, HasSubstr("put in place: the file system is read-only"));
  EXPECT_EQ(folder.read("out"), "old");
  EXPECT_EQ(folder.entries(), 1u);
}

TEST(OutputFile, SyncsTheDataBeforeTheNameAndTheNameBeforeItReturns) {
  const ScratchFolder folder;
  std::string order;
  const auto sync = [&order](int fd) {
    struct stat status;
    ::fstat(fd, &status);
    order += S_ISDIR(status.st_mode) ? "folder " : "data ";
    return ::fsync(fd);
  };
  const auto name = [&order](const char* from, const char* to) {
    order += "name ";
    return std::rename(from, to);
  };
  const ScopedSyscalls scope({.fsync = sync, .rename = name});
  ASSERT_TRUE(write_text(folder.path("out"), "x"));
  EXPECT_EQ(order, "data name folder ");
}

TEST(OutputFile, RefusesToCommitAnotherLengthThanPlanned) {
  const ScratchFolder folder;
  const auto file = create_file(folder.path("out"), 4);
  ASSERT_TRUE(file);
  ASSERT_TRUE((*file)->write_at(0, bytes_of("abc")));
  const Status status = (*file)->commit();
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::kBug);
  EXPECT_THAT(status.error().sentence, AllOf(HasSubstr("3 bytes"), HasSubstr("have 4")));
  EXPECT_FALSE(std::filesystem::exists(folder.path("out")));
}

TEST(OutputFile, RefusesToWritePastThePlannedEnd) {
  const ScratchFolder folder;
  const auto file = create_file(folder.path("out"), 4);
  ASSERT_TRUE(file);
  EXPECT_FALSE((*file)->write_at(2, bytes_of("abc")));
  EXPECT_FALSE((*file)->write_at(UINT64_MAX, bytes_of("abc")));
}

TEST(CreateFile, SaysWhyItCannot) {
  const ScratchFolder folder;
  const auto sentence = [](const std::string& path) {
    const auto file = create_file(path, 1);
    return file ? "created" : file.error().sentence;
  };
  EXPECT_THAT(sentence(folder.path("no/out")), HasSubstr("it does not exist"));
  EXPECT_THAT(sentence(folder.path()), HasSubstr("it is a folder"));
  EXPECT_THAT(sentence(folder.path("")), HasSubstr("it is a folder"));
  EXPECT_THAT(sentence(folder.write("file", "") + "/out"), HasSubstr("not a folder"));
  EXPECT_NE(sentence(folder.path(std::string_view("a\0b", 3))), "created");
}

TEST(CreateFile, TakesTheLongestNames) {
  const ScratchFolder folder;
  const std::string name(255, 'x');
  EXPECT_TRUE(write_text(folder.path(name), "x"));
  EXPECT_EQ(folder.read(name), "x");
}

TEST(CreateFile, TakesANameInTheCurrentFolder) {
  const ScratchFolder folder;
  const std::filesystem::path before = std::filesystem::current_path();
  std::filesystem::current_path(folder.path());
  const Status status = write_text("out", "x");
  std::filesystem::current_path(before);
  EXPECT_TRUE(status);
  EXPECT_EQ(folder.read("out"), "x");
}

}  // namespace
}  // namespace hieron
