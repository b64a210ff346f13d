#include "hieron/io/file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <utility>

#include "hieron/core/text.h"
#include "hieron/io/block.h"
#include "hieron/io/descriptor.h"
#include "hieron/io/faulty_file.h"
#include "hieron/io/system_failure.h"

namespace hieron {

std::span<std::byte> bounce_buffer() {
  thread_local const AlignedBuffer buffer(size_t{4} << 20);
  return buffer.span();
}

namespace {

// What the page cache holds is asked once in so many bytes: asking of every page would cost as much
// as copying it. A read of the file to find out would start the kernel's read-ahead.
constexpr uint64_t kResidencyStep = uint64_t{256} << 10;

// Shorter reads go through the page cache, where the headers and configs around them are likely to
// be read again. From here on direct reads are faster also at random places: 500 of 64 KiB took
// 0.05 s instead of 0.12 s, of 256 KiB 0.09 s instead of 0.38 s.
constexpr uint64_t kDirectMinimum = uint64_t{64} << 10;

bool refused(int error_number) {
  return error_number == EINVAL || error_number == EOPNOTSUPP || error_number == ENOSYS;
}

// The address range of a file, for questions about its pages; never read or written through.
class Mapping {
 public:
  Mapping() = default;
  Mapping(int fd, uint64_t bytes) : bytes_(bytes) {
    if (bytes > 0) start_ = ::mmap(nullptr, bytes, PROT_READ, MAP_SHARED, fd, 0);
  }
  Mapping(Mapping&& other) noexcept
      : start_(std::exchange(other.start_, MAP_FAILED)), bytes_(other.bytes_) {}
  ~Mapping() {
    if (start_ != MAP_FAILED) ::munmap(start_, bytes_);
  }

  // Is most of this range in the page cache? Where the system does not tell (files of other users):
  // yes, so that reads go the ordinary way.
  bool mostly_cached(uint64_t offset, uint64_t bytes) const;

