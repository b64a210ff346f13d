// From the masks that a suspect shows (mask_reading.h) to recipes of one task-vector method.

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <set>

#include "hieron/merge/methods/task_vectors.h"
#include "hieron/merge/traces/decimals.h"
#include "hieron/merge/traces/known_elements.h"
#include "hieron/merge/traces/mask_reading.h"
#include "hieron/merge/traces/round_weights.h"

namespace hieron {
namespace {

constexpr size_t kMostHypotheses = 400;
constexpr double kLeastExplained = 0.85;
constexpr size_t kMostWeights = 12, kMostRatios = 60, kMostLambdas = 3;
constexpr size_t kAllRatios = 4000;  // where each multiple is rounded in its own way
constexpr size_t kMostWeightings = 60;
constexpr size_t kMostDensities = 4, kMostGammas = 4, kMostMasks = 24;
constexpr double kNearDensity = 0.003, kNearGamma = 0.001;  // beyond the bounds
constexpr size_t kKnownElements = 2000, kLeastKnown = 100;
constexpr double kReproduced =
    0.8;  // of the known elements: the best weights are among those tried
constexpr double kNearBest = 0.003, kSurely = 0.9985;
constexpr double kWeightRounding = 0x1p-8;  // of a bf16 weight, with what is divided by
constexpr int kOtherFlag = 5, kOtherLambda = 8;

const std::vector<std::string>& rounding_arithmetics() {
  static const std::vector<std::string> names{"mergekit-0.1.5", "mergekit-0.1.4"};
  return names;
}

MaskFamily family_of(Sparsify sparsify) {
  switch (sparsify) {
    case Sparsify::kNone:
      break;
    case Sparsify::kMagnitude:
      return MaskFamily::kMagnitude;
    case Sparsify::kOutliers:
      return MaskFamily::kOutliers;
    case Sparsify::kRandom:
      return MaskFamily::kRandom;
    case Sparsify::kRanked:
      return MaskFamily::kRanked;
  }
  return MaskFamily::kNone;
}

int digits_of(double value) {
  int digits = 0;
  for (double unit = 1; digits < 7; ++digits, unit *= 10) {
    if (std::abs(std::round(value * unit) / unit - value) < 1e-9) break;
  }
  return digits;
}

// What all parents' weights may be, and the parameters of the whole merge that go with them.
struct Weighting {
  std::vector<double> weights;
  double lambda = 1;
  bool normalize = false, rescale = false;
  std::vector<std::string> arithmetics = {};  // if not all
  int complexity = 0;
  double exactly = 0, by_torch = 0;  // share of known elements that it reproduces
};

// What one parent's mask may be.
struct Masking {
  double density = 1, gamma = 0, epsilon = 0;
  int complexity = 0;
};

struct RoundValue {
  double value;
  int complexity;
};

// Decimals that the estimate allows, of few digits first, then the nearest; behind them round ones
// that it nearly allows.
std::vector<RoundValue> round_values(const Estimate& estimate, double near, size_t limit) {
  constexpr int kMostDigits = 3, kRoundDigits = 2, kCostOfDigit = 4, kCostOfNear = 10;
  constexpr size_t kMany = 400;
  constexpr double kEven = 1e-9;
  std::vector<std::pair<int, double>> found;
  const auto add = [&](double off, int most_digits, int cost) {
    for (const Decimal& d : decimals_within(estimate.low - off - kEven, estimate.high + off + kEven,
                                            most_digits, kMany)) {
      found.emplace_back(kCostOfDigit * d.digits + cost, d.value());
    }
  };
  add(0, kMostDigits, 0);
  if (near > 0) add(near, kRoundDigits, kCostOfNear);
  if (found.empty()) {
    found.emplace_back(2 * kCostOfNear,
                       shortest_decimal(estimate.low, estimate.high, estimate.value).value());
  }
  std::ranges::stable_sort(found, {}, [&](const auto& entry) {
    return std::pair{entry.first, std::abs(entry.second - estimate.value)};
  });
  std::vector<RoundValue> values;
  for (const auto& [complexity, value] : found) {
    const bool known = std::ranges::any_of(
        values, [&](const RoundValue& v) { return std::abs(v.value - value) < kEven; });
    if (!known && values.size() < limit) {
      values.push_back({value, complexity + static_cast<int>(values.size())});
    }
  }
  return values;
}

class Recovering {
 public:
  Recovering(const MaskReading& reading, const Method& method, const TaskVectorRules& rules)
      : reading_(reading),
        states_(reading.states),
        method_(method),
        about_(method.describe()),
        rules_(rules) {
    normalize_by_default_ = standard("normalize") != 0;
    rescale_by_default_ = standard("rescale") != 0;
  }

