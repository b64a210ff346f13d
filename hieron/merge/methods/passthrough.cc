// One model as it is, or scaled; with slices, layers stacked in any order.   mergekit
// "passthrough".
//
//   out = x·scale
//
// Trace: tensors bit-equal (or in one ratio) to a parent's tensor at the same or another layer.
#include <array>

#include "hieron/merge/evidence.h"
#include "hieron/merge/methods/blend_work.h"
#include "hieron/merge/methods/table.h"
#include "hieron/merge/traces/round_weights.h"

namespace hieron {
namespace {

constexpr std::array<ParameterInfo, 1> kParameters{{
    {"scale", ParameterType::kNumber, true, false, 1.0, "factor; 0 silences a projection"},
}};

class Passthrough final : public Method {
 public:
  const MethodInfo& describe() const override {
    static const MethodInfo about{
        .name = "passthrough",
        .summary = "tensors of one model at a time, copied or scaled; layer stacks",
        .formula = "out = x·scale",
        .citation = "mergekit (Goddard et al., arXiv 2403.13257)",
        .parameters = kParameters,
        .min_models = 1,
        .max_models = 1,
        .weighted_sum = true,
    };
    return about;
  }

  std::unique_ptr<TensorWork> start(const TensorTask& task) const override {
    const auto& models = task.parameters->per_model;
    const double scale = models.empty() ? 1 : value_of(models[0], "scale", 1);
    return std::make_unique<BlendWork>(Combination{{scale}, false}, task.arithmetic, task.out);
  }

  // A copy is for others to see: only a scale is looked for.
  std::vector<Hypothesis> recover(const Evidence& seen) const override {
    if (seen.fit_class == FitClass::kOther || seen.used.size() != 1) return {};
    const std::vector<size_t> model{seen.used.front()};
    std::vector<Hypothesis> found;
    const auto add = [&](ParameterValue scale, int complexity) {
      found.push_back({.method = describe().name,
                       .inputs = {{model[0], {{"scale", std::move(scale)}}}},
                       .complexity = complexity});
    };
    if (!seen.constant) {
      for (const int digits : {2, 3, 7}) {
        add(weights_by_tensor(seen, model, digits).front(), 100 + 10 * digits);
      }
      return found;
    }
    const std::vector<double> fitted{fitted_weight(seen, seen.pooled, model[0])};
    for (const RoundWeights& w : round_weights(fitted, weight_tolerance(seen.fit_class), 32)) {
      if (w.weights[0] != 1) add(w.weights[0], w.complexity);
    }
    return found;
  }
};

}  // namespace

const Method& passthrough() {
  static const Passthrough method;
  return method;
}

}  // namespace hieron
