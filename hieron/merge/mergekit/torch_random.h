// torch's random numbers on a CPU: one global Mersenne Twister (MT19937, Matsumoto & Nishimura
// 1998) seeded by torch.manual_seed, of which every draw takes the next 32-bit words.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace hieron::mergekit {

class MersenneStream {
 public:
  // The stream of torch.manual_seed(seed), which keeps 32 bits of it, from its `first`-th word on.
  // Far words are reached by a jump (Haramoto et al. 2008) in about 0.1 s, whatever the distance.
  MersenneStream(uint64_t seed, uint64_t first);

  uint32_t word();

  // One element of torch.bernoulli: 24 bits of the next word against the probability.
  bool keeps(double probability) { return (word() & 0xFFFFFF) < threshold(probability); }

  // The number of values of those bits, in units of 2^-24, that are less than the probability.
  static uint32_t threshold(double probability) {
    if (!(probability > 0)) return 0;
    const double scaled = probability < 1 ? probability * 0x1p24 : 0x1p24;
    const auto whole = static_cast<uint32_t>(scaled);
    return whole + (whole < scaled);
  }

 private:
  void refill();
  void jump(uint64_t words);

  std::array<uint32_t, 624> state_;  // the words before those of the stream, not yet tempered
  size_t next_ = 624;
};

// torch.randint(n, (count,)): a word each, for n from 2^28 on two, modulo n.
std::vector<uint64_t> random_integers(uint64_t n, size_t count, MersenneStream stream);
uint64_t words_of_integers(uint64_t n, size_t count);

// torch.randperm(n)[:count], count <= n, without the rest: memory in proportion to count. It takes
// time for count words, and for n from 214,748,364 on for all of them (1 s for that n).
std::vector<uint64_t> start_of_permutation(uint64_t n, size_t count, MersenneStream stream);
uint64_t words_of_permutation(uint64_t n);  // of the whole of it, n > 0

}  // namespace hieron::mergekit
