#include "hieron/merge/traces/parameter_curves.h"

#include <Eigen/Dense>
#include <algorithm>
#include <cctype>
#include <cmath>
#include <map>
#include <optional>
#include <set>

#include "hieron/merge/recipe.h"

namespace hieron {
namespace {

constexpr uint64_t kSaysEnough = 1000;  // informative elements: t to three decimals
constexpr uint64_t kSmall = 1u << 16;   // elements of a tensor that may be tried out
constexpr size_t kLongestList = 9;
constexpr int kMostDigits = 3, kFittedDigits = 7;

double to_digits(double value, int digits) {
  const double unit = std::pow(10.0, digits);
  return std::round(value * unit) / unit + 0.0;  // no -0
}

// The decimal of fewest digits within the tolerance; else the value to seven.
struct Rounded {
  double value;
  int digits;
};
Rounded shortest_near(double value, double tolerance) {
  for (int digits = 0; digits <= kMostDigits + 1; ++digits) {
    const double rounded = to_digits(value, digits);
    if (std::abs(rounded - value) <= tolerance) return {rounded, digits};
  }
  return {to_digits(value, kFittedDigits), kFittedDigits};
}

// "model.layers.3.mlp.up_proj.weight" is of the kind "model.layers.#.mlp.up_proj.weight".
std::string kind_of(std::string_view name) {
  std::string kind;
  bool word = false;  // "q4" keeps its number
  for (size_t i = 0; i < name.size(); ++i) {
    const bool digit = std::isdigit(static_cast<unsigned char>(name[i])) != 0;
    if (digit && !word) {
      if (!kind.ends_with('#')) kind += '#';
    } else {
      kind += name[i];
      word = std::isalpha(static_cast<unsigned char>(name[i])) != 0 || (word && digit);
    }
  }
  return kind;
}

std::string_view module_of(std::string_view name) {
  std::string_view module = name.substr(0, name.rfind('.'));  // without "weight"
  const size_t dot = module.rfind('.');
  return dot == std::string_view::npos ? std::string_view() : module.substr(0, dot + 1);
}

// A list of values over depth, at `t`.
double at_depth(const std::vector<double>& values, double t) {
  const double value =
      *evaluate({.name = {}, .rules = {{.filter = {}, .values = values, .texts = {}}}}, "", t);
  return std::round(value * 1e12) / 1e12;
}

double depth_of(int layer, int layers) {
  return layers < 2 ? 0 : static_cast<double>(layer) / static_cast<double>(layers - 1);
}

// The list of n values that fits best, in decimals; empty if the layers do not determine it.
std::vector<double> list_of(const std::map<int, double>& by_layer, int layers, size_t n,
                            int digits) {
  const auto rows = static_cast<Eigen::Index>(by_layer.size());
  const auto columns = static_cast<Eigen::Index>(n);
  Eigen::MatrixXd system = Eigen::MatrixXd::Zero(rows, columns);
  Eigen::VectorXd right(rows);
  Eigen::Index row = 0;
  for (const auto& [layer, value] : by_layer) {
    for (Eigen::Index k = 0; k < columns; ++k) {
      std::vector<double> one(n, 0.0);
      one[static_cast<size_t>(k)] = 1;
      system(row, k) = at_depth(one, depth_of(layer, layers));
    }
    right[row++] = value;
  }
  const Eigen::ColPivHouseholderQR<Eigen::MatrixXd> solver(system);
  if (solver.rank() < columns) return {};
  const Eigen::VectorXd solved = solver.solve(right);
  std::vector<double> values;
  for (Eigen::Index k = 0; k < columns; ++k) values.push_back(to_digits(solved[k], digits));
  return values;
}

// The values of one kind's layers: of the shortest list of fewest digits that runs through all
// estimates, else each to itself.
struct Smoothed {
  std::map<int, double> values;
  int digits;
};
Smoothed smoothed(const std::map<int, double>& by_layer, int layers, double tolerance) {
  std::map<int, double> values;
  for (int digits = 0; digits <= kMostDigits; ++digits) {
    for (size_t n = 1; n <= std::min(kLongestList, by_layer.size()); ++n) {
      const std::vector<double> list = list_of(by_layer, layers, n, digits);
      if (list.empty()) continue;
      values.clear();
      bool near = true;
      for (const auto& [layer, estimate] : by_layer) {
        values[layer] = at_depth(list, depth_of(layer, layers));
        near = near && std::abs(values[layer] - estimate) <= tolerance;
      }
      if (near) return {std::move(values), digits};
    }
  }
  int most = 0;
  for (const auto& [layer, estimate] : by_layer) {
    const Rounded rounded = shortest_near(estimate, tolerance);
    values[layer] = rounded.value;
    most = std::max(most, rounded.digits);
  }
  return {std::move(values), most};
}

class CurveFit {
 public:
  CurveFit(const Evidence& evidence, std::span<const TensorEstimate> estimates, double tolerance)
      : evidence_(evidence), tolerance_(tolerance) {
    for (const TensorFit& fit : evidence.fits) {
      layers_ = std::max(layers_, fit.role.layer.value_or(kOutside) + 1);
    }
    settle(estimates);
  }

