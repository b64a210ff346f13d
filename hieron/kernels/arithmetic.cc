#include "hieron/kernels/arithmetic.h"

#include <array>

namespace hieron {
namespace {

constexpr std::array kTable = std::to_array<ArithmeticInfo>({
    {Arithmetic::kExact, "exact", "correctly rounded value of Σ w·x / n",
     "the default of hieron merge", false},
    {Arithmetic::kF32Once, "f32-once",
     "f32: Σ f32(w)·x by multiply, then add; divide by f32Σ f32(w); one rounding",
     "an average written in PyTorch or NumPy over float32 copies", false},
    {Arithmetic::kF32Fma, "f32-fma",
     "f32: acc = fma(x, f32(w), acc); divide by f32Σ f32(w); one rounding", "mergekit 0.1.5 linear",
     false},
    {Arithmetic::kF32Lerp, "f32-lerp", "f32: q + t·(p − q), t = f32(w/n); one rounding",
     "torch.lerp over float32 copies", true},
    {Arithmetic::kBf16Products, "bf16-products", "r = bf16: r(r(f32Σ r(r(w)·x)) / r(Σ r(w)))",
     "mergekit up to 0.1.4 linear, over bf16", false},
    {Arithmetic::kBf16Delta, "bf16-delta", "r = bf16: d = r(x − base); r(base + r(f32Σ r(d·r(w))))",
     "mergekit task vectors, over bf16", false},
    {Arithmetic::kF16Once, "f16-once", "inputs cast to f16, then f32-once, rounded to f16",
     "an average over float16 copies", false},
    {Arithmetic::kF16Products, "f16-products", "r = f16: r(r(f32Σ r(r(w)·x)) / r(Σ r(w)))",
     "mergekit up to 0.1.4 linear, over f16", false},
    {Arithmetic::kF16Delta, "f16-delta", "r = f16: d = r(x − base); r(base + r(f32Σ r(d·r(w))))",
     "mergekit task vectors, over f16", false},
});

// info() indexes the table by the enum's value.
static_assert([] {
  for (size_t i = 0; i < kTable.size(); ++i) {
    if (static_cast<size_t>(kTable[i].arithmetic) != i) return false;
  }
  return true;
}());

}  // namespace

std::span<const ArithmeticInfo> arithmetics() { return kTable; }

const ArithmeticInfo& info(Arithmetic arithmetic) {
  return kTable[static_cast<size_t>(arithmetic)];
}

std::optional<Arithmetic> parse_arithmetic(std::string_view name) {
  for (const ArithmeticInfo& row : kTable) {
    if (row.name == name) return row.arithmetic;
  }
  return std::nullopt;
}

}  // namespace hieron
