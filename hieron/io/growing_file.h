// Bytes kept aside while work goes on: a file that grows at its end and is removed when it goes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>

#include "hieron/core/error.h"
#include "hieron/io/file.h"

namespace hieron {

// Thread-safe. What was appended can be read at once.
class GrowingFile final : public File {
 public:
  // A new file at `path`; refuses to hold more than `most_bytes`.
  static Result<std::shared_ptr<GrowingFile>> create(const std::string& path, uint64_t most_bytes);
  ~GrowingFile() override;

  // It is a file like any other from now on: on disk, and there to stay.
  Status keep();

  // Where the bytes begin. Full: an error of kind kRefused that says `most_bytes`.
  Result<uint64_t> append(std::span<const std::byte> bytes);

  uint64_t most_bytes() const { return most_bytes_; }
  uint64_t size() const override;
  const std::string& name() const override { return path_; }
  int64_t modified() const override { return 0; }
  Status read_at(uint64_t offset, std::span<std::byte> out) const override;

 private:
  GrowingFile(std::string path, uint64_t most_bytes, int fd)
      : path_(std::move(path)), most_bytes_(most_bytes), fd_(fd) {}

  const std::string path_;
  const uint64_t most_bytes_;
  const int fd_;
  mutable std::mutex mutex_;
  uint64_t size_ = 0;
  bool kept_ = false;
};

}  // namespace hieron
