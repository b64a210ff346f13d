// torch.softmax along lines of neighbouring elements, as AVX-512 computes it, and SLEEF's expf.
#pragma once

#include <span>

#include "hieron/merge/mergekit/rounding.h"

namespace hieron::mergekit {

// e^x in f32 by the algorithm of SLEEF's expf with an error of at most 1 ulp, fused multiply-adds
// included: reduce by ln 2 in two parts, a polynomial of degree 7, scale. NaN and overflow as IEEE.
float sleef_exp(float x);

// One line, in place, not yet rounded to a dtype: e^(x − max) times 1/Σ, the sum in 16 running
// lanes that are folded in halves; what does not fill a vector is added after them.
void softmax(std::span<float> line);

}  // namespace hieron::mergekit
