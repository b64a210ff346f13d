#include "hieron/io/file_hash.h"

#include <algorithm>

#include "hieron/core/hash.h"

namespace hieron {

Result<std::string> sha256_of(const File& file) {
  const AlignedBuffer buffer(4u << 20);
  Sha256 hash;
  for (uint64_t at = 0; at < file.size(); at += buffer.size()) {
    const auto block = buffer.span().first(std::min<uint64_t>(buffer.size(), file.size() - at));
    HIERON_CHECK(file.read_at(at, block));
    hash.update(block);
  }
  return to_hex(hash.finish());
}

}  // namespace hieron
