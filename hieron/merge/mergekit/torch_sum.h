// The order in which torch adds on an x86 CPU, one thread. Its reductions are built for vectors of
// 8 f32 or 16 bf16/f16, and so run on AVX-512 machines and, element by element, on the plainest
// ones. Everything is accumulated in f32; the caller rounds the result to the tensor's dtype.
//
// Sums are cascaded: runs of at least 16 terms are added up before they join the total of the next
// level, four levels in all, so the rounding error does not grow with n.
#pragma once

#include <cstddef>
#include <span>

#include "hieron/core/dtype.h"

namespace hieron::mergekit {

// torch.sum of a contiguous stretch, of a dtype (F32, BF16, F16: their vectors differ in length).
float sum(std::span<const float> values, DType dtype);

// torch.norm (2) over a contiguous stretch: one vector of running sums of squares, added from left
// to right, then the rest, its last one to three fused as the compiler had it. F16 and values that
// do not lie side by side are taken one by one.
float norm(std::span<const float> values, DType dtype);
float norm_one_by_one(const float* values, size_t n, size_t stride);

// torch.dot of contiguous stretches that start on 16-byte borders. F32: Intel's library on a CPU of
// another maker, four running vectors of four. BF16, F16: torch's own, eight of eight, fused.
float dot(std::span<const float> a, std::span<const float> b, DType dtype);

// numpy.linalg.norm of f32: OpenBLAS's sdot for AVX-512.
float numpy_norm(std::span<const float> values);

// numpy.sum of f32: halves down to 128 terms, those in eight chains.
float numpy_sum(std::span<const float> values);

// torch.mean: in f32 whatever the dtype.
float mean(std::span<const float> values);

// torch.sum over the models (dim 0 of a stack of tensors of `elements` elements): how the terms of
// one element are added. All but the last few elements are added straight on; these four at a time.
class ModelSum {
 public:
  // For a stretch of a tensor that begins `before` elements into it (a multiple of 64) and ends
  // with it, or at another multiple of 64.
  ModelSum(size_t elements, DType dtype, size_t before = 0);
  float operator()(std::span<const float> terms, size_t element) const;

 private:
  size_t straight_;  // elements before this one
};

}  // namespace hieron::mergekit
