// sin, cos, acos, exp and log with the same bits on every machine: a C library's differ from one
// to the next.
//
// Computed as unevaluated sums of two doubles (Dekker 1971, Knuth 1969: error-free sums and
// products, without fused multiply-add), argument reduction, Taylor series; the relative error
// before the one rounding at the end is below 2^-95. So the results are correctly rounded, except
// for about one argument in 2^41. Where the C library's double has 1 ulp of error at worst, this
// has 1/2.
//
// Cost: exponential 30 ns, logarithm 70 ns (a short way settles all but one argument in a
// thousand), the others half a microsecond.
#pragma once

namespace hieron {

// |x| <= 2^30; beyond, and for NaN and infinities, NaN. Close to a multiple of π/2 the relative
// error before the rounding grows with |x|, to 2^-70 at worst.
double sine(double x);
double cosine(double x);

double arc_cosine(double x);  // NaN outside of [-1, 1]

double exponential(double x);  // overflows to infinity; subnormal results are rounded once
double logarithm(double x);    // -infinity at ±0; NaN below

}  // namespace hieron
