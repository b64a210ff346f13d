// The linear assignment problem: which permutation of columns maximises the sum of chosen scores.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace hieron {

// `score` is n × n, row-major, finite. Returns for each row its column. O(n³), shortest augmenting
// paths (Jonker and Volgenant, Computing 38, 1987). Ties go to the lower column.
std::vector<uint32_t> assign(std::span<const double> score, size_t n);

}  // namespace hieron
