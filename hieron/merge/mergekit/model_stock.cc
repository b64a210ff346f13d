// model_stock and sce: how far the fine-tunes agree decides how far to go from the base.
//
//   model_stock  o_k = r(x_k − base), c = mean of cos(o_i, o_j), t = r(r(Nc)/r(1 + r((N−1)c)))
//                out = r(r(t·mean x) + r(r(1 − t)·base)), per tensor or per row
//   sce          d_k = r(x_k − base), only where their variance is among the largest share
//                w_k = mean(d_k²) over the sum of these;  agreeing k: sign(d_k) is that of r(Σ d)
//                out = r(base + r(r(Σ r(d_k·w_k) agreeing) / max(r(Σ w_k agreeing), 1e-6)))
#include <algorithm>
#include <cmath>

#include "hieron/merge/mergekit/families.h"
#include "hieron/merge/mergekit/torch_lines.h"
#include "hieron/merge/mergekit/torch_sort.h"
#include "hieron/merge/mergekit/torch_sum.h"

namespace hieron::mergekit {
namespace {

// --- model_stock ---

// The mean cosine between differences, one a line.
Values mean_cosines(const std::vector<Values>& offsets, const Lines& lines, const Rounding& r) {
  const float smallest = r(1e-6);
  std::vector<Values> lengths, cosines;
  for (const Values& offset : offsets) lengths.push_back(norms(offset, lines, r));
  Values products(offsets[0].size());
  for (size_t i = 0; i < offsets.size(); ++i) {
    for (size_t j = i + 1; j < offsets.size(); ++j) {
      for (size_t e = 0; e < products.size(); ++e) products[e] = r(offsets[i][e] * offsets[j][e]);
      Values cosine = sums(products, lines, r);
      for (size_t line = 0; line < cosine.size(); ++line) {
        const float area = std::max(r(lengths[i][line] * lengths[j][line]), smallest);
        cosine[line] = std::clamp(r(cosine[line] / area), -1.0f, 1.0f);
      }
      cosines.push_back(std::move(cosine));
    }
  }
  const ModelSum add(lines.count(), DType::kF32);
  Values terms(cosines.size()), found(lines.count());
  for (size_t line = 0; line < found.size(); ++line) {
    for (size_t pair = 0; pair < terms.size(); ++pair) terms[pair] = cosines[pair][line];
    const float total = found.size() == 1 ? sum(terms, DType::kF32) : add(terms, line);
    found[line] = r(total / static_cast<float>(terms.size()));
  }
  return found;
}

float share(float cosine, size_t models, Version version, const Rounding& r) {
  const auto n = static_cast<float>(models);
  const float divisor = r(1 + r(cosine * (n - 1)));
  if (version == Version::k015 && std::abs(divisor) < r(1e-6)) return 0;
  return r(r(cosine * n) / divisor);
}

// --- sce ---

// Which elements vary most between the models: population variance by Welford's method in f64.
std::vector<uint8_t> most_varied(const std::vector<Values>& deltas, double density,
                                 const Rounding& r) {
  const size_t n = deltas[0].size();
  Values variance(n);
  size_t varied = 0;
  for (size_t i = 0; i < n; ++i) {
    double mean = 0, squares = 0, count = 0;
    for (const Values& d : deltas) {
      const double distance = static_cast<double>(d[i]) - mean;
      mean += distance / ++count;
      squares += distance * (static_cast<double>(d[i]) - mean);
    }
    variance[i] = r(squares / count);
    varied += variance[i] != 0;
  }
  if (density <= 0) return std::vector<uint8_t>(n, 0);
  const float chosen = static_cast<float>(varied) * static_cast<float>(density);
  return top_k(variance, static_cast<size_t>(chosen));
}

Values sce_weights(const std::vector<Values>& deltas, const Rounding& r) {
  Values weights, squares(deltas[0].size());
  for (const Values& d : deltas) {
    for (size_t i = 0; i < d.size(); ++i) squares[i] = r(d[i] * d[i]);
    weights.push_back(r(mean(squares)));
  }
  const float total = r(sum(weights, r.dtype()));
  const auto n = static_cast<float>(weights.size());
  const bool uniform = std::abs(static_cast<double>(total)) < 1e-6;
  for (float& w : weights) w = uniform ? r(1 / n) : r(w / total);
  return weights;
}

}  // namespace

Result<Values> model_stock(const ReplayTask& task) {
  const std::vector<size_t> others = operands_but_base(task);
  if (!task.base) return refused(task, "base_model is missing");
  if (others.empty()) return values_of(task, *task.base);
  if (others.size() < 2) return refused(task, "it takes base_model and at least two other models");
  const Rounding r(task.working);
  const Lines lines = global_of(task, "filter_wise", 0) != 0
                          ? Lines::along_last(task.shape, task.elements)
                          : Lines::whole(task.elements);
  std::vector<Values> offsets;
  for (size_t k : others) offsets.push_back(delta(task, k));
  Values t = mean_cosines(offsets, lines, r);
  for (float& c : t) c = share(c, others.size(), task.version, r);
  offsets.clear();
  Values out = values_of(task, others[0]);
  for (size_t k : std::span(others).subspan(1)) {
    const Values x = values_of(task, k);
    for (size_t i = 0; i < out.size(); ++i) out[i] = r(out[i] + x[i]);
  }
  const auto n = static_cast<float>(others.size());
  const Values base = values_of(task, *task.base);
  for (size_t i = 0; i < out.size(); ++i) {
    const float at = t[lines.of(i)];
    out[i] = r(r(at * r(out[i] / n)) + r(r(1 - at) * base[i]));
  }
  return out;
}

Result<Values> sce(const ReplayTask& task) {
  if (!task.base) return refused(task, "base_model is missing");
  const Rounding r(task.working);
  Values out = values_of(task, *task.base);
  std::vector<Values> deltas;
  for (size_t k : operands_but_base(task)) deltas.push_back(delta(task, k));
  if (deltas.empty()) return out;
  if (const double density = global_of(task, "select_topk", 1); density < 1) {
    const std::vector<uint8_t> mask = most_varied(deltas, density, r);
    for (Values& d : deltas) {
      for (size_t i = 0; i < d.size(); ++i) d[i] *= static_cast<float>(mask[i]);
    }
  }
  const Values weights = sce_weights(deltas, r);
  const float smallest = r(1e-6);
  const ModelSum add(task.elements, task.working);
  Values terms(deltas.size()), divisors(deltas.size());
  for (size_t i = 0; i < out.size(); ++i) {
    for (size_t k = 0; k < terms.size(); ++k) terms[k] = deltas[k][i];
    const bool positive = r(add(terms, i)) >= 0;
    for (size_t k = 0; k < terms.size(); ++k) {
      const bool agrees = positive ? terms[k] > 0 : terms[k] < 0;
      divisors[k] = agrees ? weights[k] : 0;
      terms[k] = r(terms[k] * divisors[k]);
    }
    const float divisor = std::max(r(add(divisors, i)), smallest);
    out[i] = r(out[i] + r(r(add(terms, i)) / divisor));
  }
  return out;
}

}  // namespace hieron::mergekit
