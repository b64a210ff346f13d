// Files that appear whole or not at all: written under a temporary name beside their place, then
// fsync, rename, fsync of the folder. Destroyed before commit(): the temporary file is removed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "hieron/core/error.h"

namespace hieron {

// Thread-safe for write_at on disjoint ranges.
class OutputFile {
 public:
  virtual ~OutputFile() = default;
  virtual Status write_at(uint64_t offset, std::span<const std::byte> bytes) = 0;
  virtual Status commit() = 0;  // fsync, rename, fsync of the folder
};

// Creates `path` + a temporary suffix with `size` bytes reserved (ENOSPC is found here where the
// file system can tell). `size` is exact: commit() fails if another length was written. Writes
// whose offset, length and address are multiples of 4096 go direct where the file system allows it.
Result<std::unique_ptr<OutputFile>> create_file(const std::string& path, uint64_t size);

// Is this the name of a file that create_file() began? After a kill such files may be left behind;
// they hold nothing that is needed, and nobody who lists a folder should take them for shards.
bool is_temporary_name(std::string_view name);

// Would a file be put there? Refused as create_file() and commit() would refuse it; nothing is left
// behind.
Status check_place(const std::string& path);

// A small file, atomically.
Status write_text(const std::string& path, std::string_view text);

}  // namespace hieron
