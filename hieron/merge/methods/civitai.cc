// The three merges of the image-model community (checkpoint mergers of AUTOMATIC1111's web UI and
// SuperMerger). Block weights are filters and gradients of alpha.
//
//   weighted_sum      out = (1 − α)·A + α·B
//   add_difference    out = A + α·(B − C)
//   train_difference  out = A + 1.8·α·(B − C)·|B − A| / (|B − A| + |B − C|)
//
// A and B are the models in the recipe's order, C is base_model.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "hieron/kernels/isa.h"
#include "hieron/kernels/lanes.h"
#include "hieron/merge/evidence.h"
#include "hieron/merge/methods/blend_work.h"
#include "hieron/merge/methods/delta_arrays.h"
#include "hieron/merge/methods/table.h"
#include "hieron/merge/traces/round_weights.h"
#include "hieron/walk/walk.h"

namespace hieron {
namespace {

constexpr std::array<ParameterInfo, 1> kParameters{{
    {"alpha", ParameterType::kNumber, false, true, std::nullopt, "how much of B, or of its change"},
}};

double alpha_of(const TensorTask& task) { return value_of(task.parameters->global, "alpha", 0); }

// 1 − α needs two terms where f64 cannot say it.
std::unique_ptr<TensorWork> start_weighted_sum(const TensorTask& task) {
  const double alpha = alpha_of(task);
  return std::make_unique<BlendWork>(Combination{{1, -alpha, alpha}, false}, task.arithmetic,
                                     task.out, std::vector<size_t>{0, 0, 1});
}

// The inputs A, B and C, wherever the base stands.
std::array<size_t, 3> roles(const TensorTask& task) {
  std::array<size_t, 3> order{0, 1, *task.base};
  if (order[2] == 0) order = {1, 2, 0};
  if (order[2] == 1) order = {0, 2, 1};
  return order;
}

std::unique_ptr<TensorWork> start_add_difference(const TensorTask& task) {
  const auto [a, b, c] = roles(task);
  const double alpha = alpha_of(task);
  return std::make_unique<BlendWork>(Combination{{1, alpha, -alpha}, false}, task.arithmetic,
                                     task.out, std::vector<size_t>{a, b, c});
}

constexpr double kDoubt = 0x1p-40;  // of the sums below, in units of what went into them

// 1.8·α·|B − A| / (|B − A| + |B − C|)
HIERON_INLINE double share_of_change(double alpha, double a, double b, double c) {
  const double ba = std::fabs(b - a), bc = std::fabs(b - c);
  return choose(ba == 0, 0.0, 1.8 * alpha * ba / (ba + bc));
}

// The ends of an interval that holds A + share·(B − C); of an element that no model changes, C.
struct EncloseTrained {
  double alpha;
  HIERON_INLINE void operator()(const double* __restrict a, const double* __restrict b,
                                const double* __restrict c, double* __restrict low,
                                double* __restrict high, size_t n) const {
    for (size_t i = 0; i < n; ++i) {
      const double change = share_of_change(alpha, a[i], b[i], c[i]) * (b[i] - c[i]);
      const double value = a[i] + change;
      const double doubt = (std::fabs(a[i]) + std::fabs(change)) * kDoubt;
      const bool none = (a[i] == c[i]) & (change == 0);
      const bool known = (value != 0) & (std::fabs(value) < std::numeric_limits<double>::max());
      low[i] = choose(none, c[i], choose(known, value - doubt, -1.0));
      high[i] = choose(none, c[i], choose(known, value + doubt, 1.0));
    }
  }
};

class TrainDifferenceWork final : public TensorWork {
 public:
  explicit TrainDifferenceWork(const TensorTask& task)
      : out_(task.out), base_(*task.base), alpha_(alpha_of(task)) {}

