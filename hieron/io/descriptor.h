// An open file descriptor, closed when it goes. Used inside io only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>

#include "hieron/core/error.h"

namespace hieron {

class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Descriptor() { close(); }

  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  void close();  // errors are not reported: what must be on disk is fsynced first

 private:
  int fd_ = -1;
};

// All of the bytes, at their place, however many calls that takes. `name`: for messages.
Status write_all(int fd, const std::string& name, uint64_t at, std::span<const std::byte> bytes);
Status read_all(int fd, const std::string& name, uint64_t at, std::span<std::byte> out);

// open(2) with O_CLOEXEC, retried when a signal interrupts it; an empty descriptor and errno on
// failure.
Descriptor open_descriptor(const char* path, int flags);

}  // namespace hieron
