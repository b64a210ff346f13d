// Between the base and the mean of the models, nearer to the mean the better they agree.   Jang,
// Yun and Han 2024; mergekit "model_stock".
//
//   d_k = x_k − b;  c = mean over all pairs of cos(d_i, d_j);  t = n·c/(1 + (n−1)·c);  out =
//   t·mean(x) + (1−t)·b
//
// filter_wise: a c for each row (along the last axis). A difference that is zero has cosine 0 with
// every other. Where 1 + (n−1)·c < 1e-6 the differences cancel, and the base is kept. (mergekit
// divides by at least 1e-6 instead of ‖d_i‖·‖d_j‖, which draws small tensors towards the base.)
// Trace: differences from the base in one ratio to their mean, another for each tensor.
#include <algorithm>
#include <array>
#include <cmath>
#include <set>

#include "hieron/merge/methods/gram.h"
#include "hieron/merge/methods/table.h"
#include "hieron/merge/traces/input_choices.h"
#include "hieron/merge/traces/probe_run.h"

namespace hieron {
namespace {

constexpr double kCancelled = 1e-6;

constexpr std::array<ParameterInfo, 1> kParameters{{
    {"filter_wise", ParameterType::kBoolean, false, false, 0.0,
     "an angle for each row instead of one for the tensor"},
}};

std::vector<double> weigh(const PairFigures& pairs) {
  std::vector<double> cosines;
  for (size_t i = 0; i < pairs.vectors(); ++i) {
    for (size_t j = i + 1; j < pairs.vectors(); ++j) cosines.push_back(pairs.cosine(i, j));
  }
  const auto n = static_cast<double>(pairs.vectors());
  const double c = orderless_sum(cosines) / static_cast<double>(cosines.size());
  const double below = 1 + (n - 1) * c;
  return std::vector<double>(pairs.vectors(), below < kCancelled ? 0 : c / below);
}

class ModelStock final : public Method {
 public:
  const MethodInfo& describe() const override {
    static const MethodInfo about{
        .name = "model_stock",
        .summary = "between the base and the mean of the models, by how well they agree",
        .formula =
            "out = t·mean(x) + (1−t)·b,  t = n·c/(1 + (n−1)·c), c = mean cosine between the "
            "x_k − b;  1 + (n−1)·c < 1e-6: b",
        .citation = "Jang, Yun and Han, Model Stock, ECCV 2024 (arXiv 2403.19522)",
        .parameters = kParameters,
        .min_models = 2,
        .max_models = 255,
        .base = BaseModel::kRequired,
    };
    return about;
  }

  std::unique_ptr<TensorWork> start(const TensorTask& task) const override {
    const auto by_agreement = [](const PairFigures& pairs) -> Weights { return weigh(pairs); };
    const bool rows = value_of(task.parameters->global, "filter_wise", 0) != 0;
    return (rows ? weigh_rows : weigh_whole)(task, Gather::kInnerProducts, by_agreement, task.base);
  }

  // No parameter to find, but whose models, in which order: the used ones, or where rows hide them
  // the heaviest few.
  std::vector<Hypothesis> recover(const Evidence& seen) const override {
    std::vector<Hypothesis> found;
    for (const size_t base : seen.possible_bases()) {
      std::vector<size_t> models = heaviest_beside(seen, base, kHeaviest);
      std::set<std::vector<size_t>> choices{used_beside(seen, base)};
      for (; models.size() >= 2; models.pop_back()) {
        std::vector<size_t> some = models;
        std::ranges::sort(some);
        choices.insert(std::move(some));
      }
      for (const bool rows : {false, true}) {
        for (const std::vector<size_t>& some : choices) add(seen, base, some, rows, found);
      }
    }
    return found;
  }

 private:
  static constexpr size_t kHeaviest = 6, kOrdered = 5;  // models: 120 orders
  static constexpr size_t kMost = 300;

  void add(const Evidence& seen, size_t base, const std::vector<size_t>& models, bool rows,
           std::vector<Hypothesis>& found) const {
    if (models.size() < 2 || found.size() >= kMost) return;
    Hypothesis hypothesis = plain_hypothesis(describe().name, models, base);
    if (rows) hypothesis.parameters = {{"filter_wise", 1.0}};
    hypothesis.complexity = rows ? 1 : 0;
    if (promising(seen, hypothesis)) add_orders(seen, hypothesis, kOrdered, found);
  }
};

}  // namespace

const Method& model_stock() {
  static const ModelStock method;
  return method;
}

}  // namespace hieron
