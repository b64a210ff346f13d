#include "hieron/merge/mergekit/rounding.h"

#include <algorithm>
#include <cstring>

#include "hieron/kernels/decode.h"

namespace hieron::mergekit {

Values values_of(const Operand& operand, size_t n) {
  Values values(n);
  decode(operand.dtype, operand.data, std::span<float>(values));
  return values;
}

void store_values(DType dtype, std::span<const float> values, std::byte* out) {
  if (values.empty()) return;
  if (dtype == DType::kF32) {
    std::memcpy(out, values.data(), values.size_bytes());
    return;
  }
  encode(dtype, values, out);
  if (dtype != DType::kBF16) return;
  for (size_t i = 0; i < values.size(); ++i) {
    if (std::isnan(values[i])) store_bits(dtype, out, i, 0xFFFF);
  }
}

}  // namespace hieron::mergekit
