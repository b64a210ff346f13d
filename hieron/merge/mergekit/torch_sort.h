// The order in which torch leaves equal values when it sorts on a CPU.
//
// torch.sort and torch.argsort without stable=True hand (value, index) pairs to the C++ library's
// sort, which in torch's binaries is that of GNU: quicksort around the median of three, down to
// stretches of 16, heapsort where the recursion gets deeper than 2·log2 n, one insertion sort at
// the end. torch.topk uses the same library's partial sort (k ≤ n/64) or selection. Their
// comparison looks at the value alone, so where equal values end depends on every exchange on the
// way: the same exchanges are made here. They are the same for every dtype and with every vector
// unit.
//
// NaN counts as larger than everything. No more than 2^32 values. O(n) memory: 8 bytes a value.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace hieron::mergekit {

// Which elements torch.argsort(|values|, descending)[first:last] holds: 1, all others 0. Sorts only
// what the two ends need: O(n).
std::vector<uint8_t> sorted_between(std::span<const float> values, bool descending, size_t first,
                                    size_t last);

// torch.argsort(|values|), ascending.
std::vector<uint32_t> sorted_indices(std::span<const float> values);

// The same for n values `stride` apart, into `out`; `scratch` is reused.
struct SortEntry {
  uint32_t key, index;
};
void sorted_indices(const float* values, size_t n, size_t stride, std::span<uint32_t> out,
                    std::vector<SortEntry>& scratch);

// Which elements torch.topk(|values|, k).indices holds.
std::vector<uint8_t> top_k(std::span<const float> values, size_t k);

}  // namespace hieron::mergekit
