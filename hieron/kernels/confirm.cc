#include "hieron/kernels/confirm.h"

#include <algorithm>
#include <cmath>

#include "hieron/kernels/lanes.h"

namespace hieron {
namespace {

constexpr size_t kPiece = 4096;  // counts of a piece fit 16 bits

struct Confirm {
  float w0, w1;
  HIERON_INLINE void operator()(const std::byte* s, const std::byte* x, const std::byte* y,
                                size_t n, uint8_t* confirmed) const {
    for (size_t i = 0; i < n; ++i) {
      const float c = bf16_to_f32(load<uint16_t>(s, i));
      const float a = w0 * bf16_to_f32(load<uint16_t>(x, i));
      const float b = w1 * bf16_to_f32(load<uint16_t>(y, i));
      const float distance = std::fabs((a + b) - c);
      const float error = (std::fabs(a) + std::fabs(b)) * 0x1p-21f;
      const uint32_t bits = std::bit_cast<uint32_t>(c);
      const float power = std::bit_cast<float>(bits & 0x7F800000);
      const float half = power * 0x1p-8f;
      // Below a power of two the gap is half as wide.
      const float near_half = choose((bits & 0x007F0000) == 0, half * 0.5f, half);
      const uint32_t sound = power >= 0x1p-100f;
      const uint32_t yes = distance + error < near_half;
      const uint32_t no = distance - error > half;
      confirmed[i] = static_cast<uint8_t>((yes | no << 1) & (0u - sound));
    }
  }
};

struct Count {
  HIERON_INLINE void operator()(const std::byte* s, const std::byte* x, const std::byte* y,
                                const uint8_t* confirmed, size_t n, ConfirmedCounts* counts) const {
    uint16_t yes = 0, no = 0, informative = 0, both = 0, not_finite = 0;
    for (size_t i = 0; i < n; ++i) {
      const uint16_t is_yes = confirmed[i] & 1;
      const uint16_t differ = load<uint16_t>(x, i) != load<uint16_t>(y, i);
      yes = static_cast<uint16_t>(yes + is_yes);
      no = static_cast<uint16_t>(no + (confirmed[i] >> 1));
      informative = static_cast<uint16_t>(informative + differ);
      both = static_cast<uint16_t>(both + (is_yes & differ));
      not_finite = static_cast<uint16_t>(not_finite + ((load<uint16_t>(s, i) & 0x7F80) == 0x7F80));
    }
    counts->yes += yes;
    counts->no += no;
    counts->informative += informative;
    counts->informative_yes += both;
    counts->not_finite += not_finite;
  }
};

}  // namespace

ConfirmedCounts confirm_bf16(float w0, float w1, const std::byte* s, const std::byte* x,
                             const std::byte* y, size_t count, Confirmed* confirmed) {
  const Isa isa = best_isa();
  ConfirmedCounts counts;
  auto* bytes = reinterpret_cast<uint8_t*>(confirmed);
  for (size_t at = 0; at < count; at += kPiece) {
    const size_t n = std::min(kPiece, count - at);
    run(isa, Confirm{w0, w1}, s + 2 * at, x + 2 * at, y + 2 * at, n, bytes + at);
    run(isa, Count{}, s + 2 * at, x + 2 * at, y + 2 * at, static_cast<const uint8_t*>(bytes + at),
        n, &counts);
  }
  return counts;
}

}  // namespace hieron
