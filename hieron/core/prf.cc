#include "hieron/core/prf.h"

#include <fmt/format.h>
#include <sys/random.h>

#include <algorithm>
#include <cassert>
#include <cstring>

#include "hieron/core/hash.h"
#include "hieron/core/philox.h"

namespace hieron {
namespace {

// The value of a hex digit, or -1.
int nibble(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

uint32_t little_endian(const unsigned char* bytes) {
  return bytes[0] | uint32_t{bytes[1]} << 8 | uint32_t{bytes[2]} << 16 | uint32_t{bytes[3]} << 24;
}

}  // namespace

Seed Seed::fresh() {
  Seed seed;
  [[maybe_unused]] const int failed = getentropy(seed.bytes.data(), seed.bytes.size());
  assert(!failed && "getentropy serves 32 bytes on every kernel since 3.17");
  return seed;
}

Result<Seed> Seed::from_hex(std::string_view hex) {
  Seed seed;
  const size_t digits = 2 * seed.bytes.size();
  if (hex.empty() || hex.size() > digits) {
    return usage_error(
        fmt::format("A seed is 1 to {} hex digits, and this has {}; shorten it or leave it out.",
                    digits, hex.size()));
  }
  for (size_t i = 0; i < hex.size(); ++i) {
    const int value = nibble(hex[hex.size() - 1 - i]);
    if (value < 0) {
      return usage_error(
          fmt::format("The seed has a character at position {} that is not one of "
                      "0-9, a-f; a seed is 1 to {} hex digits.",
                      hex.size() - i, digits));
    }
    seed.bytes[seed.bytes.size() - 1 - i / 2] |= static_cast<uint8_t>(value << (i % 2 ? 4 : 0));
  }
  return seed;
}

std::string Seed::hex() const { return to_hex(bytes); }

Prf::Prf(const Seed& seed, std::string_view label) {
  Sha256 hash;
  hash.update(std::as_bytes(std::span(seed.bytes)));
  hash.update(label);
  const Digest digest = hash.finish();
  key_ = {little_endian(&digest[0]), little_endian(&digest[4])};
  domain_ = {little_endian(&digest[8]), little_endian(&digest[12])};
}

uint64_t Prf::at(uint64_t counter) const {
  const auto words = philox4x32_10({static_cast<uint32_t>(counter),
                                    static_cast<uint32_t>(counter >> 32), domain_[0], domain_[1]},
                                   key_);
  return words[0] | uint64_t{words[1]} << 32;
}

uint64_t Prf::below(uint64_t counter, uint64_t n) const {
  assert(n >= 1);
  __extension__ using Wide = unsigned __int128;
  return static_cast<uint64_t>(Wide{at(counter)} * n >> 64);
}

double Prf::uniform(uint64_t counter) const {
  return static_cast<double>(at(counter) >> 11) * 0x1p-53;
}

void Prf::fill(uint64_t first, std::span<uint32_t> out) const {
  for (size_t i = 0; i < out.size();) {
    const uint64_t counter = (first + i) / 4;
    const size_t skip = (first + i) % 4, n = std::min<size_t>(4 - skip, out.size() - i);
    const auto words = philox4x32_10({static_cast<uint32_t>(counter),
                                      static_cast<uint32_t>(counter >> 32), domain_[0], domain_[1]},
                                     key_);
    for (size_t j = 0; j < n; ++j) out[i + j] = words[skip + j];
    i += n;
  }
}

}  // namespace hieron
