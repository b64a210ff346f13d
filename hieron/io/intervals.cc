#include "hieron/io/intervals.h"

#include <algorithm>
#include <iterator>

namespace hieron {

void Intervals::add(Extent extent) {
  if (extent.bytes == 0) return;
  uint64_t begin = extent.offset, end = extent.offset + extent.bytes;
  auto it = ends_.upper_bound(begin);
  if (it != ends_.begin() && std::prev(it)->second >= begin) --it;
  while (it != ends_.end() && it->first <= end) {
    begin = std::min(begin, it->first);
    end = std::max(end, it->second);
    it = ends_.erase(it);
  }
  ends_[begin] = end;
}

void Intervals::add(const Intervals& others) {
  for (const auto& [begin, end] : others.ends_) add({begin, end - begin});
}

void Intervals::remove(Extent extent) {
  const uint64_t begin = extent.offset, end = extent.offset + extent.bytes;
  auto it = ends_.upper_bound(begin);
  if (it != ends_.begin() && std::prev(it)->second > begin) --it;
  while (it != ends_.end() && it->first < end) {
    const auto [b, e] = *it;
    it = ends_.erase(it);
    if (b < begin) ends_[b] = begin;
    if (e > end) ends_[end] = e;
  }
}

bool Intervals::covers(Extent extent) const { return missing(extent).empty(); }

bool Intervals::touches(Extent extent) const {
  const std::vector<Extent> left = missing(extent);
  return left.empty() ? extent.bytes > 0 : left.size() > 1 || left.front() != extent;
}

std::vector<Extent> Intervals::missing(Extent extent) const {
  std::vector<Extent> left;
  uint64_t at = extent.offset;
  const uint64_t end = extent.offset + extent.bytes;
  auto it = ends_.upper_bound(at);
  if (it != ends_.begin()) at = std::max(at, std::prev(it)->second);
  for (; at < end; ++it) {
    const uint64_t stop = it == ends_.end() ? end : std::min(end, it->first);
    if (stop > at) left.push_back({at, stop - at});
    if (it == ends_.end()) break;
    at = std::max(at, it->second);
  }
  return left;
}

std::vector<Extent> coalesce(std::span<const Extent> extents, uint64_t gap, uint64_t most,
                             const Intervals& but) {
  std::vector<Extent> joined;
  for (const Extent& extent : extents) {
    if (extent.bytes == 0) continue;
    if (!joined.empty()) {
      Extent& last = joined.back();
      const uint64_t end = last.offset + last.bytes;
      const uint64_t between = extent.offset > end ? extent.offset - end : 0;
      if (between <= gap && !but.touches({end, between})) {
        last.bytes = std::max(end, extent.offset + extent.bytes) - last.offset;
        continue;
      }
    }
    joined.push_back(extent);
  }
  std::vector<Extent> parts;
  for (const Extent& extent : joined) {
    const uint64_t count = (extent.bytes + most - 1) / most;
    for (uint64_t i = 0; i < count; ++i) {
      const uint64_t begin = extent.bytes * i / count, end = extent.bytes * (i + 1) / count;
      parts.push_back({extent.offset + begin, end - begin});
    }
  }
  return parts;
}

}  // namespace hieron
