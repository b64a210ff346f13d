// ram and ramplus_tl: differences that one model alone has are kept, shared ones averaged.
//
//   d_k = r(x_k − base), 0 unless |d_k| > ε;  c = how many are not 0
//   ram          out = r(base + r(f32Σ of  d_k where c = 1,  r(d_k/c) where c > 1))
//   ramplus_tl   the first times λ_k = 1 + r·clamp(shared_k / max(unique_k, ε), 0, α), in f32
#include <algorithm>
#include <cmath>

#include "hieron/merge/mergekit/families.h"
#include "hieron/merge/mergekit/torch_sum.h"

namespace hieron::mergekit {
namespace {

struct Contributions {
  std::vector<Values> deltas;   // 0 where they do not count
  std::vector<uint32_t> count;  // of models that changed the element
};

Contributions contributions(const ReplayTask& task) {
  const float epsilon = Rounding(task.working)(global_of(task, "epsilon", 1e-5));
  Contributions found{{}, std::vector<uint32_t>(task.elements, 0)};
  for (size_t k : operands_but_base(task)) {
    found.deltas.push_back(delta(task, k));
    Values& d = found.deltas.back();
    for (size_t i = 0; i < d.size(); ++i) {
      if (std::abs(d[i]) > epsilon) {
        ++found.count[i];
      } else {
        d[i] *= 0.0f;
      }
    }
  }
  return found;
}

}  // namespace

Result<Values> ram(const ReplayTask& task) {
  if (!task.base) return refused(task, "base_model is missing");
  const Rounding r(task.working);
  const Contributions found = contributions(task);
  const ModelSum add(task.elements, task.working, task.before);
  Values out = values_of(task, *task.base), terms(found.deltas.size());
  if (terms.empty()) return out;
  for (size_t i = 0; i < out.size(); ++i) {
    const uint32_t count = found.count[i];
    for (size_t k = 0; k < terms.size(); ++k) {
      const float d = found.deltas[k][i];
      terms[k] = count > 1 ? r(d / r(static_cast<float>(count))) : d;
    }
    out[i] = r(out[i] + r(add(terms, i)));
  }
  return out;
}

// The counts are integers, so torch divides and scales them in f32, and all that they touch.
Result<Values> ramplus_tl(const ReplayTask& task) {
  if (!task.base) return refused(task, "base_model is missing");
  const Rounding r(task.working);
  const Contributions found = contributions(task);
  const auto epsilon = static_cast<float>(global_of(task, "epsilon", 1e-5));
  const auto gain = static_cast<float>(global_of(task, "r", 0.1));
  const auto most = static_cast<float>(global_of(task, "alpha", 0.2));
  Values factors;
  for (const Values& d : found.deltas) {
    uint64_t shared = 0, unique = 0;
    for (size_t i = 0; i < d.size(); ++i) {
      if (d[i] == 0) continue;
      ++(found.count[i] > 1 ? shared : unique);
    }
    const float share = static_cast<float>(shared) / std::max(static_cast<float>(unique), epsilon);
    factors.push_back(1 + gain * std::clamp(share, 0.0f, most));
  }
  const ModelSum add(task.elements, DType::kF32);
  Values out = values_of(task, *task.base), terms(found.deltas.size());
  if (terms.empty()) return out;
  for (size_t i = 0; i < out.size(); ++i) {
    const uint32_t count = found.count[i];
    for (size_t k = 0; k < terms.size(); ++k) {
      const float d = found.deltas[k][i];
      terms[k] = count > 1 ? r(d / r(static_cast<float>(count))) : d * factors[k];
    }
    out[i] += add(terms, i);
  }
  return out;
}

}  // namespace hieron::mergekit