 private:
  void* start_ = MAP_FAILED;
  uint64_t bytes_ = 0;
};

bool Mapping::mostly_cached(uint64_t offset, uint64_t bytes) const {
  if (start_ == MAP_FAILED) return true;
  uint64_t asked = 0, cached = 0;
  for (uint64_t at = block_floor(offset); at < offset + bytes; at += kResidencyStep) {
    unsigned char page = 0;
    void* address = static_cast<std::byte*>(start_) + at;
    if (syscalls().mincore(address, 1, &page) != 0) return true;
    ++asked;
    cached += page & 1;
  }
  return cached * 2 > asked;
}

class RegularFile final : public File {
 public:
  RegularFile(std::string name, const struct stat& status, Descriptor buffered, Descriptor direct)
      : name_(std::move(name)),
        size_(static_cast<uint64_t>(status.st_size)),
        modified_(int64_t{status.st_mtim.tv_sec} * 1'000'000'000 + status.st_mtim.tv_nsec),
        buffered_(std::move(buffered)),
        direct_(std::move(direct)),
        mapping_(direct_ ? Mapping(buffered_.get(), size_) : Mapping()),
        goes_direct_(static_cast<bool>(direct_)) {}

  uint64_t size() const override { return size_; }
  const std::string& name() const override { return name_; }
  int64_t modified() const override { return modified_; }
  Status read_at(uint64_t offset, std::span<std::byte> out) const override;

 private:
  // How many bytes at `offset` were read, at least one; -1 and errno on failure, 0 at the end of
  // file.
  int64_t read_some(uint64_t offset, std::span<std::byte> out, bool direct) const;
  int64_t read_direct(uint64_t offset, std::span<std::byte> out) const;
  int64_t read_through_bounce(uint64_t offset, std::span<std::byte> out) const;
  std::unexpected<Error> past_the_end(uint64_t offset, uint64_t bytes) const;
  std::unexpected<Error> shrunk(uint64_t offset) const;

  std::string name_;
  uint64_t size_;
  int64_t modified_;
  Descriptor buffered_;
  Descriptor direct_;
  Mapping mapping_;
  mutable std::atomic<bool> goes_direct_;  // until the file system refuses
};

Status RegularFile::read_at(uint64_t offset, std::span<std::byte> out) const {
  if (offset > size_ || out.size() > size_ - offset) return past_the_end(offset, out.size());
  const bool direct = out.size() >= kDirectMinimum &&
                      goes_direct_.load(std::memory_order_relaxed) &&
                      !mapping_.mostly_cached(offset, out.size());
  while (!out.empty()) {
    const int64_t n = read_some(offset, out, direct);
    if (n == 0) return shrunk(offset);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      const int error_number = errno;
      return system_failure(name_, fmt::format("read at byte {}", with_commas(offset)),
                            error_number);
    }
    offset += static_cast<uint64_t>(n);
    out = out.subspan(static_cast<size_t>(n));
  }
  return {};
}

int64_t RegularFile::read_some(uint64_t offset, std::span<std::byte> out, bool direct) const {
  if (direct && goes_direct_.load(std::memory_order_relaxed)) {
    const int64_t n = read_direct(offset, out);
    if (n >= 0 || !refused(errno)) return n;
    goes_direct_.store(false, std::memory_order_relaxed);
  }
  return syscalls().pread(buffered_.get(), out.data(), out.size(), static_cast<int64_t>(offset));
}

int64_t RegularFile::read_direct(uint64_t offset, std::span<std::byte> out) const {
  const bool aligned = offset % kBlock == 0 && congruent(offset, out.data());
  if (!aligned || out.size() < kBlock) return read_through_bounce(offset, out);
  return syscalls().pread(direct_.get(), out.data(), block_floor(out.size()),
                          static_cast<int64_t>(offset));
}

// Reads the blocks around the wanted bytes, in as few pieces of like size as fit the buffer.
int64_t RegularFile::read_through_bounce(uint64_t offset, std::span<std::byte> out) const {
  const std::span<std::byte> bounce = bounce_buffer();
  const uint64_t start = block_floor(offset);
  const uint64_t before = offset - start;
  const uint64_t blocks = block_ceil(before + out.size());
  const uint64_t pieces = (blocks + bounce.size() - 1) / bounce.size();
  const int64_t n = syscalls().pread(direct_.get(), bounce.data(), block_ceil(blocks / pieces),
                                     static_cast<int64_t>(start));
  if (n < 0) return n;
  if (static_cast<uint64_t>(n) <= before) {  // so short a read that none of it is ours
    return syscalls().pread(buffered_.get(), out.data(), out.size(), static_cast<int64_t>(offset));
  }
  const uint64_t got = std::min<uint64_t>(static_cast<uint64_t>(n) - before, out.size());
  std::memcpy(out.data(), bounce.data() + before, got);
  return static_cast<int64_t>(got);
}

std::unexpected<Error> RegularFile::past_the_end(uint64_t offset, uint64_t bytes) const {
  return refuse(fmt::format("{}: bytes {} to {} were asked for, but the file has {}. The file is "
                            "probably incomplete; fetch it again.",
                            printable(name_), with_commas(offset), with_commas(offset + bytes),
                            with_commas(size_)),
                name_, {}, offset);
}

std::unexpected<Error> RegularFile::shrunk(uint64_t offset) const {
  return system_error(
      fmt::format("{} ends at byte {}, but had {} bytes when it was opened: another "
                  "program is changing it. Wait until it is done and retry.",
                  printable(name_), with_commas(offset), with_commas(size_)),
      name_);
}

std::string_view what_it_is(mode_t mode) {
  if (S_ISDIR(mode)) return "a folder";
  if (S_ISFIFO(mode)) return "a pipe";
  if (S_ISSOCK(mode)) return "a socket";
  return "a device";
}

std::unexpected<Error> not_a_file(const std::string& path, mode_t mode) {
  return system_error(
      fmt::format("{} is {}, not a file. Name a regular file.", printable(path), what_it_is(mode)),
      path);
}

}  // namespace

Result<std::unique_ptr<File>> open_file(const std::string& path, Caching caching) {
  struct stat status;
  if (path.find('\0') != std::string::npos) return system_failure(path, "opened", ENOENT);
  // Looked at before it is opened: opening a pipe waits for a writer, and opening a device may act.
  if (::stat(path.c_str(), &status) != 0) return system_failure(path, "opened", errno);
  if (!S_ISREG(status.st_mode)) return not_a_file(path, status.st_mode);
  Descriptor buffered = open_descriptor(path.c_str(), O_RDONLY | O_NONBLOCK | O_NOCTTY);
  if (!buffered) return system_failure(path, "opened", errno);
  // Looked at again: the name may have been given to something else in between.
  if (::fstat(buffered.get(), &status) != 0) return system_failure(path, "opened", errno);
  if (!S_ISREG(status.st_mode)) return not_a_file(path, status.st_mode);
  Descriptor direct;
  if (caching == Caching::kAuto) {
    // The very file that is open already, whatever its name means by now.
    const std::string same_file = fmt::format("/proc/self/fd/{}", buffered.get());
    direct = open_descriptor(same_file.c_str(), O_RDONLY | O_DIRECT);
  }
  return std::make_unique<RegularFile>(path, status, std::move(buffered), std::move(direct));
}

Result<std::string> read_text(const std::string& path, uint64_t limit) {
  HIERON_TRY(const std::unique_ptr<File> file, open_file(path, Caching::kBuffered));
  if (file->size() > limit) {
    return refuse(
        fmt::format("{} has {} bytes, but a file of its kind has at most {}. Check that it is "
                    "the file you meant.",
                    printable(path), with_commas(file->size()), with_commas(limit)),
        path);
  }
  std::string text(file->size(), '\0');
  HIERON_CHECK(file->read_at(0, std::as_writable_bytes(std::span(text))));
  return text;
}

}  // namespace hieron