  void apply(const Piece& piece, std::byte* out, WorkScratch& scratch) const override {
    DeltaArrays arrays(piece, base_, scratch);
    const size_t width = static_cast<size_t>(info(out_).bits) / 8;
    for (size_t first = 0; first < piece.count; first += kStrip) {
      arrays.read(first, std::min(kStrip, piece.count - first));
      round(arrays, out + first * width);
    }
  }

 private:
  void round(DeltaArrays& arrays, std::byte* out) const {
    const double *a = arrays.value(0), *b = arrays.value(1), *c = arrays.base();
    const bool enclosed = arrays.can_enclose(out_) && std::isfinite(alpha_);
    if (enclosed) {
      run(best_isa(), EncloseTrained{alpha_}, a, b, c, arrays.low(), arrays.high(), arrays.count());
    }
    arrays.round(enclosed, false, out_, out,
                 [&](size_t i, std::span<double> coefficients, std::span<double>) {
                   coefficients[0] = 1;
                   coefficients[1] = share_of_change(alpha_, a[i], b[i], c[i]);
                 });
  }

  const DType out_;
  const size_t base_;
  const double alpha_;
};

std::unique_ptr<TensorWork> start_train_difference(const TensorTask& task) {
  return std::make_unique<TrainDifferenceWork>(task);
}

// --- recovery ---

using Recover = std::vector<Hypothesis> (*)(const Evidence&);

Hypothesis with_alpha(std::string_view method, size_t a, size_t b, std::optional<size_t> base,
                      ParameterValue alpha, int complexity) {
  return {.method = method,
          .inputs = {{a}, {b}},
          .base = base,
          .parameters = {{"alpha", std::move(alpha)}},
          .complexity = complexity};
}

// Where 1 − α is no f64, ties fall otherwise than in a linear merge of 1 − α and α.
std::vector<Hypothesis> recover_weighted_sum(const Evidence& seen) {
  if (seen.fit_class != FitClass::kOneRounding || seen.used.size() != 2) return {};
  std::vector<Hypothesis> found;
  for (const bool turned : {false, true}) {
    const size_t a = seen.used[turned ? 1 : 0], b = seen.used[turned ? 0 : 1];
    const std::vector<size_t> second{b};
    if (!seen.constant) {
      for (const int digits : {2, 3, 7}) {
        found.push_back(with_alpha("weighted_sum", a, b, {},
                                   weights_by_tensor(seen, second, digits).front(),
                                   100 + 10 * digits));
      }
      continue;
    }
    const std::vector<double> fitted{fitted_weight(seen, seen.pooled, b)};
    for (const RoundWeights& w : round_weights(fitted, weight_tolerance(seen.fit_class), 8)) {
      found.push_back(with_alpha("weighted_sum", a, b, {}, w.weights[0], w.complexity + 1));
    }
  }
  return found;
}

// One whole model, and a change that is added to it: weights 1, α and −α.
std::vector<Hypothesis> recover_add_difference(const Evidence& seen) {
  if (seen.fit_class != FitClass::kOneRounding || !seen.constant || seen.used.size() < 2) return {};
  const double tolerance = weight_tolerance(seen.fit_class);
  const auto weight = [&](size_t model) { return fitted_weight(seen, seen.pooled, model); };
  std::vector<Hypothesis> found;
  for (const size_t c : seen.possible_bases()) {
    for (const size_t a : seen.used) {
      for (const size_t b : seen.used) {
        if (a == b || a == c || b == c) continue;
        if (std::abs(weight(a) - 1) > tolerance || std::abs(weight(b) + weight(c)) > tolerance) {
          continue;
        }
        const std::vector<double> fitted{weight(b)};
        for (const RoundWeights& w : round_weights(fitted, tolerance, 8)) {
          found.push_back(with_alpha("add_difference", a, b, c, w.weights[0], w.complexity + 2));
        }
      }
    }
  }
  return found;
}

// α of every element on its own: it piles up where it was one number.
std::vector<Hypothesis> recover_train_difference(const Evidence& seen) {
  constexpr double kLeastPile = 0.3, kPileWidth = 0.02, kLeastLeverage = 16;
  constexpr size_t kMostCandidates = 6, kLeastElements = 200;
  if (seen.fit_class != FitClass::kOther || seen.candidates.size() > kMostCandidates) return {};
  const WholeTensor& probe = *seen.probes.back();
  std::vector<Hypothesis> found;
  const auto look = [&](size_t a, size_t b, size_t c) {
    std::vector<double> alphas;
    for (size_t i = 0; i < probe.elements(); ++i) {
      const double s = probe.values[0][i], base = probe.values[c][i];
      const double x = probe.values[a][i], y = probe.values[b][i];
      const double whole = share_of_change(1, x, y, base) * (y - base);
      if (std::abs(whole) < kLeastLeverage * std::abs(s) * 0x1p-8 || whole == 0) continue;
      alphas.push_back((s - x) / whole);
    }
    if (alphas.size() < kLeastElements) return;
    const auto middle = alphas.begin() + static_cast<std::ptrdiff_t>(alphas.size() / 2);
    std::ranges::nth_element(alphas, middle);
    const double alpha = *middle;
    const auto pile = std::ranges::count_if(
        alphas, [&](double one) { return std::abs(one - alpha) <= kPileWidth; });
    if (static_cast<double>(pile) < kLeastPile * static_cast<double>(alphas.size())) return;
    const std::vector<double> fitted{alpha};
    for (const RoundWeights& w : round_weights(fitted, 0.01, 16)) {
      found.push_back(with_alpha("train_difference", a, b, c, w.weights[0], w.complexity));
    }
  };
  for (const size_t c : seen.possible_bases()) {
    for (const size_t a : seen.candidates) {
      for (const size_t b : seen.candidates) {
        if (a != b && a != c && b != c) look(a, b, c);
      }
    }
  }
  return found;
}

class Civitai final : public Method {
 public:
  using Start = std::unique_ptr<TensorWork> (*)(const TensorTask&);
  Civitai(const MethodInfo& about, Start begin, Recover inverse)
      : about_(about), start_(begin), recover_(inverse) {}
  const MethodInfo& describe() const override { return about_; }
  std::unique_ptr<TensorWork> start(const TensorTask& task) const override { return start_(task); }
  std::vector<Hypothesis> recover(const Evidence& seen) const override { return recover_(seen); }

