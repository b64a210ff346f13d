#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <utility>

#include "hieron/io/faulty_file.h"

namespace hieron {
namespace {

Syscalls complete(Syscalls calls) {
  if (!calls.pread) calls.pread = ::pread;
  if (!calls.pwrite) calls.pwrite = ::pwrite;
  if (!calls.reserve) calls.reserve = [](int fd, int64_t n) { return ::fallocate(fd, 0, 0, n); };
  if (!calls.mincore) calls.mincore = ::mincore;
  if (!calls.fsync) calls.fsync = ::fsync;
  if (!calls.rename)
    calls.rename = [](const char* from, const char* to) { return std::rename(from, to); };
  return calls;
}

const Syscalls& real() {
  static const Syscalls calls = complete({});
  return calls;
}

// The one piece of mutable global state in the program; only tests ever change it.
constinit std::atomic<const Syscalls*> replaced{nullptr};

}  // namespace

const Syscalls& syscalls() {
  const Syscalls* calls = replaced.load(std::memory_order_acquire);
  return calls ? *calls : real();
}

ScopedSyscalls::ScopedSyscalls(Syscalls calls) : calls_(complete(std::move(calls))) {
  replaced.store(&calls_, std::memory_order_release);
}

ScopedSyscalls::~ScopedSyscalls() { replaced.store(nullptr, std::memory_order_release); }

}  // namespace hieron
