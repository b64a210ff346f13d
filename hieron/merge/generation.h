// Which arithmetic a name means: generic names stand for themselves, `mergekit-0.1.4` and
// `mergekit-0.1.5` for what that version does in one method and one working dtype
// (docs/determinism.md).
#pragma once

#include <string_view>

#include "hieron/core/dtype.h"
#include "hieron/core/error.h"
#include "hieron/kernels/arithmetic.h"

namespace hieron {

// `working` is the dtype mergekit computes in: the recipe's `dtype`, or the promoted dtype of the
// inputs. Refused: an unknown name (with the nearest one), a method or working dtype that version
// does not have.
Result<Arithmetic> resolve(std::string_view name, std::string_view method, DType working);

// `mergekit-*`: the inputs are cast to the working dtype first, and the result is rounded to it
// before it is stored as another. All other names compute from the inputs as stored, and round
// once.
bool casts_first(std::string_view name);

// The dtype that two inputs have in common: the same, or the smallest float that holds both.
DType promote(DType a, DType b);

}  // namespace hieron
