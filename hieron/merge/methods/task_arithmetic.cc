// Differences from a base, weighted and added to it.   Ilharco et al. 2023; mergekit
// "task_arithmetic".
//
//   out = b + λ·Σ w_k·(x_k − b) / D,   D = Σ w_k if normalize, else 1
//
// Trace: a weighted sum of the models and the base whose weights sum to one (normalize: 1 − λ of
// the base).
#include <algorithm>
#include <array>
#include <cmath>

#include "hieron/kernels/exact_sum.h"
#include "hieron/merge/evidence.h"
#include "hieron/merge/methods/blend_work.h"
#include "hieron/merge/methods/table.h"
#include "hieron/merge/methods/task_vectors.h"
#include "hieron/merge/traces/probe_run.h"
#include "hieron/merge/traces/round_weights.h"
#include "hieron/merge/traces/weight_vectors.h"

namespace hieron {
namespace {

constexpr std::array<ParameterInfo, 3> kParameters{{
    {"weight", ParameterType::kNumber, true, true, std::nullopt,
     "factor of this model's difference"},
    {"lambda", ParameterType::kNumber, false, false, 1.0, "factor of the sum of the differences"},
    {"normalize", ParameterType::kBoolean, false, false, 0.0, "divide by the sum of the weights"},
}};

class TaskArithmetic final : public Method {
 public:
  const MethodInfo& describe() const override {
    static const MethodInfo about{
        .name = "task_arithmetic",
        .summary = "weighted differences from a base, added to it",
        .formula = "out = b + λ·Σ w_k·(x_k − b) / D,  D = Σ w_k if normalize, else 1",
        .citation =
            "Ilharco et al., Editing models with task arithmetic, ICLR 2023 (arXiv "
            "2212.04089)",
        .parameters = kParameters,
        .min_models = 1,
        .max_models = 255,
        .base = BaseModel::kRequired,
        .weighted_sum = true,
    };
    return about;
  }

  std::optional<std::string> check(const TensorTask& task) const override {
    return check_task_vectors(task, {});
  }

  // The same as one weighted sum; the base's weight is what is left to D, in as many terms as it
  // takes to say it without rounding.
  std::unique_ptr<TensorWork> start(const TensorTask& task) const override {
    const double lambda = value_of(task.parameters->global, "lambda", 1);
    const bool normalize = value_of(task.parameters->global, "normalize", 0) != 0;
    Combination sum{{}, normalize};
    std::vector<size_t> which;
    ExactSum left;
    if (!normalize) left.add_product(1, 1);
    for (size_t k = 0; k < task.inputs.size(); ++k) {
      if (k == task.base) continue;
      const double weight = value_of(task.parameters->per_model[k], "weight", 0);
      sum.weights.push_back(lambda * weight);
      which.push_back(k);
      if (normalize) left.add_product(1, weight);
      left.add_product(-1, lambda * weight);
    }
    do {
      const double part = left.sign() == 0 ? 0 : left.near();
      sum.weights.push_back(part);
      which.push_back(*task.base);
      left.add_product(-1, part);
    } while (left.sign() != 0);
    return std::make_unique<BlendWork>(std::move(sum), task.arithmetic, task.out, std::move(which));
  }

  // The base's weight is what the others leave to one, whatever it is.
  std::vector<Hypothesis> recover(const Evidence& seen) const override {
    if (seen.used.empty() || seen.pooled.weights.empty()) return {};
    if (seen.fit_class == FitClass::kOther) return {};
    const double tolerance = weight_tolerance(seen.fit_class);
    double sum = 0;
    for (const size_t m : seen.used) sum += fitted_weight(seen, seen.pooled, m);
    if (std::abs(sum - 1) > tolerance * static_cast<double>(seen.used.size() + 1)) return {};
    std::vector<Hypothesis> found;
    for (const size_t base : seen.possible_bases()) {
      std::vector<size_t> models;
      for (const size_t m : seen.candidates) {
        if (m != base && std::ranges::find(seen.used, m) != seen.used.end()) models.push_back(m);
      }
      if (models.empty() || models.size() > kMostModels) continue;
      if (seen.constant) {
        add_constant(seen, base, models, tolerance, found);
      } else {
        Hypothesis hypothesis{.method = describe().name, .inputs = {}, .base = base};
        for (const size_t model : models) hypothesis.inputs.push_back({model, {{"weight", 0.0}}});
        hypothesis.complexity = kVaries + (base_counts(seen, models) ? 0 : 4);
        add_weight_vectors(seen, hypothesis, WrittenWeights::kAsTheyAre, Arithmetic::kBf16Delta,
                           found);
      }
    }
    return found;
  }

