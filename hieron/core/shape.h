// The shape of a tensor: row-major extents. A scalar has none and one element.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace hieron {

using Shape = std::vector<uint64_t>;

// Product of the extents; nothing if the product of those that are not zero does not fit in 63
// bits.
std::optional<uint64_t> element_count(const Shape& shape);

// Elements in one step of the first axis ("row"): the product of all extents but the first; 1 for
// 1-D and 0-D.
uint64_t row_length(const Shape& shape);

std::string to_string(const Shape& shape);  // "[128, 512]"

}  // namespace hieron
