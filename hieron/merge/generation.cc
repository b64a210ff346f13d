#include "hieron/merge/generation.h"

#include <fmt/format.h>

#include <array>
#include <optional>
#include <vector>

#include "hieron/core/text.h"

namespace hieron {
namespace {

// What a version of mergekit does, where a model of kernels/arithmetic.h does the same: computed
// piece by piece. All else is replayed op by op (mergekit/replay.h).
struct Behaviour {
  std::string_view version, method;
  DType working;
  Arithmetic arithmetic;
};

constexpr std::array<Behaviour, 12> kBehaviours{{
    // 0.1.4 rounds every product to the working dtype; in f32 that is f32 arithmetic, op by op.
    {"mergekit-0.1.4", "linear", DType::kBF16, Arithmetic::kBf16Products},
    {"mergekit-0.1.4", "linear", DType::kF16, Arithmetic::kF16Products},
    {"mergekit-0.1.4", "linear", DType::kF32, Arithmetic::kF32Once},
    // 0.1.5 accumulates in f32 with torch's fused addcmul.
    {"mergekit-0.1.5", "linear", DType::kBF16, Arithmetic::kF32Fma},
    {"mergekit-0.1.5", "linear", DType::kF16, Arithmetic::kF32Fma},
    {"mergekit-0.1.5", "linear", DType::kF32, Arithmetic::kF32Fma},
    // Both: a tensor times a Python number, in f32, one rounding.
    {"mergekit-0.1.4", "passthrough", DType::kBF16, Arithmetic::kF32Once},
    {"mergekit-0.1.4", "passthrough", DType::kF16, Arithmetic::kF32Once},
    {"mergekit-0.1.4", "passthrough", DType::kF32, Arithmetic::kF32Once},
    {"mergekit-0.1.5", "passthrough", DType::kBF16, Arithmetic::kF32Once},
    {"mergekit-0.1.5", "passthrough", DType::kF16, Arithmetic::kF32Once},
    {"mergekit-0.1.5", "passthrough", DType::kF32, Arithmetic::kF32Once},
}};

constexpr std::array<std::string_view, 2> kVersions{"mergekit-0.1.4", "mergekit-0.1.5"};

std::unexpected<Error> unknown_name(std::string_view name) {
  std::vector<std::string_view> names(kVersions.begin(), kVersions.end());
  for (const ArithmeticInfo& known : arithmetics()) names.push_back(known.name);
  const std::string_view meant = nearest(name, names);
  std::string all;
  for (std::string_view n : names) all += fmt::format("{}{}", all.empty() ? "" : ", ", n);
  return refuse(meant.empty() ? fmt::format("There is no arithmetic \"{}\"; there are {}.",
                                            printable(name), all)
                              : fmt::format("There is no arithmetic \"{}\"; did you mean \"{}\"?",
                                            printable(name), meant));
}

}  // namespace

std::optional<mergekit::Version> mergekit_version(std::string_view name) {
  if (name == kVersions[0]) return mergekit::Version::k014;
  if (name == kVersions[1]) return mergekit::Version::k015;
  return std::nullopt;
}

Status check_arithmetic_name(std::string_view name) {
  if (parse_arithmetic(name) || mergekit_version(name)) return {};
  return unknown_name(name);
}

Result<Generation> resolve(std::string_view name, const MethodInfo& method, DType working) {
  HIERON_CHECK(check_arithmetic_name(name));
  if (const auto generic = parse_arithmetic(name)) {
    if (*generic == Arithmetic::kExact || method.weighted_sum) {
      return Generation{.arithmetic = *generic, .replay = std::nullopt};
    }
    return refuse(fmt::format(
        "{} is an arithmetic of weighted sums, which {} is not; use exact or mergekit-0.1.5.", name,
        method.name));
  }
  for (const Behaviour& row : kBehaviours) {
    if (row.version == name && row.method == method.name && row.working == working) {
      return Generation{.arithmetic = row.arithmetic, .replay = std::nullopt};
    }
  }
  const auto version = mergekit_version(name);
  const bool known_dtype =
      working == DType::kBF16 || working == DType::kF16 || working == DType::kF32;
  if (known_dtype && mergekit::replays(*version, method.name)) {
    return Generation{.arithmetic = Arithmetic::kExact, .replay = version};
  }
  return refuse(fmt::format("{} is not replayed for {} in {}; use exact.", name, method.name,
                            info(working).name));
}

bool casts_first(std::string_view name) { return name.starts_with("mergekit-"); }

DType promote(DType a, DType b) {
  if (a == b) return a;
  if (a == DType::kF64 || b == DType::kF64) return DType::kF64;
  const auto wide = [](DType d) { return info(d).bits >= 16; };
  if (wide(a) != wide(b)) return wide(a) ? a : b;  // one 8-bit float, which every wider one holds
  return wide(a) ? DType::kF32 : DType::kBF16;
}

}  // namespace hieron
