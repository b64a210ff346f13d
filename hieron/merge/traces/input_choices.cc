#include "hieron/merge/traces/input_choices.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <numeric>

#include "hieron/merge/traces/round_weights.h"

namespace hieron {

std::vector<size_t> used_beside(const Evidence& evidence, std::optional<size_t> base) {
  std::vector<size_t> models;
  for (const size_t m : evidence.candidates) {
    const bool used = std::ranges::find(evidence.used, m) != evidence.used.end();
    if (used && m != base) models.push_back(m);
  }
  return models;
}

std::vector<size_t> heaviest_beside(const Evidence& evidence, std::optional<size_t> base,
                                    size_t limit) {
  std::vector<size_t> models;
  for (const size_t m : evidence.candidates) {
    if (m != base) models.push_back(m);
  }
  if (!evidence.pooled.weights.empty()) {
    std::ranges::stable_sort(models, std::ranges::greater{}, [&](size_t m) {
      return std::abs(fitted_weight(evidence, evidence.pooled, m));
    });
  }
  if (models.size() > limit) models.resize(limit);
  return models;
}

std::vector<std::vector<size_t>> subsets(std::span<const size_t> models, size_t least) {
  std::vector<std::vector<size_t>> all;
  for (uint32_t bits = 1; bits < uint32_t{1} << models.size(); ++bits) {
    if (static_cast<size_t>(std::popcount(bits)) < least) continue;
    auto& some = all.emplace_back();
    for (size_t k = 0; k < models.size(); ++k) {
      if (bits >> k & 1) some.push_back(models[k]);
    }
  }
  std::ranges::stable_sort(all, std::ranges::less{}, &std::vector<size_t>::size);
  return all;
}

void add_orders(const Evidence& evidence, const Hypothesis& hypothesis, size_t most,
                std::vector<Hypothesis>& found, bool always) {
  const size_t n = hypothesis.inputs.size();
  std::vector<size_t> order(n);
  std::iota(order.begin(), order.end(), size_t{0});
  found.push_back(hypothesis);
  if (n > most || !(always || evidence.probes.front()->dtype == DType::kF32)) return;
  while (std::ranges::next_permutation(order).found) {
    Hypothesis& other = found.emplace_back(hypothesis);
    for (size_t k = 0; k < n; ++k) other.inputs[k] = hypothesis.inputs[order[k]];
    other.arithmetics = {"mergekit-0.1.5", "mergekit-0.1.4"};
    ++other.complexity;
  }
}

Hypothesis plain_hypothesis(std::string_view method, std::span<const size_t> models,
                            std::optional<size_t> base) {
  Hypothesis hypothesis{.method = method, .inputs = {}, .base = base};
  for (const size_t m : models) hypothesis.inputs.push_back({m});
  return hypothesis;
}

}  // namespace hieron
