#include "hieron/pack/squeeze.h"

#include <zlib.h>

namespace hieron {
namespace {

// Calls each(i, j): byte i of the numbers stands at j among the planes.
template <class Each>
void across_planes(size_t bytes, size_t planes, const Each& each) {
  size_t j = 0;
  for (size_t plane = 0; plane < planes; ++plane) {
    for (size_t i = plane; i < bytes; i += planes) each(i, j++);
  }
}

Bytef* in_zlib(std::byte* bytes) { return reinterpret_cast<Bytef*>(bytes); }
const Bytef* in_zlib(const std::byte* bytes) { return reinterpret_cast<const Bytef*>(bytes); }

}  // namespace

std::vector<std::byte> squeeze(std::span<const std::byte> bytes, int planes) {
  const auto count = static_cast<size_t>(planes);
  std::vector<std::byte> split(bytes.size());
  across_planes(bytes.size(), count, [&](size_t i, size_t j) { split[j] = bytes[i]; });

  z_stream stream{};
  // Numbers hardly ever repeat a run of others: codes for single bytes do as well as searching.
  const int strategy = planes > 1 ? Z_RLE : Z_DEFAULT_STRATEGY;
  if (::deflateInit2(&stream, Z_BEST_COMPRESSION, Z_DEFLATED, MAX_WBITS, MAX_MEM_LEVEL, strategy) !=
      Z_OK) {
    return {};
  }
  std::vector<std::byte> out(bytes.size());
  stream.next_out = in_zlib(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  int done = Z_OK;
  size_t at = 0;
  for (size_t plane = 0; plane < count && done == Z_OK; ++plane) {
    const size_t length = (bytes.size() + count - 1 - plane) / count;
    stream.next_in = const_cast<Bytef*>(in_zlib(split.data() + at));
    stream.avail_in = static_cast<uInt>(length);
    at += length;
    // Each with codes of its own: mantissas have little in common with exponents.
    done = ::deflate(&stream, plane + 1 == count ? Z_FINISH : Z_BLOCK);
  }
  out.resize(stream.total_out);
  const bool fits = done == Z_STREAM_END && out.size() < bytes.size();
  ::deflateEnd(&stream);
  return fits ? out : std::vector<std::byte>();
}

bool unsqueeze(std::span<const std::byte> squeezed, int planes, std::span<std::byte> out) {
  std::vector<std::byte> split(out.size());
  uLongf size = split.size();
  uLong used = squeezed.size();
  const int done = ::uncompress2(in_zlib(split.data()), &size, in_zlib(squeezed.data()), &used);
  if (done != Z_OK || size != out.size() || used != squeezed.size()) return false;
  across_planes(out.size(), static_cast<size_t>(planes),
                [&](size_t i, size_t j) { out[i] = split[j]; });
  return true;
}

}  // namespace hieron
