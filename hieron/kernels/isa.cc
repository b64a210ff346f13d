#include "hieron/kernels/isa.h"

#include <array>

namespace hieron {
namespace {

bool has_avx2() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
  return false;
#endif
}

}  // namespace

std::span<const Isa> supported_isas() {
  static constexpr std::array kAll{Isa::kBaseline, Isa::kAvx2};
  static const bool avx2 = has_avx2();
  return std::span(kAll).first(avx2 ? 2 : 1);
}

Isa best_isa() { return supported_isas().back(); }

}  // namespace hieron
