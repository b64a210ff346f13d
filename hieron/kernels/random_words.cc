#include "hieron/kernels/random_words.h"

#include <algorithm>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace hieron {
namespace {

#if defined(__x86_64__)

// Philox4x32-10 (core/philox.h) of four counters side by side: one 32-bit word of each in the low
// half of a 64-bit lane, where the one multiplication finds it whose 64-bit product is wanted. (By
// name: compilers make three multiplications of a loop that says the same. What the upper halves
// hold does not matter.)
struct FourCounters {
  __m256i a, b, c, d;

  [[gnu::target("avx2"), gnu::always_inline]] FourCounters(const Prf& prf, uint64_t first) {
    a = _mm256_add_epi64(_mm256_set1_epi64x(static_cast<long long>(first)),
                         _mm256_set_epi64x(3, 2, 1, 0));
    b = _mm256_srli_epi64(a, 32);
    c = _mm256_set1_epi64x(prf.domain()[0]);
    d = _mm256_set1_epi64x(prf.domain()[1]);
  }

  [[gnu::target("avx2"), gnu::always_inline]] void round(__m256i k0, __m256i k1) {
    const __m256i even = _mm256_mul_epu32(a, _mm256_set1_epi64x(0xD2511F53));
    const __m256i odd = _mm256_mul_epu32(c, _mm256_set1_epi64x(0xCD9E8D57));
    a = _mm256_xor_si256(_mm256_xor_si256(_mm256_srli_epi64(odd, 32), b), k0);
    c = _mm256_xor_si256(_mm256_xor_si256(_mm256_srli_epi64(even, 32), d), k1);
    b = odd;
    d = even;
  }

  [[gnu::target("avx2"), gnu::always_inline]] void store(uint32_t* out) const {
    const __m256i ab = _mm256_blend_epi32(a, _mm256_slli_epi64(b, 32), 0b10101010);
    const __m256i cd = _mm256_blend_epi32(c, _mm256_slli_epi64(d, 32), 0b10101010);
    const __m256i even = _mm256_unpacklo_epi64(ab, cd), odd = _mm256_unpackhi_epi64(ab, cd);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out),
                        _mm256_permute2x128_si256(even, odd, 0x20));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + 8),
                        _mm256_permute2x128_si256(even, odd, 0x31));
  }
};

// The words of counters [first, first + count), four by four, two groups at a time to hide the
// latency of the multiplications.
[[gnu::target("avx2")]] void fill_by_counters(const Prf& prf, uint64_t first, uint32_t* out,
                                              size_t count) {
  for (size_t i = 0; i < count; i += 8) {
    FourCounters one(prf, first + i), other(prf, first + i + 4);
    uint32_t k0 = prf.key()[0], k1 = prf.key()[1];
    for (int round = 0; round < 10; ++round, k0 += 0x9E3779B9, k1 += 0xBB67AE85) {
      one.round(_mm256_set1_epi64x(k0), _mm256_set1_epi64x(k1));
      other.round(_mm256_set1_epi64x(k0), _mm256_set1_epi64x(k1));
    }
    one.store(out + 4 * i);
    other.store(out + 4 * i + 16);
  }
}

constexpr size_t kCounters = 8;  // in one go

#endif

}  // namespace

void random_words_on(Isa isa, const Prf& prf, uint64_t first, std::span<uint32_t> out) {
#if defined(__x86_64__)
  const size_t lead = std::min<size_t>((4 - first % 4) % 4, out.size());
  const size_t counters = (out.size() - lead) / (4 * kCounters) * kCounters;
  if (isa == Isa::kAvx2 && counters > 0) {
    const size_t done = lead + 4 * counters;
    prf.fill(first, out.first(lead));
    fill_by_counters(prf, (first + lead) / 4, out.data() + lead, counters);
    prf.fill(first + done, out.subspan(done));
    return;
  }
#endif
  (void)isa;
  prf.fill(first, out);
}

void random_words(const Prf& prf, uint64_t first, std::span<uint32_t> out) {
  random_words_on(best_isa(), prf, first, out);
}

}  // namespace hieron
