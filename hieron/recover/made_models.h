// Checkpoints made in memory, for tests: real families changed in known ways. For tests only.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <numbers>
#include <string>
#include <utility>
#include <vector>

#include "hieron/core/prf.h"
#include "hieron/kernels/arithmetic.h"
#include "hieron/kernels/decode.h"
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

class HeldTensor final : public ComputedTensor {
 public:
  explicit HeldTensor(std::vector<std::byte> bytes, size_t width)
      : bytes_(std::move(bytes)), width_(width) {}
  Status read(uint64_t first, std::span<std::byte> out) const override {
    std::memcpy(out.data(), bytes_.data() + first * width_, out.size());
    return {};
  }

 private:
  std::vector<std::byte> bytes_;
  size_t width_;
};

inline size_t width(DType dtype) { return static_cast<size_t>(info(dtype).bits) / 8; }

inline std::vector<std::byte> stored(const Tensor& tensor) {
  std::vector<std::byte> bytes(tensor.values.size() * width(tensor.dtype));
  encode(tensor.dtype, std::span<const double>(tensor.values), bytes.data());
  return bytes;
}

// tests/data/FOLDER, decoded.
inline Model load(const std::string& folder) {
  const auto opened = open_checkpoint(std::string(HIERON_TEST_DATA "/") + folder);
  if (!opened) std::abort();  // the test data are part of the project
  Model model;
  for (const TensorInfo& info : (*opened)->tensors) {
    std::vector<std::byte> bytes(info.bytes());
    if (!read_elements(**opened, info, 0, bytes)) std::abort();
    Tensor tensor{info.name, info.dtype, info.shape, std::vector<double>(info.elements)};
    decode(info.dtype, bytes.data(), std::span(tensor.values));
    model.push_back(std::move(tensor));
  }
  return model;
}

// Values are rounded once to each tensor's dtype.
inline std::shared_ptr<const Checkpoint> checkpoint(const std::string& ref, const Model& model) {
  auto made = std::make_shared<Checkpoint>();
  made->ref = ref;
  for (const Tensor& tensor : model) {
    made->tensors.push_back(
        TensorInfo{.name = tensor.name,
                   .dtype = tensor.dtype,
                   .shape = tensor.shape,
                   .elements = tensor.values.size(),
                   .stored = {},
                   .computed = std::make_shared<HeldTensor>(stored(tensor), width(tensor.dtype))});
  }
  if (!made->index()) std::abort();
  return made;
}

// The family's blend under one arithmetic, stored as the first model stores it.
inline Model blended(const std::vector<const Model*>& models, const Combination& combination,
                     Arithmetic arithmetic = Arithmetic::kExact) {
  Model result = *models[0];
  BlendScratch scratch;
  for (size_t t = 0; t < result.size(); ++t) {
    Tensor& tensor = result[t];
    std::vector<Operand> operands;
    for (const Model* model : models) {
      operands.push_back(
          {DType::kF64, reinterpret_cast<const std::byte*>((*model)[t].values.data())});
    }
    std::vector<std::byte> bytes(tensor.values.size() * width(tensor.dtype));
    blend(arithmetic, combination, operands, tensor.dtype, bytes.data(), tensor.values.size(),
          scratch);
    decode(tensor.dtype, bytes.data(), std::span(tensor.values));
  }
  return result;
}

// The model with every tensor passed through `change` (values are not rounded until they are
// stored).
inline Model changed(Model model, const std::function<void(Tensor&)>& change) {
  for (Tensor& tensor : model) change(tensor);
  return model;
}

// Deterministic noise: standard normal, from (seed, index).
inline double normal(uint64_t seed, uint64_t index) {
  Seed key;
  std::memcpy(key.bytes.data(), &seed, sizeof seed);
  static thread_local std::pair<uint64_t, Prf> kept{seed, Prf(key, "normal")};
  if (kept.first != seed) kept = {seed, Prf(key, "normal")};
  const double u = 1 - kept.second.uniform(2 * index), v = kept.second.uniform(2 * index + 1);
  return std::sqrt(-2 * std::log(u)) * std::cos(2 * std::numbers::pi * v);
}

inline double deviation(const std::vector<double>& values) {
  double sum = 0, square = 0;
  for (const double v : values) {
    sum += v;
    square += v * v;
  }
  const double n = static_cast<double>(values.size());
  return std::sqrt(std::max(0.0, square / n - sum / n * (sum / n)));
}

}  // namespace hieron::made
