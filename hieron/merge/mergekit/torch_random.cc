#include "hieron/merge/mergekit/torch_random.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <numeric>
#include <span>
#include <unordered_map>
#include <vector>

namespace hieron::mergekit {
namespace {

constexpr size_t kWords = 624, kMiddle = 397;
constexpr size_t kDegree = 19937;              // bits of state
constexpr size_t kLimbs = kDegree / 64 + 1;    // of 64 bits, for a polynomial of that degree
constexpr uint64_t kJump = uint64_t{1} << 24;  // words from which on a jump is faster

uint32_t twist(uint32_t word, uint32_t next, uint32_t middle) {
  const uint32_t mixed = (word & 0x80000000) | (next & 0x7FFFFFFF);
  return middle ^ (mixed >> 1) ^ (mixed & 1 ? 0x9908B0DF : 0);
}

// The sequence goes on for n words after those of the state.
std::vector<uint32_t> continued(std::span<const uint32_t, kWords> state, size_t n) {
  std::vector<uint32_t> x(state.begin(), state.end());
  x.resize(kWords + n);
  for (size_t i = 0; i < n; ++i) x[i + kWords] = twist(x[i], x[i + 1], x[i + kMiddle]);
  return x;
}

// Polynomials over GF(2): bit i is the coefficient of x^i.
using Polynomial = std::vector<uint64_t>;

bool has(const Polynomial& p, size_t power) { return p[power / 64] >> (power % 64) & 1; }

// sum += p·x^shift
void add_shifted(Polynomial& sum, const Polynomial& p, size_t shift) {
  const size_t limbs = shift / 64, bits = shift % 64;
  for (size_t i = 0; i < p.size() && i + limbs < sum.size(); ++i) {
    sum[i + limbs] ^= p[i] << bits;
    if (bits != 0 && i + limbs + 1 < sum.size()) sum[i + limbs + 1] ^= p[i] >> (64 - bits);
  }
}

// The recurrence that one bit of the sequence obeys (Berlekamp and Massey), which is that of the
// whole state: the characteristic polynomial, the same for every seed.
Polynomial characteristic() {
  std::array<uint32_t, kWords> state{};
  state[kMiddle] = 1;
  const std::vector<uint32_t> x = continued(state, 2 * kDegree);
  Polynomial connection(kLimbs, 0), earlier(kLimbs, 0), seen(kLimbs, 0);
  connection[0] = earlier[0] = 1;
  size_t length = 0, since = 1;
  for (size_t n = 0; n < 2 * kDegree; ++n) {
    for (size_t i = kLimbs - 1; i > 0; --i) seen[i] = seen[i] << 1 | seen[i - 1] >> 63;
    seen[0] = seen[0] << 1 | (x[kWords + n] & 1);
    uint64_t sum = 0;
    for (size_t i = 0; i < kLimbs; ++i) sum ^= connection[i] & seen[i];
    if (std::popcount(sum) % 2 == 0) {
      ++since;
      continue;
    }
    const Polynomial before = connection;
    add_shifted(connection, earlier, since);
    if (2 * length > n) {
      ++since;
      continue;
    }
    length = n + 1 - length;
    earlier = before;
    since = 1;
  }
  Polynomial reversed(kLimbs, 0);
  for (size_t i = 0; i <= kDegree; ++i) {
    if (has(connection, i)) reversed[(kDegree - i) / 64] |= uint64_t{1} << ((kDegree - i) % 64);
  }
  return reversed;
}

// p·p: every bit moves to twice its place.
Polynomial squared(const Polynomial& p) {
  Polynomial square(2 * kLimbs, 0);
  for (size_t i = 0; i < kDegree; ++i) {
    if (has(p, i)) square[2 * i / 64] |= uint64_t{1} << (2 * i % 64);
  }
  return square;
}

Polynomial remainder(Polynomial p, const Polynomial& divisor) {
  for (size_t power = p.size() * 64 - 1; power >= kDegree; --power) {
    if (has(p, power)) add_shifted(p, divisor, power - kDegree);
  }
  p.resize(kLimbs);
  return p;
}

// x^n modulo the characteristic polynomial.
Polynomial power_of_x(uint64_t n) {
  static const Polynomial divisor = characteristic();
  Polynomial power(kLimbs, 0);
  power[0] = 1;
  for (int bit = 63 - std::countl_zero(n); bit >= 0; --bit) {
    Polynomial next = squared(power);
    if (n >> bit & 1) {
      Polynomial shifted(next.size(), 0);
      add_shifted(shifted, next, 1);
      next = std::move(shifted);
    }
    power = remainder(std::move(next), divisor);
  }
  return power;
}

}  // namespace

MersenneStream::MersenneStream(uint64_t seed, uint64_t first) {
  state_[0] = static_cast<uint32_t>(seed);
  for (uint32_t i = 1; i < kWords; ++i) {
    state_[i] = 1812433253 * (state_[i - 1] ^ state_[i - 1] >> 30) + i;
  }
  if (first >= kJump) {
    jump(first);
    return;
  }
  for (; first >= kWords; first -= kWords) {
    refill();
    next_ = kWords;
  }
  while (first-- > 0) word();
}

uint32_t MersenneStream::word() {
  if (next_ == kWords) refill();
  uint32_t y = state_[next_++];
  y ^= y >> 11;
  y ^= y << 7 & 0x9D2C5680;
  y ^= y << 15 & 0xEFC60000;
  return y ^ y >> 18;
}

void MersenneStream::refill() {
  size_t i = 0;
  for (; i < kWords - kMiddle; ++i) {
    state_[i] = twist(state_[i], state_[i + 1], state_[i + kMiddle]);
  }
  for (; i < kWords; ++i) {
    state_[i] = twist(state_[i], state_[(i + 1) % kWords], state_[i + kMiddle - kWords]);
  }
  next_ = 0;
}

// The state n words on is the sum of those states of the next 19937 that x^n names.
void MersenneStream::jump(uint64_t words) {
  const Polynomial power = power_of_x(words);
  const std::vector<uint32_t> x = continued(state_, kDegree);
  state_.fill(0);
  for (size_t j = 0; j < kDegree; ++j) {
    if (!has(power, j)) continue;
    for (size_t i = 0; i < kWords; ++i) state_[i] ^= x[j + i];
  }
}

namespace {

constexpr uint64_t kWideInteger = uint64_t{1} << 28;
constexpr uint64_t kWidePermutation = std::numeric_limits<uint32_t>::max() / 20;

uint64_t two_words(MersenneStream& stream) {
  const uint64_t high = stream.word();
  return high << 32 | stream.word();
}

// Number i goes to a place at or before its own, and what stood there to place i.
std::vector<uint64_t> start_of_wide_permutation(uint64_t n, size_t count, MersenneStream& stream) {
  std::vector<uint64_t> start(count);
  for (uint64_t i = 0; i < n; ++i) {
    const uint64_t place = two_words(stream) % (i + 1);
    if (i < count) start[i] = start[place];
    if (place < count) start[place] = i;
  }
  return start;
}

}  // namespace

std::vector<uint64_t> random_integers(uint64_t n, size_t count, MersenneStream stream) {
  std::vector<uint64_t> drawn(count);
  std::ranges::generate(drawn,
                        [&] { return (n < kWideInteger ? stream.word() : two_words(stream)) % n; });
  return drawn;
}

uint64_t words_of_integers(uint64_t n, size_t count) {
  return n < kWideInteger ? count : 2 * uint64_t{count};
}

// Each place is exchanged with one at or after it, so those before it stay as they are.
std::vector<uint64_t> start_of_permutation(uint64_t n, size_t count, MersenneStream stream) {
  if (n >= kWidePermutation) return start_of_wide_permutation(n, count, stream);
  std::vector<uint64_t> start(count);
  std::iota(start.begin(), start.end(), uint64_t{0});
  std::unordered_map<uint64_t, uint64_t> beyond;  // the start, where it is not i at place i
  for (uint64_t i = 0; i < count && i + 1 < n; ++i) {
    const uint64_t place = i + stream.word() % (n - i);
    std::swap(start[i],
              place < count ? start[place] : beyond.try_emplace(place, place).first->second);
  }
  return start;
}

uint64_t words_of_permutation(uint64_t n) { return n < kWidePermutation ? n - 1 : 2 * n; }

}  // namespace hieron::mergekit