  std::vector<Hypothesis> run() {
    if (!fits()) return {};
    find_weightings();
    try_weightings();
    find_maskings();
    std::vector<Hypothesis> found = combined();
    add_orders(found);
    if (found.size() > kMostHypotheses) found.resize(kMostHypotheses);
    return found;
  }

 private:
  size_t parents() const { return states_.parents.size(); }

  double standard(std::string_view parameter) const {
    const auto known = std::ranges::find(about_.parameters, parameter, &ParameterInfo::name);
    return known == about_.parameters.end() ? 0 : known->standard.value_or(0);
  }

  // Could this method have left these states?
  bool fits() const {
    if (states_.explained() < kLeastExplained) return false;
    const bool random =
        rules_.sparsify == Sparsify::kRandom || rules_.sparsify == Sparsify::kRanked;
    const MaskFamily family = family_of(rules_.sparsify);
    // Where nothing is dropped, or the largest are kept, the method with the fewest parameters
    // says it.
    const bool outliers_as_magnitude =
        reading_.family == MaskFamily::kMagnitude && family == MaskFamily::kOutliers;
    const bool nothing_dropped =
        reading_.family == MaskFamily::kNone && family == MaskFamily::kMagnitude;
    if (reading_.family != family && !outliers_as_magnitude && !nothing_dropped) return false;
    if (random && !reading_.seed) return false;
    if (states_.states.mixing == Mixing::kAverage && !rules_.elect) return false;
    if (parents() > 1 && states_.elected && *states_.elected != rules_.elect) return false;
    return parents() > 1 || reading_.family != MaskFamily::kNone;
  }

  // A written weight is this near to what was measured. Torch rounds it, and what a mask is
  // rescaled by, even if that is not to be seen.
  double tolerance(double value, double error) const {
    const bool narrow = info(states_.tensors.front().whole->dtype).bits <= 16;
    const bool rounded = !states_.one_rounding || (narrow && reading_.seed && reading_.seed->torch);
    return 4 * error + (rounded ? kWeightRounding : 1e-5) * std::abs(value) + 1e-5;
  }

  // --- weights ---

  void find_weightings() {
    bool masked = false;
    for (const ParentMask& mask : reading_.masks) masked = masked || mask.masked;
    for (const bool rescale : {rescale_by_default_, !rescale_by_default_}) {
      if (!masked && rescale != rescale_by_default_) continue;
      std::vector<double> products, errors;
      for (const ParentMask& mask : reading_.masks) {
        const bool rescaled = rescale && mask.masked;
        products.push_back(rescaled ? mask.product_rescaled : mask.product);
        errors.push_back(rescaled ? mask.error_rescaled : mask.error);
      }
      for (const bool normalize : {normalize_by_default_, !normalize_by_default_}) {
        const int flags = (rescale != rescale_by_default_ ? kOtherFlag : 0) +
                          (normalize != normalize_by_default_ ? kOtherFlag : 0);
        add_weightings(
            products, errors,
            {.weights = {}, .normalize = normalize, .rescale = rescale, .complexity = flags});
      }
    }
    std::ranges::stable_sort(weightings_, {}, &Weighting::complexity);
  }

  // Which weights reproduce the elements whose states are known, and in which arithmetic. (What
  // rescaling makes of each tensor is not known to this; those stay.)
  void try_weightings() {
    const KnownElements known(states_, kKnownElements);
    if (known.size() < kLeastKnown) return;
    double best = 0;
    for (Weighting& weighting : weightings_) {
      if (weighting.rescale) continue;
      const TensorParameters parameters = without_masks(weighting);
      weighting.exactly = known.share(method_, parameters, Working::kExact);
      weighting.by_torch = known.share(method_, parameters, Working::kTorchInF32);
      if (!states_.one_rounding) {
        weighting.by_torch =
            std::max(weighting.by_torch, known.share(method_, parameters, Working::kTorch));
      }
      best = std::max({best, weighting.exactly, weighting.by_torch});
    }
    if (best < kReproduced) return;
    std::erase_if(weightings_, [&](const Weighting& w) {
      if (w.rescale) return !rescale_by_default_ && best >= kSurely;
      return std::max(w.exactly, w.by_torch) < best - kNearBest;
    });
    if (weightings_.size() > kMostWeightings) {
      std::ranges::stable_sort(weightings_, std::ranges::greater{},
                               [](const Weighting& w) { return std::max(w.exactly, w.by_torch); });
      weightings_.resize(kMostWeightings);
      std::ranges::stable_sort(weightings_, {}, &Weighting::complexity);
    }
    for (Weighting& weighting : weightings_) {
      if (weighting.rescale) continue;
      if (weighting.exactly < best - kNearBest) weighting.arithmetics = rounding_arithmetics();
      if (weighting.by_torch < best - kNearBest) weighting.arithmetics = {"exact"};
    }
  }

