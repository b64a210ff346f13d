// A file to read at any offset, and a file to write at known offsets. Everything above this folder
// sees only these two interfaces: buffered, direct and HTTP backends, one that fails on purpose.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "hieron/core/error.h"

namespace hieron {

struct Extent {
  uint64_t offset, bytes;
  friend bool operator==(const Extent&, const Extent&) = default;
};

// Read-only. Thread-safe: any number of threads may read at once.
class File {
 public:
  virtual ~File() = default;
  virtual uint64_t size() const = 0;
  virtual const std::string& name() const = 0;  // for messages
  virtual int64_t modified() const = 0;         // nanoseconds since 1970, when the file was opened
  // Fills all of `out` or fails; past the end is an error that names the file and the numbers.
  // Short reads and EINTR are retried. No alignment is asked of the caller, but reads whose offset,
  // length and address are multiples of 4096 cost least (direct I/O without a copy).
  virtual Status read_at(uint64_t offset, std::span<std::byte> out) const = 0;
  // What will soon be read. A file that lies far away fetches it meanwhile, with many requests in
  // flight, and read_at() waits for its part; what cannot be fetched is told by read_at(). Any
  // other file does nothing.
  virtual void will_read(std::span<const Extent> /*extents*/) const {}
  // Would so many bytes more be allowed to be fetched? Asked before the first of them is.
  virtual Status may_fetch(uint64_t /*bytes*/) const { return {}; }
  // Bytes of those extents (ascending) that would have to be fetched over a network.
  virtual uint64_t far_bytes(std::span<const Extent> /*extents*/) const { return 0; }
};

enum class Caching : uint8_t {
  kAuto,      // what is in the page cache is copied from there; long cold reads go direct
  kBuffered,  // always through the page cache
};

// Regular files only (after following links): folders, pipes, devices, loops, unreadable and
// missing files are errors (kSystem) that say so.
Result<std::unique_ptr<File>> open_file(const std::string& path, Caching caching = Caching::kAuto);

// The whole of a small file (configs, recipes, indexes); refuses more than `limit` bytes.
Result<std::string> read_text(const std::string& path, uint64_t limit);

// Memory for reads: page-aligned, huge pages where possible, allocated once and reused.
class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  explicit AlignedBuffer(size_t bytes);
  std::span<std::byte> span() const { return {data(), size()}; }
  std::byte* data() const { return data_.get(); }
  size_t size() const { return data_ ? data_.get_deleter().bytes : 0; }

 private:
  struct Unmap {
    size_t bytes;   // asked for
    size_t mapped;  // whole pages, or whole huge pages
    void operator()(std::byte* p) const;
  };
  std::unique_ptr<std::byte[], Unmap> data_;
};

}  // namespace hieron
