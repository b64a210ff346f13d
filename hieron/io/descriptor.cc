#include "hieron/io/descriptor.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>

#include "hieron/core/text.h"
#include "hieron/io/faulty_file.h"
#include "hieron/io/system_failure.h"

namespace hieron {

void Descriptor::close() {
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

Descriptor open_descriptor(const char* path, int flags) {
  constexpr int kMode = 0666;  // the umask takes away what the user does not want to give
  int fd;
  do {
    fd = ::open(path, flags | O_CLOEXEC, kMode);
  } while (fd < 0 && errno == EINTR);
  return Descriptor(fd);
}

Status write_all(int fd, const std::string& name, uint64_t at, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const int64_t n = syscalls().pwrite(fd, bytes.data(), bytes.size(), static_cast<int64_t>(at));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return system_failure(name, "written", n == 0 ? ENOSPC : errno);
    at += static_cast<uint64_t>(n);
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
  return {};
}

Status read_all(int fd, const std::string& name, uint64_t at, std::span<std::byte> out) {
  while (!out.empty()) {
    const int64_t n = syscalls().pread(fd, out.data(), out.size(), static_cast<int64_t>(at));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      return system_failure(name, fmt::format("read at byte {}", with_commas(at)),
                            n == 0 ? EIO : errno);
    }
    at += static_cast<uint64_t>(n);
    out = out.subspan(static_cast<size_t>(n));
  }
  return {};
}

}  // namespace hieron