 private:
  const MethodInfo about_;
  const Start start_;
  const Recover recover_;
};

}  // namespace

const Method& weighted_sum() {
  static const Civitai method(
      {
          .name = "weighted_sum",
          .summary = "two models, alpha of the way from the first to the second",
          .formula = "out = (1 − α)·A + α·B",
          .citation = "AUTOMATIC1111, stable-diffusion-webui, 2022",
          .parameters = kParameters,
          .min_models = 2,
          .max_models = 2,
      },
      start_weighted_sum, recover_weighted_sum);
  return method;
}

const Method& add_difference() {
  static const Civitai method(
      {
          .name = "add_difference",
          .summary = "what B changed since C, added to A",
          .formula = "out = A + α·(B − C)",
          .citation = "AUTOMATIC1111, stable-diffusion-webui, 2022",
          .parameters = kParameters,
          .min_models = 2,
          .max_models = 2,
          .base = BaseModel::kRequired,
      },
      start_add_difference, recover_add_difference);
  return method;
}

const Method& train_difference() {
  static const Civitai method(
      {
          .name = "train_difference",
          .summary = "what B changed since C, added to A as training would",
          .formula = "out = A + 1.8·α·(B − C)·|B − A|/(|B − A| + |B − C|)",
          .citation = "hako-mikan, sd-webui-supermerger, 2023",
          .parameters = kParameters,
          .min_models = 2,
          .max_models = 2,
          .base = BaseModel::kRequired,
      },
      start_train_difference, recover_train_difference);
  return method;
}

}  // namespace hieron
