// Checkpoints made in memory, for tests: real families changed in known ways.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "hieron/assay/audit.h"
#include "hieron/kernels/arithmetic.h"
#include "hieron/walk/checkpoint.h"

namespace hieron::made {

// One tensor, all of it, as values.
struct Tensor {
  std::string name;
  DType dtype;
  Shape shape;
  std::vector<double> values;
};
using Model = std::vector<Tensor>;

// tests/data/FOLDER, decoded.
Model load(const std::string& folder);

// Values are rounded once to each tensor's dtype.
std::shared_ptr<const Checkpoint> checkpoint(const std::string& ref, const Model& model);

// The family's blend under one arithmetic, stored as the first model stores it.
Model blended(const std::vector<const Model*>& models, const Combination& combination,
              Arithmetic arithmetic = Arithmetic::kExact);

// The model with every tensor passed through `change` (values are not rounded until they are
// stored).
Model changed(Model model, const std::function<void(Tensor&)>& change);

// Deterministic noise: standard normal, from (seed, index).
double normal(uint64_t seed, uint64_t index);
double deviation(const std::vector<double>& values);

}  // namespace hieron::made