  Curves values(const Agreement& agreement) const {
    ParameterValue value(otherwise_);
    for (const std::string& name : evidence_.drawn) {
      const auto known = by_name_.find(name);
      value.by_tensor.emplace_back(
          name, known != by_name_.end() ? known->second : borrowed(name, agreement));
    }
    return {std::move(value), digits_};
  }

 private:
  // Those that say enough, kind by kind.
  void settle(std::span<const TensorEstimate> estimates) {
    const bool any = std::ranges::any_of(
        estimates, [](const TensorEstimate& e) { return e.informative >= kSaysEnough; });
    std::map<std::string, std::vector<TensorEstimate>> kinds;
    for (const TensorEstimate& e : estimates) {
      if (!any || e.informative >= kSaysEnough) kinds[kind_of(e.name)].push_back(e);
    }
    std::vector<TensorEstimate> outside;
    for (const auto& [kind, members] : kinds) {
      std::map<int, std::vector<TensorEstimate>> of_layer;
      for (const TensorEstimate& e : members) of_layer[layer_of(e)].push_back(e);
      std::map<int, double> by_layer;
      for (const auto& [layer, some] : of_layer) by_layer[layer] = consensus(some, 1).value;
      Smoothed smooth = smoothed(by_layer, by_layer.contains(kOutside) ? 1 : layers_, tolerance_);
      by_layer = std::move(smooth.values);
      digits_ = std::max(digits_, smooth.digits);
      for (const TensorEstimate& e : members) {
        const double value = by_layer.at(layer_of(e));
        by_name_[e.name] = value;
        of_layer_[layer_of(e)].insert(value);
        if (layer_of(e) == kOutside) outside.push_back({e.name, e.role, e.informative, value});
      }
    }
    // What stands outside of the layers has the value of no filter, more often than not.
    otherwise_ = outside.empty() ? shortest_near(consensus(estimates, 1).value, tolerance_).value
                                 : consensus(outside, 1).value;
  }

  // One of the values of the tensor's layer, or the one for all others.
  double borrowed(const std::string& name, const Agreement& agreement) const {
    const double first = value_of_module(name).value_or(otherwise_);
    if (evidence_.elements(name) > kSmall) return first;
    const auto whole = evidence_.whole(name);
    if (!whole) return first;
    std::vector<double> choices{first, otherwise_};
    const auto of_layer = of_layer_.find((*whole)->role.layer.value_or(kOutside));
    if (of_layer != of_layer_.end()) {
      choices.insert(choices.end(), of_layer->second.begin(), of_layer->second.end());
    }
    return *std::ranges::max_element(choices, std::ranges::less{},
                                     [&](double choice) { return agreement(**whole, choice); });
  }

  // q_norm stands beside q_proj.
  std::optional<double> value_of_module(std::string_view name) const {
    const std::string_view module = module_of(name);
    for (auto next = by_name_.lower_bound(module);
         next != by_name_.end() && next->first.starts_with(module); ++next) {
      if (module_of(next->first) == module) return next->second;
    }
    return std::nullopt;
  }

  static constexpr int kOutside = -1;  // of the layers
  static int layer_of(const TensorEstimate& e) { return e.role.layer.value_or(kOutside); }

  const Evidence& evidence_;
  const double tolerance_;
  int layers_ = 0, digits_ = 0;
  std::map<std::string, double, std::less<>> by_name_;
  std::map<int, std::set<double>> of_layer_;
  double otherwise_ = 0;
};

}  // namespace

Curves value_by_tensor(const Evidence& evidence, std::span<const TensorEstimate> estimates,
                       double tolerance, const Agreement& agreement) {
  return CurveFit(evidence, estimates, tolerance).values(agreement);
}

}  // namespace hieron
