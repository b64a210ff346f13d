#include "hieron/io/growing_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>

#include "hieron/core/text.h"
#include "hieron/io/descriptor.h"
#include "hieron/io/faulty_file.h"
#include "hieron/io/system_failure.h"

namespace hieron {

Result<std::shared_ptr<GrowingFile>> GrowingFile::create(const std::string& path,
                                                         uint64_t most_bytes) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
  if (fd < 0) return system_failure(path, "written", errno);
  return std::shared_ptr<GrowingFile>(new GrowingFile(path, most_bytes, fd));
}

GrowingFile::~GrowingFile() {
  ::close(fd_);
  if (!kept_) ::unlink(path_.c_str());
}

Status GrowingFile::keep() {
  int failed;
  while ((failed = syscalls().fsync(fd_)) != 0 && errno == EINTR) {
  }
  if (failed != 0) return system_failure(path_, "written", errno);
  kept_ = true;
  return {};
}

Result<uint64_t> GrowingFile::append(std::span<const std::byte> bytes) {
  uint64_t start;
  {
    const std::lock_guard lock(mutex_);
    if (bytes.size() > most_bytes_ - size_) {
      return refuse(fmt::format("more than {} would have to be kept", show_bytes(most_bytes_)));
    }
    start = size_;
    size_ += bytes.size();
  }
  HIERON_CHECK(write_all(fd_, path_, start, bytes));
  return start;
}

uint64_t GrowingFile::size() const {
  const std::lock_guard lock(mutex_);
  return size_;
}

Status GrowingFile::read_at(uint64_t offset, std::span<std::byte> out) const {
  return read_all(fd_, path_, offset, out);
}

}  // namespace hieron