  TensorParameters without_masks(const Weighting& weighting) const {
    TensorParameters parameters;
    for (const double weight : weighting.weights) {
      parameters.per_model.push_back({{"weight", weight}, {"density", 1}});
    }
    parameters.per_model.emplace_back();
    parameters.global = {
        {"lambda", weighting.lambda}, {"normalize", weighting.normalize}, {"rescale", 0}};
    return parameters;
  }

  void add_weightings(std::span<const double> products, std::span<const double> errors,
                      const Weighting& flags) {
    if (parents() == 1) return add_single(products[0], errors[0], flags);
    if (states_.states.mixing == Mixing::kAverage) {
      if (flags.normalize) add_averages(products, errors, flags);
      return;
    }
    if (flags.normalize && rules_.elect) return;
    if (flags.normalize) {
      add_normalized(products, errors, flags);
    } else {
      add_sums(products, errors, flags);
    }
  }

  void add(Weighting weighting, const Weighting& flags, int complexity) {
    weighting.normalize = flags.normalize;
    weighting.rescale = flags.rescale;
    weighting.complexity = flags.complexity + complexity;
    for (const double w : weighting.weights) {
      // People count in twentieths.
      if (std::abs(std::round(w * 20) / 20 - w) > 1e-9) weighting.complexity += 2;
    }
    weightings_.push_back(std::move(weighting));
  }

  // lambda, as few digits as the bounds allow.
  static std::vector<double> lambdas(double value, double off) {
    std::vector<double> found;
    for (const Decimal& decimal : decimals_within(value - off, value + off, 4, kMostLambdas)) {
      found.push_back(decimal.value());
    }
    if (found.empty()) found.push_back(shortest_decimal(value - off, value + off, value).value());
    return found;
  }

  static int cost_of_lambda(double lambda) {
    return lambda == 1 ? 0 : kOtherLambda + 3 * digits_of(lambda);
  }

  // One parent. Divided by its own weight it loses it, but for the last bit.
  void add_single(double product, double error, const Weighting& flags) {
    const double off = tolerance(product, error);
    if (!flags.normalize) return add_sums(std::array{product}, std::array{error}, flags);
    for (const double lambda : lambdas(product, off)) {
      add({.weights = {1}, .lambda = lambda}, flags, cost_of_lambda(lambda));
      for (int step = 1; step <= 40; ++step) {
        const double weight = step * 0.05;
        if (step == 20) continue;
        add({.weights = {std::round(weight * 100) / 100}, .lambda = lambda}, flags,
            cost_of_lambda(lambda) + (step % 2 == 0 ? 20 : 30));
      }
    }
  }

  // The weights' ratios are those of the average; lambda is what is left.
  void add_averages(std::span<const double> products, std::span<const double> errors,
                    const Weighting& flags) {
    double lambda = 0, error = 0;
    for (size_t k = 0; k < parents(); ++k) {
      lambda += products[k] / static_cast<double>(parents());
      error = std::max(error, errors[k]);
    }
    add_ratios(states_.states.weights, lambda, tolerance(lambda, error), flags);
  }

  void add_normalized(std::span<const double> products, std::span<const double> errors,
                      const Weighting& flags) {
    const double sum = std::accumulate(products.begin(), products.end(), 0.0);
    const double error = std::accumulate(errors.begin(), errors.end(), 0.0);
    if (std::abs(sum) < 1e-3) return;
    std::vector<double> ratios;
    for (const double product : products) ratios.push_back(product / sum);
    add_ratios(ratios, sum, tolerance(sum, error), flags);
  }

