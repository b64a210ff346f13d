#include "hieron/evidence/squeeze.h"

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
  std::vector<std::byte> split(bytes.size());
  across_planes(bytes.size(), static_cast<size_t>(planes),
                [&](size_t i, size_t j) { split[j] = bytes[i]; });
  uLongf size = ::compressBound(bytes.size());
  std::vector<std::byte> out(size);
  const int done = ::compress2(in_zlib(out.data()), &size, in_zlib(split.data()), split.size(),
                               Z_DEFAULT_COMPRESSION);
  if (done != Z_OK || size >= bytes.size()) return {};
  out.resize(size);
  return out;
}

bool unsqueeze(std::span<const std::byte> squeezed, int planes, std::span<std::byte> out) {
  std::vector<std::byte> split(out.size());
  uLongf size = split.size();
  uLong used = squeezed.size();
  const int done =
      ::uncompress2(in_zlib(split.data()), &size, in_zlib(squeezed.data()), &used);
  if (done != Z_OK || size != out.size() || used != squeezed.size()) return false;
  across_planes(out.size(), static_cast<size_t>(planes),
                [&](size_t i, size_t j) { out[i] = split[j]; });
  return true;
}

}  // namespace hieron
