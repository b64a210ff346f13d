// Dtypes as recipes and config.json spell them: torch's names.
#pragma once

#include <array>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "hieron/core/dtype.h"

namespace hieron {

// What merges may be written in; mergekit takes no others.
inline constexpr std::array<std::string_view, 3> kWrittenNames{"bfloat16", "float16", "float32"};

std::string_view torch_name(DType dtype);  // empty for those that torch has no such name for
// Of the floating dtypes among these the name, if there is one of them and a merge may be written
// in it; else empty.
std::string written_name(const std::set<DType>& dtypes);
std::optional<DType> written_dtype(std::string_view name);  // of kWrittenNames

}  // namespace hieron
