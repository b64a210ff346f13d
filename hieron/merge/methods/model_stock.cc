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
#include <array>
#include <cmath>

#include "hieron/merge/methods/gram.h"
#include "hieron/merge/methods/table.h"

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
};

}  // namespace

const Method& model_stock() {
  static const ModelStock method;
  return method;
}

}  // namespace hieron