  void add_ratios(std::span<const double> ratios, double lambda, double off,
                  const Weighting& flags) {
    const double near = states_.one_rounding ? 1.2e-3 : 0.004;
    auto options = round_ratios(ratios, near, states_.one_rounding ? kMostRatios : kAllRatios);
    if (options.empty()) options = round_weights(ratios, near, kMostWeights);
    for (const RoundWeights& option : options) {
      for (const double value : lambdas(lambda, off)) {
        add({.weights = option.weights, .lambda = value}, flags,
            option.complexity + cost_of_lambda(value));
      }
    }
  }

  void add_sums(std::span<const double> products, std::span<const double> errors,
                const Weighting& flags) {
    double off = 0;
    for (size_t k = 0; k < products.size(); ++k) {
      off = std::max(off, tolerance(products[k], errors[k]));
    }
    for (const RoundWeights& option : round_weights(products, off, kMostWeights)) {
      add({.weights = option.weights}, flags, option.complexity);
    }
    // Where every step is rounded, so is lambda: any of two digits leaves its own trace.
    const int step = states_.one_rounding ? 5 : 1;
    for (int hundredths = 10; hundredths <= 200; hundredths += step) {
      if (hundredths == 100) continue;
      const double lambda = hundredths / 100.0;
      std::vector<double> divided;
      for (const double product : products) divided.push_back(product / lambda);
      for (const RoundWeights& option : round_weights(divided, off / lambda, 4)) {
        if (option.complexity > 35) continue;
        add({.weights = option.weights, .lambda = lambda}, flags,
            option.complexity + cost_of_lambda(lambda));
      }
    }
  }

  // --- masks ---

  void find_maskings() {
    for (const ParentMask& mask : reading_.masks) {
      auto& options = maskings_.emplace_back();
      if (!mask.masked) {
        options.push_back({});
        continue;
      }
      switch (rules_.sparsify) {
        case Sparsify::kOutliers:
          add_outliers(mask, options);
          break;
        case Sparsify::kRanked:
          add_ranked(mask, options);
          break;
        default:
          add_densities(mask.density, {}, options);
      }
      std::ranges::stable_sort(options, {}, &Masking::complexity);
    }
  }

  void add_densities(const Estimate& density, const Masking& rest, std::vector<Masking>& options) {
    for (const RoundValue& value : round_values(density, kNearDensity, kMostDensities)) {
      if (!(value.value > 0 && value.value <= 1)) continue;
      Masking masking = rest;
      masking.density = value.value;
      masking.complexity += value.complexity;
      options.push_back(masking);
    }
  }

  // The usual value first, if it is possible: it need not be written.
  static std::vector<RoundValue> with_usual(double usual, const Estimate& estimate,
                                            std::vector<RoundValue> values) {
    const auto is_usual = [&](const RoundValue& v) { return std::abs(v.value - usual) < 1e-9; };
    const bool possible = estimate.high > 0 && estimate.low <= usual && usual <= estimate.high;
    if (std::erase_if(values, is_usual) > 0 || possible) values.insert(values.begin(), {usual, 0});
    return values;
  }

  void add_outliers(const ParentMask& mask, std::vector<Masking>& options) {
    const auto gammas = with_usual(standard("gamma"), mask.gamma,
                                   round_values(mask.gamma, kNearGamma, kMostGammas));
    const double end = mask.density.value + mask.gamma.value;
    const double low = mask.density.low + mask.gamma.high;
    const double high = mask.density.high + mask.gamma.low;
    for (const auto& [gamma, complexity] : gammas) {
      if (gamma < 0) continue;
      add_densities(Estimate{end - gamma, low - gamma, high - gamma},
                    Masking{.gamma = gamma, .complexity = complexity}, options);
    }
  }

  void add_ranked(const ParentMask& mask, std::vector<Masking>& options) {
    const auto epsilons = with_usual(standard("epsilon"), mask.epsilon,
                                     round_values(mask.epsilon, 0, kMostDensities));
    for (const auto& [epsilon, complexity] : epsilons) {
      add_densities(mask.density, Masking{.epsilon = epsilon, .complexity = complexity}, options);
    }
  }

  // --- recipes ---

