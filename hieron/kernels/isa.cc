#include "hieron/kernels/isa.h"

#include <fmt/format.h>

#include <array>
#include <cstdlib>
#include <string_view>

#include "hieron/core/text.h"

namespace hieron {
namespace {

bool has_avx2() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
  return false;
#endif
}

std::string_view name_of(Isa isa) { return isa == Isa::kAvx2 ? "avx2" : "baseline"; }

// What the environment asks for; nothing if it is silent.
std::string_view asked_for() {
  const char* name = std::getenv("HIERON_ISA");
  return name ? name : "";
}

Isa choose() {
  const std::string_view name = asked_for();
  for (const Isa isa : supported_isas()) {
    if (name == name_of(isa)) return isa;
  }
  return supported_isas().back();
}

}  // namespace

std::span<const Isa> supported_isas() {
  static constexpr std::array kAll{Isa::kBaseline, Isa::kAvx2};
  static const bool avx2 = has_avx2();
  return std::span(kAll).first(avx2 ? 2 : 1);
}

Isa best_isa() {
  static const Isa chosen = choose();
  return chosen;
}

Status check_isa_choice() {
  const std::string_view name = asked_for();
  if (name.empty()) return {};
  std::string known;
  for (const Isa isa : supported_isas()) {
    if (name == name_of(isa)) return {};
    known += fmt::format("{}{}", known.empty() ? "" : ", ", name_of(isa));
  }
  return usage_error(fmt::format("HIERON_ISA={}: this CPU has {}; set one of them, or nothing.",
                                 printable(name), known));
}

}  // namespace hieron
