// Which arithmetic a name means: generic names stand for themselves, `mergekit-0.1.4` and
// `mergekit-0.1.5` for what that version does in one method and one working dtype
// (docs/determinism.md).
#pragma once

#include <optional>
#include <string_view>

#include "hieron/core/dtype.h"
#include "hieron/core/error.h"
#include "hieron/kernels/arithmetic.h"
#include "hieron/merge/mergekit/replay.h"
#include "hieron/merge/method.h"

namespace hieron {

// How the tensors of a method are computed.
struct Generation {
  Arithmetic arithmetic = Arithmetic::kExact;  // of the method's own work …
  std::optional<mergekit::Version> replay;     // … unless the tensor is replayed as a whole
};

// `working` is the dtype mergekit computes in: the recipe's `dtype`, or the promoted dtype of the
// inputs. Refused: an unknown name (with the nearest one); a method or working dtype that version
// does not have; a generic arithmetic of a method that is no weighted sum.
Result<Generation> resolve(std::string_view name, const MethodInfo& method, DType working);

// Is there an arithmetic of this name at all?
Status check_arithmetic_name(std::string_view name);

// The version that a name stands for.
std::optional<mergekit::Version> mergekit_version(std::string_view name);

// `mergekit-*`: the inputs are cast to the working dtype first, and the result is rounded to it
// before it is stored as another. All other names compute from the inputs as stored, and round
// once.
bool casts_first(std::string_view name);

// The dtype that two inputs have in common: the same, or the smallest float that holds both.
DType promote(DType a, DType b);

}  // namespace hieron
