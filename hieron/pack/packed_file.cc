#include "hieron/pack/packed_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "hieron/core/text.h"
#include "hieron/pack/squeeze.h"

namespace hieron {

Result<bool> unpack(const File& blocks, const PackedBytes& content, std::span<std::byte> out) {
  if (content.planes == 0) {
    HIERON_CHECK(blocks.read_at(content.at, out));
    return true;
  }
  std::vector<std::byte> stored(content.stored);
  HIERON_CHECK(blocks.read_at(content.at, stored));
  return unsqueeze(stored, content.planes, out);
}

Status PackedFile::read_at(uint64_t offset, std::span<std::byte> out) const {
  const auto missing = [&](uint64_t from, uint64_t end) {
    return refuse(fmt::format("{}: the pack does not hold bytes {} to {}: the audit that made it "
                              "did not read them.",
                              printable(name_), with_commas(from), with_commas(end)),
                  name_, {}, from);
  };
  auto block = std::ranges::upper_bound(weights_.blocks, offset, {}, &PackedBlock::offset);
  if (block != weights_.blocks.begin()) --block;
  std::array<std::byte, kMostBlockBytes> whole;
  while (!out.empty()) {
    if (block == weights_.blocks.end() || offset < block->offset ||
        offset - block->offset >= block->content.bytes) {
      return missing(offset, offset + out.size());
    }
    const uint64_t inside = offset - block->offset;
    const uint64_t bytes = std::min<uint64_t>(out.size(), block->content.bytes - inside);
    const std::span<std::byte> all = std::span(whole).first(block->content.bytes);
    HIERON_TRY(const bool fits, unpack(*blocks_, block->content, all));
    if (!fits) return missing(block->offset, block->offset + block->content.bytes);
    std::copy_n(all.begin() + static_cast<std::ptrdiff_t>(inside), bytes, out.begin());
    offset += bytes;
    out = out.subspan(bytes);
    ++block;
  }
  return {};
}

}  // namespace hieron
