// Backends that lie, for tests: short reads, EINTR, EIO at an offset, ENOSPC after so many bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

namespace hieron {

// The system calls the real backends make, replaceable in tests. Same contract as the calls
// themselves (return -1 and set errno). Default, and where a member is left empty: the real ones.
struct Syscalls {
  std::function<int64_t(int fd, void* buffer, size_t bytes, int64_t offset)> pread{};
  std::function<int64_t(int fd, const void* buffer, size_t bytes, int64_t offset)> pwrite{};
  std::function<int(int fd, int64_t bytes)> reserve{};  // fallocate from 0
  // Which pages of a mapping are in memory; here: of a file, in the page cache.
  std::function<int(void* address, size_t bytes, unsigned char* pages)> mincore{};
  std::function<int(int fd)> fsync{};
  std::function<int(const char* from, const char* to)> rename{};
};

// The calls in force. Cheap; the reference holds until a ScopedSyscalls comes or goes.
const Syscalls& syscalls();

// Installs a set of calls for the life of this object (process-wide; tests only, one at a time, and
// no reads or writes in flight when it comes or goes).
class ScopedSyscalls {
 public:
  explicit ScopedSyscalls(Syscalls calls);
  ~ScopedSyscalls();
  ScopedSyscalls(const ScopedSyscalls&) = delete;
  ScopedSyscalls& operator=(const ScopedSyscalls&) = delete;

 private:
  Syscalls calls_;
};

}  // namespace hieron
