// Where remote files keep what they have: an unlinked, sparse file with a stretch for each of them.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "hieron/core/error.h"
#include "hieron/io/descriptor.h"

namespace hieron {

// Thread-safe.
class Spool {
 public:
  static Result<std::shared_ptr<Spool>> make();  // in TMPDIR, or /tmp
  // One that stays, for a single file: what is at `path` already is kept.
  static Result<std::shared_ptr<Spool>> open(const std::string& path);
  Spool(const Spool&) = delete;
  Spool& operator=(const Spool&) = delete;

  uint64_t reserve(uint64_t bytes);  // where it begins
  Status write(uint64_t at, std::span<const std::byte> bytes) const;
  Status read(uint64_t at, std::span<std::byte> out) const;

 private:
  Spool(Descriptor fd, std::string name) : fd_(std::move(fd)), name_(std::move(name)) {}
  const Descriptor fd_;
  const std::string name_;
  std::atomic<uint64_t> end_{0};
};

}  // namespace hieron