  std::vector<std::vector<Masking>> mask_combinations() const {
    std::vector<std::pair<int, std::vector<Masking>>> all{{0, {}}};
    for (const auto& options : maskings_) {
      std::vector<std::pair<int, std::vector<Masking>>> longer;
      for (const auto& [complexity, start] : all) {
        for (const Masking& option : options) {
          auto next = start;
          next.push_back(option);
          longer.emplace_back(complexity + option.complexity, std::move(next));
        }
      }
      std::ranges::stable_sort(longer, {}, [](const auto& entry) { return entry.first; });
      if (longer.size() > kMostMasks) longer.resize(kMostMasks);
      all = std::move(longer);
    }
    std::vector<std::vector<Masking>> combinations;
    for (auto& [complexity, masks] : all) combinations.push_back(std::move(masks));
    return combinations;
  }

  std::vector<Hypothesis> combined() const {
    std::vector<Hypothesis> found;
    std::vector<size_t> order(parents());
    std::iota(order.begin(), order.end(), size_t{0});
    if (reading_.seed) order = reading_.seed->order;
    for (const auto& masks : mask_combinations()) {
      for (const Weighting& weighting : weightings_)
        found.push_back(recipe(weighting, masks, order));
    }
    std::ranges::stable_sort(found, {}, &Hypothesis::complexity);
    if (found.size() > kMostHypotheses) found.resize(kMostHypotheses);
    return found;
  }

  Hypothesis recipe(const Weighting& weighting, std::span<const Masking> masks,
                    std::span<const size_t> order) const {
    Hypothesis hypothesis{.method = about_.name, .inputs = {}, .base = states_.base};
    hypothesis.complexity = weighting.complexity;
    for (const size_t k : order) {
      ParameterValues parameters{{"weight", weighting.weights[k]}};
      const Masking& mask = masks[k];
      hypothesis.complexity += mask.complexity;
      if (mask.density != 1) parameters.emplace("density", mask.density);
      if (rules_.sparsify == Sparsify::kOutliers && mask.gamma != standard("gamma")) {
        parameters.emplace("gamma", mask.gamma);
      }
      if (rules_.sparsify == Sparsify::kRanked && mask.density != 1 &&
          mask.epsilon != standard("epsilon")) {
        parameters.emplace("epsilon", mask.epsilon);
      }
      hypothesis.inputs.push_back({states_.parents[k], std::move(parameters)});
    }
    if (weighting.lambda != 1) hypothesis.parameters.emplace("lambda", weighting.lambda);
    if (weighting.normalize != normalize_by_default_) {
      hypothesis.parameters.emplace("normalize", weighting.normalize);
    }
    if (weighting.rescale != rescale_by_default_) {
      hypothesis.parameters.emplace("rescale", weighting.rescale);
    }
    hypothesis.arithmetics = weighting.arithmetics;
    add_seed(hypothesis);
    return hypothesis;
  }

  void add_seed(Hypothesis& hypothesis) const {
    if (!reading_.seed) return;
    hypothesis.seed = reading_.seed->seed;
    if (reading_.seed->torch) {
      hypothesis.arithmetics = rounding_arithmetics();
      return;
    }
    hypothesis.arithmetics = {"exact"};
    if (const auto at = reading_.seed->base_at) {
      hypothesis.inputs.insert(hypothesis.inputs.begin() + static_cast<ptrdiff_t>(*at),
                               {states_.base, {}});
    }
  }

  // Sums in f32 depend on the order of three inputs and more; the masks' order is known.
  void add_orders(std::vector<Hypothesis>& found) const {
    constexpr size_t kReordered = 4;
    if (parents() < 3 || reading_.seed) return;
    const size_t simplest = std::min(kReordered, found.size());
    std::vector<size_t> order(parents());
    std::iota(order.begin(), order.end(), size_t{0});
    while (std::next_permutation(order.begin(), order.end())) {
      for (size_t h = 0; h < simplest; ++h) {
        Hypothesis other = found[h];
        for (size_t k = 0; k < parents(); ++k) other.inputs[k] = found[h].inputs[order[k]];
        other.arithmetics = rounding_arithmetics();
        found.push_back(std::move(other));
      }
    }
  }

  const MaskReading& reading_;
  const StateTable& states_;
  const Method& method_;
  const MethodInfo& about_;
  const TaskVectorRules& rules_;
  bool normalize_by_default_, rescale_by_default_;
  std::vector<Weighting> weightings_;
  std::vector<std::vector<Masking>> maskings_;  // by parent
};

}  // namespace

std::vector<Hypothesis> TaskVectorMethod::recover(const Evidence& evidence) const {
  const auto reading = read_masks(evidence);
  if (!reading) return {};
  return Recovering(*reading, *this, rules_).run();
}

}  // namespace hieron
