// linear, nearswap and passthrough: one element at a time.
//
//   linear 0.1.4   r( r(f32Σ r(r(w_k)·x_k)) / r(Σ r(w_k)) )
//   linear 0.1.5   f32: acc = fma(x_k, w_k, acc) from 0, acc / Σ w_k, rounded once
//   nearswap       w = clamp(r(r(1/max(r|a − b|, 1e-6))·t), 0, 1);  r(r(w·b) + r(r(1 − w)·a))
//   passthrough    x, or r(x·scale)
#include <algorithm>
#include <cmath>
#include <limits>

#include "hieron/merge/mergekit/families.h"
#include "hieron/merge/mergekit/torch_sum.h"

namespace hieron::mergekit {
namespace {

constexpr double kNoWeight = std::numeric_limits<double>::quiet_NaN();

Result<Values> linear_of_products(const ReplayTask& task) {
  const Rounding r(task.working);
  const size_t models = task.operands.size();
  Values weights;
  std::vector<Values> inputs;
  for (size_t k = 0; k < models; ++k) {
    weights.push_back(r(model_of(task, k, "weight", kNoWeight)));
    inputs.push_back(values_of(task, k));
  }
  const bool normalize = global_of(task, "normalize", 1) != 0;
  const float divisor = r(ModelSum(1, task.working)(weights, 0));
  const ModelSum add(task.elements, task.working, task.before);
  Values out(task.elements), terms(models);
  for (size_t i = 0; i < out.size(); ++i) {
    for (size_t k = 0; k < models; ++k) terms[k] = r(weights[k] * inputs[k][i]);
    out[i] = r(add(terms, i));
    if (normalize) out[i] = r(out[i] / divisor);
  }
  return out;
}

Result<Values> linear_fused(const ReplayTask& task) {
  const Rounding r(task.working);
  Values out(task.elements, 0.0f), weights;
  for (size_t k = 0; k < task.operands.size(); ++k) {
    const Values input = values_of(task, k);
    weights.push_back(static_cast<float>(model_of(task, k, "weight", kNoWeight)));
    for (size_t i = 0; i < out.size(); ++i) out[i] = std::fma(input[i], weights[k], out[i]);
  }
  const bool normalize = global_of(task, "normalize", 1) != 0;
  const float divisor = ModelSum(1, DType::kF32)(weights, 0);
  for (float& x : out) x = r(normalize ? x / divisor : x);
  return out;
}

}  // namespace

Result<Values> linear(const ReplayTask& task) {
  for (size_t k = 0; k < task.operands.size(); ++k) {
    if (!std::isnan(model_of(task, k, "weight", kNoWeight))) continue;
    return refused(task, "a model has no weight; give one to each");
  }
  return task.version == Version::k014 ? linear_of_products(task) : linear_fused(task);
}

Result<Values> nearswap(const ReplayTask& task) {
  const Rounding r(task.working);
  const std::vector<size_t> others = operands_but_base(task);
  if (!task.base) return refused(task, "base_model is missing");
  if (others.empty()) return values_of(task, *task.base);
  if (others.size() != 1) return refused(task, "it takes base_model and exactly one other model");
  const float t = static_cast<float>(global_of(task, "t", kNoWeight));
  const float smallest = r(1e-6);
  const Values a = values_of(task, *task.base), b = values_of(task, others[0]);
  Values out(task.elements);
  for (size_t i = 0; i < out.size(); ++i) {
    const float distance = std::max(std::abs(r(a[i] - b[i])), smallest);
    const float w = std::clamp(r(r(1 / distance) * t), 0.0f, 1.0f);
    out[i] = r(r(w * b[i]) + r(r(1 - w) * a[i]));
  }
  return out;
}

Result<Values> passthrough(const ReplayTask& task) {
  if (task.operands.size() != 1) return refused(task, "it takes exactly one model");
  const Rounding r(task.working);
  const auto& models = task.parameters->per_model;
  Values out = values_of(task, 0);
  if (models.empty() || !models[0].contains("scale")) return out;
  const float scale = static_cast<float>(models[0].find("scale")->second);
  for (float& x : out) x = r(x * scale);
  return out;
}

}  // namespace hieron::mergekit