 private:
  static constexpr size_t kMostModels = 8;
  static constexpr int kVaries = 60;
  static constexpr size_t kMostWeights = 12;

  // Has the base a share of its own?
  static bool base_counts(const Evidence& seen, std::span<const size_t> models) {
    double sum = 0;
    for (const size_t m : models) sum += fitted_weight(seen, seen.pooled, m);
    return std::abs(sum - 1) > 0.01;
  }

  void add_constant(const Evidence& seen, size_t base, const std::vector<size_t>& models,
                    double tolerance, std::vector<Hypothesis>& found) const {
    std::vector<double> fitted;
    for (const size_t m : models) fitted.push_back(fitted_weight(seen, seen.pooled, m));
    const auto add = [&](const RoundWeights& weights, double lambda, int extra) {
      Hypothesis hypothesis{.method = describe().name, .inputs = {}, .base = base};
      for (size_t k = 0; k < models.size(); ++k) {
        hypothesis.inputs.push_back({models[k], {{"weight", weights.weights[k]}}});
      }
      if (lambda != 1) hypothesis.parameters = {{"lambda", lambda}};
      hypothesis.complexity = weights.complexity + extra;
      found.push_back(std::move(hypothesis));
    };
    for (const RoundWeights& w : round_weights(fitted, tolerance, kMostWeights)) add(w, 1, 0);
    // Where every step is rounded, so is lambda: any of two digits leaves its own trace.
    const bool rounded = seen.fit_class == FitClass::kSeveralRoundings;
    const size_t first = found.size();
    for (int hundredths = 10; hundredths <= 200; hundredths += rounded ? 1 : 5) {
      const double lambda = hundredths / 100.0;
      if (hundredths == 100) continue;
      std::vector<double> divided;
      for (const double w : fitted) divided.push_back(w / lambda);
      for (const RoundWeights& w : round_weights(divided, tolerance / lambda, rounded ? 12 : 4)) {
        if (w.complexity < (rounded ? 35 : 25)) add(w, lambda, hundredths % 5 == 0 ? 10 : 15);
      }
    }
    if (rounded) keep_best(seen, models, first, found);
  }

  // Of the hypotheses from `first` on.
  static void keep_best(const Evidence& seen, std::span<const size_t> models, size_t first,
                        std::vector<Hypothesis>& found) {
    constexpr size_t kKept = 24;
    constexpr uint64_t kElements = 4096;
    const WholeTensor part = telling_part(*seen.probes.front(), models, kElements);
    const bool f16 = part.dtype == DType::kF16;
    const Program program{f16 ? Arithmetic::kF16Delta : Arithmetic::kBf16Delta};
    std::vector<std::pair<uint64_t, Hypothesis>> scored;
    for (size_t i = first; i < found.size(); ++i) {
      const uint64_t equal = elements_reproduced(part, found[i], program);
      scored.emplace_back(equal, std::move(found[i]));
    }
    std::ranges::stable_sort(scored, std::ranges::greater{},
                             [](const auto& entry) { return entry.first; });
    found.erase(found.begin() + static_cast<std::ptrdiff_t>(first), found.end());
    for (auto& [equal, hypothesis] : scored) {
      if (found.size() < first + kKept) found.push_back(std::move(hypothesis));
    }
  }
};

}  // namespace

const Method& task_arithmetic() {
  static const TaskArithmetic method;
  return method;
}

}  // namespace hieron
