// One model as it is, or scaled; with slices, layers stacked in any order.   mergekit
// "passthrough".
//
//   out = x·scale
//
// Trace: tensors bit-equal (or in one ratio) to a parent's tensor at the same or another layer.
#include <array>
#include <cmath>

#include "hieron/merge/methods/blend_work.h"
#include "hieron/merge/methods/decimals.h"
#include "hieron/merge/methods/table.h"

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

  // The second end is zero: s = alpha·x.
  std::vector<Hypothesis> recover(const Observation& seen) const override {
    std::vector<Hypothesis> found;
    if (!(seen.low <= seen.high) || std::abs(seen.low) > 100 || std::abs(seen.high) > 100)
      return found;
    std::vector<Decimal> scales = decimals_within(seen.low, seen.high, 4, 64);
    if (scales.empty()) scales.push_back(shortest_decimal(seen.low, seen.high, seen.alpha));
    for (const Decimal& scale : scales) {
      found.push_back({Combination{{scale.value()}, false}, describe().name, 10 * scale.digits});
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
