// torch.softmax along lines of neighbouring elements, as AVX-512 computes it, its exponential,
// which is SLEEF's, and torch.log.
#pragma once

#include <span>

#include "hieron/core/dtype.h"

namespace hieron::mergekit {

// e^x in f32 by the algorithm of SLEEF's expf with an error of at most 1 ulp, fused multiply-adds
// included: reduce by ln 2 in two parts, a polynomial of degree 7, scale. NaN and overflow as IEEE.
float sleef_exp(float x);

// torch.log of an element of a dtype (F32, BF16, F16), not yet rounded to it. F32: that of Intel's
// MKL on a CPU of another maker, at most 1 ulp off, and by that one for some 5 % of the numbers
// around 1. BF16, F16: correctly rounded, as SLEEF's is once it is rounded to those.
float torch_log(float x, DType dtype);

// One line of elements of a dtype (F32, BF16, F16), in place, not yet rounded to it: e^(x − max)
// times 1/Σ, the sum in 16 running lanes that are folded in halves. What does not fill a vector
// is put into the first lanes in F32 (a line shorter than a vector: from left to right); in BF16
// and F16 it is added after them, and its exponentials are the C library's.
void softmax(std::span<float> line, DType dtype);

}  // namespace hieron::mergekit
