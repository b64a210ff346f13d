#include "hieron/evidence/sums.h"

#include <fmt/format.h>

#include <algorithm>

#include "hieron/core/hash.h"
#include "hieron/evidence/pack.h"

namespace hieron {

std::string sums_text(const PackSums& sums) {
  return fmt::format("{}  {}\n{}  {}\n{}  {}\n", sums.blocks, kBlocksName, sums.index, kIndexName,
                     sums.report, kReportName);
}

Result<std::string> sha256_of(const File& file) {
  const AlignedBuffer buffer(1u << 20);
  Sha256 hash;
  for (uint64_t at = 0; at < file.size(); at += buffer.size()) {
    const auto piece = buffer.span().first(std::min<uint64_t>(buffer.size(), file.size() - at));
    HIERON_CHECK(file.read_at(at, piece));
    hash.update(piece);
  }
  return to_hex(hash.finish());
}

}  // namespace hieron
