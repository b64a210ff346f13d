// acos, sin, cos, exp and log in f64 from +, −, ×, ÷ and square roots alone: the same bits on every
// machine, which a C library's are not. Good to a few units of the 16th digit, so that rounded to
// f32 they are the correctly rounded values but for about one argument in 10^8.
//
// torch calls vendor kernels here (Intel's vector library for F32, SLEEF for BF16 and F16), whose
// f32 results are the correctly rounded ones in 90 to 99 % of all arguments, else their neighbours,
// not the same on every CPU.
#pragma once

namespace hieron::mergekit {

double sine(double x);        // |x| < 2^20
double cosine(double x);      // |x| < 2^20
double arc_cosine(double x);  // NaN outside [−1, 1]
double exponential(double x);
double logarithm(double x);  // x > 0, finite and normal

}  // namespace hieron::mergekit
