// Another C library's mathematics, for LD_PRELOAD: every function here answers a few units in the
// last place beside the C library's own. What reaches a result through one of them shows.
//
// sqrt, fma, floor and the like are missing on purpose: IEEE 754 says what they return.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

static double beside(double x) {
  uint64_t bits;
  memcpy(&bits, &x, sizeof bits);
  bits ^= isfinite(x) ? 5 : 0;
  memcpy(&x, &bits, sizeof x);
  return x;
}

static float besidef(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  bits ^= isfinite(x) ? 5 : 0;
  memcpy(&x, &bits, sizeof x);
  return x;
}

#define OTHER(NAME, PARAMETERS, ARGUMENTS, TYPE, BESIDE)                   \
  TYPE NAME PARAMETERS {                                                   \
    static TYPE(*original) PARAMETERS;                                     \
    if (!original) original = (TYPE(*) PARAMETERS)dlsym(RTLD_NEXT, #NAME); \
    return BESIDE(original ARGUMENTS);                                     \
  }
#define OF_ONE(NAME)                           \
  OTHER(NAME, (double x), (x), double, beside) \
  OTHER(NAME##f, (float x), (x), float, besidef)
#define OF_TWO(NAME)                                        \
  OTHER(NAME, (double x, double y), (x, y), double, beside) \
  OTHER(NAME##f, (float x, float y), (x, y), float, besidef)

OF_ONE(sin)
OF_ONE(cos)
OF_ONE(tan)
OF_ONE(asin)
OF_ONE(acos)
OF_ONE(atan)
OF_ONE(sinh)
OF_ONE(cosh)
OF_ONE(tanh)
OF_ONE(exp)
OF_ONE(exp2)
OF_ONE(expm1)
OF_ONE(log)
OF_ONE(log2)
OF_ONE(log10)
OF_ONE(log1p)
OF_ONE(cbrt)
OF_ONE(erf)
OF_ONE(erfc)
OF_ONE(tgamma)
OF_ONE(lgamma)
OF_TWO(pow)
OF_TWO(hypot)
OF_TWO(atan2)

// What compilers make of a sine and a cosine of one number.
void sincos(double x, double* sine, double* cosine) {
  *sine = sin(x);
  *cosine = cos(x);
}
void sincosf(float x, float* sine, float* cosine) {
  *sine = sinf(x);
  *cosine = cosf(x);
}
