// A direction in a file: one 1-D tensor of a .safetensors file.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "hieron/core/error.h"

namespace hieron {

// The values of tensor `name`, or, if that is empty, of the file's only 1-D tensor; [1, n] and [n,
// 1] count as 1-D. Refused: no such tensor (with the nearest name) or several to choose from;
// integers and quantised codes; more than 2^24 elements; NaN, an infinity, or nothing but zeros.
Result<std::vector<double>> read_vector(const std::string& path, std::string_view name = {});

}  // namespace hieron
