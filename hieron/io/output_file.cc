#include "hieron/io/output_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <optional>
#include <utility>

#include "hieron/core/text.h"
#include "hieron/io/block.h"
#include "hieron/io/descriptor.h"
#include "hieron/io/faulty_file.h"
#include "hieron/io/system_failure.h"

namespace hieron {
namespace {

bool refused(int error_number) {
  return error_number == EINVAL || error_number == EOPNOTSUPP || error_number == ENOSYS;
}

struct Place {
  std::string folder;  // "." if the path names none
  std::string name;
};

Place split(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return {".", path};
  return {slash == 0 ? "/" : path.substr(0, slash), path.substr(slash + 1)};
}

// What the disk below a folder says of itself; nothing where it does not know.
std::optional<struct statvfs> disk_below(const std::string& folder) {
  struct statvfs disk;
  if (::statvfs(folder.c_str(), &disk) != 0 || disk.f_blocks == 0) return {};
  return disk;
}

std::unexpected<Error> disk_full(const std::string& path, uint64_t size) {
  const std::optional<struct statvfs> disk = disk_below(split(path).folder);
  if (!disk) return system_failure(path, "written", ENOSPC);
  const uint64_t free = uint64_t{disk->f_bavail} * disk->f_frsize;
  const std::string need =
      size > free ? fmt::format("free {}", show_bytes(size - free)) : "free some space";
  return system_error(fmt::format("{} cannot be written: it needs {}, but {} are free on the disk; "
                                  "{} or choose another folder.",
                                  printable(path), show_bytes(size), show_bytes(free), need),
                      path);
}

std::unexpected<Error> write_failure(const std::string& path, uint64_t size, int error_number) {
  if (error_number == ENOSPC) return disk_full(path, size);
  return system_failure(path, "written", error_number);
}

Status check_replaceable(const std::string& path) {
  struct stat target{};
  if (::stat(path.c_str(), &target) != 0 || S_ISREG(target.st_mode)) return {};
  return system_error(
      printable(path) + ": is not a regular file and is not replaced; choose another path.", path);
}

class TemporaryFile final : public OutputFile {
 public:
  TemporaryFile(std::string path, std::string temporary, uint64_t size, Descriptor buffered)
      : path_(std::move(path)),
        temporary_(std::move(temporary)),
        size_(size),
        buffered_(std::move(buffered)) {}
  ~TemporaryFile() override {
    if (!committed_) ::unlink(temporary_.c_str());
  }

  Status reserve();
  Status write_at(uint64_t offset, std::span<const std::byte> bytes) override;
  Status commit() override;

 private:
  // How many bytes were written, at least one; -1 and errno on failure.
  int64_t write_some(uint64_t offset, std::span<const std::byte> bytes);
  int64_t write_direct(uint64_t offset, std::span<const std::byte> bytes);
  Status sync_folder() const;

