#include "hieron/merge/dtype_names.h"

namespace hieron {

std::string_view torch_name(DType dtype) {
  switch (dtype) {
    case DType::kBF16:
      return "bfloat16";
    case DType::kF16:
      return "float16";
    case DType::kF32:
      return "float32";
    case DType::kF64:
      return "float64";
    default:
      return "";
  }
}

std::optional<DType> written_dtype(std::string_view name) {
  for (const DType dtype : {DType::kBF16, DType::kF16, DType::kF32}) {
    if (torch_name(dtype) == name) return dtype;
  }
  return std::nullopt;
}

std::string written_name(const std::set<DType>& dtypes) {
  std::string_view found;
  for (const DType dtype : dtypes) {
    if (!info(dtype).format) continue;
    if (!found.empty()) return {};
    found = torch_name(dtype);
    if (!written_dtype(found)) return {};
  }
  return std::string(found);
}

}  // namespace hieron
