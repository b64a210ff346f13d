// One loop, compiled for several instruction sets, with the same bits from each.
//
// A kernel is a struct whose call operator holds plain loops and is always inlined; `run` picks the
// copy that the CPU can execute. No contraction, no reassociation: only the vector width differs.
#pragma once

#include <cstdint>
#include <span>

#include "hieron/core/error.h"

namespace hieron {

enum class Isa : uint8_t {
  kBaseline,  // what the compiler may assume of any CPU of the architecture
  kAvx2,      // x86-64 with AVX2 and FMA
};

std::span<const Isa> supported_isas();  // on this CPU, slowest first

// The last of them, or the one that the environment variable HIERON_ISA names (baseline, avx2): the
// results are the same, so it serves tests and the search for a faulty vector unit.
Isa best_isa();

// Refuses a HIERON_ISA that is unknown, or that this CPU lacks; best_isa() ignores it.
Status check_isa_choice();

// Before a loop whose arrays do not overlap, where the compiler cannot see that.
#if defined(__clang__)
#define HIERON_NO_OVERLAP _Pragma("clang loop vectorize(assume_safety)")
#else
#define HIERON_NO_OVERLAP _Pragma("GCC ivdep")
#endif

#define HIERON_INLINE [[gnu::always_inline]] inline

#if defined(__x86_64__)
template <class Kernel, class... Args>
[[gnu::target("avx2,fma")]] void run_avx2(const Kernel& kernel, Args... args) {
  kernel(args...);
}
#endif

template <class Kernel, class... Args>
void run_baseline(const Kernel& kernel, Args... args) {
  kernel(args...);
}

template <class Kernel, class... Args>
void run(Isa isa, const Kernel& kernel, Args... args) {
#if defined(__x86_64__)
  if (isa == Isa::kAvx2) return run_avx2(kernel, args...);
#endif
  (void)isa;
  run_baseline(kernel, args...);
}

}  // namespace hieron