  std::string path_;
  std::string temporary_;
  uint64_t size_;
  Descriptor buffered_;
  Descriptor direct_;  // empty where the file system refuses
  std::atomic<bool> goes_direct_{false};
  std::atomic<uint64_t> written_{0};
  bool committed_ = false;
};

// Takes the room now, so that a full disk is found before hours of work, not after.
Status TemporaryFile::reserve() {
  const auto bytes = static_cast<int64_t>(size_);
  if (bytes < 0) return system_failure(path_, "written", EFBIG);
  // Asked before fallocate, which would fill the disk until it fails.
  const std::optional<struct statvfs> disk = disk_below(split(path_).folder);
  if (disk && size_ / disk->f_frsize > disk->f_bfree) return disk_full(path_, size_);
  int failed = 0;
  while (size_ > 0 && (failed = syscalls().reserve(buffered_.get(), bytes)) != 0 &&
         errno == EINTR) {
  }
  if (failed != 0 && !refused(errno)) return write_failure(path_, size_, errno);
  if (failed != 0 && ::ftruncate(buffered_.get(), bytes) != 0) {
    return write_failure(path_, size_, errno);
  }
  if (size_ >= kBlock) direct_ = open_descriptor(temporary_.c_str(), O_WRONLY | O_DIRECT);
  goes_direct_ = static_cast<bool>(direct_);
  return {};
}

Status TemporaryFile::write_at(uint64_t offset, std::span<const std::byte> bytes) {
  if (offset > size_ || bytes.size() > size_ - offset) {
    return std::unexpected(Error{
        .code = ErrorCode::kBug,
        .sentence =
            fmt::format("{}: bytes {} to {} were written, but the file was planned to have {}. "
                        "This is a bug; report it with the command that you gave.",
                        printable(path_), with_commas(offset), with_commas(offset + bytes.size()),
                        with_commas(size_)),
        .file = path_,
        .offset = offset});
  }
  const uint64_t total = bytes.size();
  while (!bytes.empty()) {
    const int64_t n = write_some(offset, bytes);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return write_failure(path_, size_, n < 0 ? errno : EIO);
    offset += static_cast<uint64_t>(n);
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
  written_.fetch_add(total, std::memory_order_relaxed);
  return {};
}

int64_t TemporaryFile::write_some(uint64_t offset, std::span<const std::byte> bytes) {
  const bool whole_blocks = offset % kBlock == 0 && bytes.size() >= kBlock;
  if (!goes_direct_.load(std::memory_order_relaxed)) {
    return syscalls().pwrite(buffered_.get(), bytes.data(), bytes.size(),
                             static_cast<int64_t>(offset));
  }
  if (whole_blocks) {
    const int64_t n = write_direct(offset, bytes);
    if (n >= 0 || !refused(errno)) return n;
    goes_direct_.store(false, std::memory_order_relaxed);
    return write_some(offset, bytes);
  }
  // The edges share their block with a neighbouring write, so they go through the page cache; whole
  // blocks never do, so the two ways never meet in one block.
  const uint64_t to_boundary = kBlock - offset % kBlock;
  return syscalls().pwrite(buffered_.get(), bytes.data(), std::min(bytes.size(), to_boundary),
                           static_cast<int64_t>(offset));
}

int64_t TemporaryFile::write_direct(uint64_t offset, std::span<const std::byte> bytes) {
  const auto position = static_cast<int64_t>(offset);
  const uint64_t blocks = block_floor(bytes.size());
  if (congruent(offset, bytes.data())) {
    return syscalls().pwrite(direct_.get(), bytes.data(), blocks, position);
  }
  const std::span<std::byte> bounce = bounce_buffer();
  const uint64_t piece = std::min<uint64_t>(blocks, bounce.size());
  std::memcpy(bounce.data(), bytes.data(), piece);
  return syscalls().pwrite(direct_.get(), bounce.data(), piece, position);
}

Status TemporaryFile::commit() {
  const uint64_t written = written_.load(std::memory_order_relaxed);
  if (written != size_ || committed_) {
    return std::unexpected(Error{
        .code = ErrorCode::kBug,
        .sentence =
            fmt::format("{}: {} bytes were written, but the file was planned to have {}. This "
                        "is a bug; report it with the command that you gave.",
                        printable(path_), with_commas(written), with_commas(size_)),
        .file = path_});
  }
  int failed;
  while ((failed = syscalls().fsync(buffered_.get())) != 0 && errno == EINTR) {
  }
  if (failed != 0) return write_failure(path_, size_, errno);
  HIERON_CHECK(check_replaceable(path_));
  if (syscalls().rename(temporary_.c_str(), path_.c_str()) != 0) {
    return system_failure(path_, "put in place", errno);
  }
  committed_ = true;
  return sync_folder();
}

// Makes the new name itself durable. Some network file systems have no such call; there it is done.
Status TemporaryFile::sync_folder() const {
  const std::string folder = split(path_).folder;
  const Descriptor opened = open_descriptor(folder.c_str(), O_RDONLY | O_DIRECTORY);
  if (!opened) return errno == EACCES ? Status{} : system_failure(folder, "synced", errno);
  int failed;
  while ((failed = syscalls().fsync(opened.get())) != 0 && errno == EINTR) {
  }
  if (failed != 0 && !refused(errno)) return system_failure(folder, "synced", errno);
  return {};
}

// A name beside `path` that no reader takes for a finished file: hidden, and not ending in its
// suffix.
std::string temporary_name(const Place& place, int attempt) {
  constexpr size_t kLongestKept = 200;  // leaves room for the rest within the 255 bytes of a name
  return fmt::format("{}/.{}.tmp-{}-{}", place.folder, place.name.substr(0, kLongestKept),
                     ::getpid(), attempt);
}

}  // namespace

bool is_temporary_name(std::string_view name) {
  return name.starts_with('.') && name.find(".tmp-") != std::string_view::npos;
}

Result<std::unique_ptr<OutputFile>> create_file(const std::string& path, uint64_t size) {
  const Place place = split(path);
  struct stat status;
  if (path.find('\0') != std::string::npos) return system_failure(path, "written", EINVAL);
  if (place.name.empty()) return system_failure(path, "written", EISDIR);
  if (::stat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode)) {
    return system_failure(path, "written", EISDIR);
  }
  for (int attempt = 0;; ++attempt) {
    std::string temporary = temporary_name(place, attempt);
    Descriptor buffered =
        open_descriptor(temporary.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW);
    if (!buffered && errno == EEXIST) continue;
    if (!buffered) return system_failure(path, "written", errno);
    auto file =
        std::make_unique<TemporaryFile>(path, std::move(temporary), size, std::move(buffered));
    HIERON_CHECK(file->reserve());
    return file;
  }
}

Status check_place(const std::string& path) {
  HIERON_TRY(const std::unique_ptr<OutputFile> file, create_file(path, 0));
  return check_replaceable(path);
}

Status write_text(const std::string& path, std::string_view text) {
  HIERON_TRY(const std::unique_ptr<OutputFile> file, create_file(path, text.size()));
  HIERON_CHECK(file->write_at(0, std::as_bytes(std::span(text))));
  return file->commit();
}

}  // namespace hieron
