#include "hieron/merge/compute.h"

#include <algorithm>
#include <cstring>

#include "hieron/kernels/decode.h"
#include "hieron/walk/walk.h"

namespace hieron {
namespace {

constexpr size_t kPiece = 4 * kLeaf;  // elements converted at a time: stays in a core's cache

size_t width(DType dtype) { return static_cast<size_t>(info(dtype).bits) / 8; }

// One rounding at most: through f64, which holds every storage float.
void convert(DType from, const std::byte* in, DType to, std::byte* out, size_t count,
             std::vector<double>& wide) {
  wide.resize(std::max(wide.size(), count));
  const std::span<double> values(wide.data(), count);
  decode(from, in, values);
  encode(to, values, out);
}

bool needs_cast(const PlannedTensor& tensor, size_t input) {
  return tensor.cast_first && tensor.inputs[input].tensor->dtype != tensor.working;
}

bool converts(const PlannedTensor& tensor) {
  if (tensor.cast_first && tensor.working != tensor.dtype) return true;
  for (size_t k = 0; k < tensor.inputs.size(); ++k) {
    if (needs_cast(tensor, k)) return true;
  }
  return false;
}

// Operands for elements [first, first + count), cast to the working dtype where that comes first.
std::span<const Operand> operands(const PlannedTensor& tensor,
                                  std::span<const std::byte* const> data, size_t first,
                                  size_t count, ComputeScratch& scratch) {
  scratch.operands.clear();
  const size_t stride = count * width(tensor.working);
  scratch.cast.resize(std::max(scratch.cast.size(), stride * data.size()));
  for (size_t k = 0; k < data.size(); ++k) {
    const DType stored = tensor.inputs[k].tensor->dtype;
    const std::byte* in = data[k] + first * width(stored);
    if (!needs_cast(tensor, k)) {
      scratch.operands.push_back({stored, in});
      continue;
    }
    std::byte* cast = scratch.cast.data() + k * stride;
    convert(stored, in, tensor.working, cast, count, scratch.wide);
    scratch.operands.push_back({tensor.working, cast});
  }
  return scratch.operands;
}

void compute_piece(const Method& method, const PlannedTensor& tensor,
                   std::span<const double> statistics, std::span<const std::byte* const> data,
                   size_t first, size_t count, std::byte* out, ComputeScratch& scratch) {
  const auto inputs = operands(tensor, data, first, count, scratch);
  std::byte* target = out + first * width(tensor.dtype);
  if (!tensor.cast_first || tensor.working == tensor.dtype) {
    method.apply(*tensor.parameters, statistics, tensor.arithmetic, inputs, tensor.dtype, target,
                 count, scratch.blend);
    return;
  }
  scratch.worked.resize(std::max(scratch.worked.size(), count * width(tensor.working)));
  method.apply(*tensor.parameters, statistics, tensor.arithmetic, inputs, tensor.working,
               scratch.worked.data(), count, scratch.blend);
  convert(tensor.working, scratch.worked.data(), tensor.dtype, target, count, scratch.wide);
}

}  // namespace

void compute(const Method& method, const PlannedTensor& tensor, std::span<const double> statistics,
             std::span<const std::byte* const> data, size_t count, std::byte* out,
             ComputeScratch& scratch) {
  if (tensor.rule == Rule::kCopied) {
    std::memcpy(out, data[0], count * static_cast<size_t>(info(tensor.dtype).bits) / 8);
    return;
  }
  const size_t step = converts(tensor) ? kPiece : std::max<size_t>(count, 1);
  for (size_t first = 0; first < count; first += step) {
    compute_piece(method, tensor, statistics, data, first, std::min(step, count - first), out,
                  scratch);
  }
}

void leaf_statistics(const Method& method, const PlannedTensor& tensor,
                     std::span<const std::byte* const> data, size_t count, std::span<double> leaves,
                     ComputeScratch& scratch) {
  const size_t size = statistics_size(method, tensor);
  size_t leaf = 0;
  for (size_t first = 0; first < count; first += kLeaf, ++leaf) {
    const size_t n = std::min<size_t>(kLeaf, count - first);
    method.statistics(operands(tensor, data, first, n, scratch), n,
                      leaves.subspan(leaf * size, size));
  }
}

size_t statistics_size(const Method& method, const PlannedTensor& tensor) {
  return tensor.rule == Rule::kMerged ? method.statistics_size(tensor.inputs.size()) : 0;
}

std::vector<double> total_statistics(std::span<const double> leaves, size_t size) {
  std::vector<double> sums(leaves.begin(), leaves.end());
  for (size_t n = leaves.size() / size; n > 1; n = (n + 1) / 2) {
    for (size_t i = 0; i < n / 2; ++i) {
      for (size_t j = 0; j < size; ++j) {
        sums[i * size + j] = sums[2 * i * size + j] + sums[(2 * i + 1) * size + j];
      }
    }
    if (n % 2 == 1) {
      for (size_t j = 0; j < size; ++j) sums[n / 2 * size + j] = sums[(n - 1) * size + j];
    }
  }
  sums.resize(size);
  return sums;
}

}  // namespace hieron
