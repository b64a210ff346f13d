#include "hieron/pack/recording_file.h"

#include <fmt/format.h>

#include <algorithm>

#include "hieron/core/text.h"

namespace hieron {

Status RecordingFile::read_at(uint64_t offset, std::span<std::byte> out) const {
  HIERON_CHECK(file_->read_at(offset, out));
  return keep(offset, out);
}

Status RecordingFile::keep(uint64_t offset, std::span<const std::byte> bytes) const {
  const std::lock_guard lock(mutex_);
  const uint64_t end = offset + bytes.size();
  auto next = pieces_.upper_bound(offset);
  uint64_t at = offset;
  if (next != pieces_.begin()) {
    const auto& [before, piece] = *std::prev(next);
    at = std::max(at, before + piece.bytes);
  }
  while (at < end) {
    const uint64_t gap_end = next == pieces_.end() ? end : std::min(end, next->first);
    if (at < gap_end) {
      const auto stored = spool_->append(bytes.subspan(at - offset, gap_end - at));
      if (!stored && stored.error().code == ErrorCode::kRefused) return too_much();
      if (!stored) return std::unexpected(stored.error());
      pieces_.emplace_hint(next, at, Piece{gap_end - at, *stored});
    }
    if (next == pieces_.end()) break;
    at = next->first + next->second.bytes;
    ++next;
  }
  return {};
}

std::unexpected<Error> RecordingFile::too_much() const {
  return refuse(fmt::format("{}: the evidence pack would hold more than {} of weights; give a "
                            "smaller --sample, or a larger --max-evidence.",
                            printable(name()), show_bytes(spool_->most_bytes())),
                name());
}

std::vector<Extent> RecordingFile::kept() const {
  const std::lock_guard lock(mutex_);
  std::vector<Extent> extents;
  for (const auto& [offset, piece] : pieces_) {
    if (!extents.empty() && extents.back().offset + extents.back().bytes == offset) {
      extents.back().bytes += piece.bytes;
    } else {
      extents.push_back({offset, piece.bytes});
    }
  }
  return extents;
}

Status RecordingFile::copy(uint64_t offset, std::span<std::byte> out) const {
  const std::lock_guard lock(mutex_);
  auto piece = std::prev(pieces_.upper_bound(offset));
  while (!out.empty()) {
    const uint64_t inside = offset - piece->first;
    const uint64_t bytes = std::min<uint64_t>(out.size(), piece->second.bytes - inside);
    HIERON_CHECK(spool_->read_at(piece->second.at + inside, out.first(bytes)));
    offset += bytes;
    out = out.subspan(bytes);
    ++piece;
  }
  return {};
}

}  // namespace hieron
