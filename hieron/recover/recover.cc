#include "hieron/recover/recover.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <numeric>
#include <set>
#include <string_view>
#include <vector>

#include "hieron/merge/method.h"

namespace hieron {
namespace {

constexpr uint64_t kLeastTelling = 100;
// Of two recipes that do not hold the later one, which is more special, must be better by this.
constexpr double kClearlyBetter = 0.005;
constexpr double kWorthVarying = 0.9;

// Cheap to dear, general to special: each looks at the evidence and offers nothing where it cannot
// have been. Those on one line are tried together, as they often give the same bytes.
using Group = std::vector<std::string_view>;
const std::vector<Group>& groups() {
  static const std::vector<Group> table{
      {"passthrough", "linear", "task_arithmetic", "weighted_sum", "add_difference"},
      {"slerp", "nuslerp"},
      {"multislerp"},
      {"karcher"},
      {"model_stock"},
      {"arcee_fusion"},
      {"ram"},
      {"ramplus_tl"},
      {"sce"},
      {"nearswap"},
      {"ties", "breadcrumbs", "breadcrumbs_ties"},
      {"dare_linear", "dare_ties"},
      {"della_linear", "della"},
  };
  return table;
}

// Those first, then whatever else there is.
std::vector<std::vector<const Method*>> in_order() {
  std::vector<std::vector<const Method*>> ordered;
  std::set<const Method*> known;
  for (const Group& group : groups()) {
    auto& together = ordered.emplace_back();
    for (const std::string_view name : group) {
      const Method* method = find_method(name);
      if (method && known.insert(method).second) together.push_back(method);
    }
  }
  for (const Method* method : methods()) {
    if (known.insert(method).second) ordered.push_back({method});
  }
  return ordered;
}

size_t models_of(const Tried& tried) {
  std::set<size_t> models;
  for (const HypothesisInput& input : tried.hypothesis.inputs) models.insert(input.model);
  if (tried.hypothesis.base) models.insert(*tried.hypothesis.base);
  return models.size();
}

// Of recipes that do not hold and are about as good the one that names fewest models.
void put_modest_first(std::vector<Tried>& tried) {
  const double least = tried.front().score.share() - kClearlyBetter;
  const auto end =
      std::ranges::find_if(tried, [&](const Tried& t) { return t.score.share() < least; });
  const auto best = std::min_element(tried.begin(), end, [](const Tried& a, const Tried& b) {
    return models_of(a) < models_of(b);
  });
  std::rotate(tried.begin(), best, best + 1);
}

// The order of the inputs shows where sums are rounded on the way, and the size of weights that are
// divided by their sum does too.
std::vector<Hypothesis> variations(const Hypothesis& hypothesis) {
  constexpr size_t kMostInputs = 4;
  const bool scales = hypothesis.method == "linear" &&
                      hypothesis.parameters.contains("normalize") &&
                      hypothesis.parameters.find("normalize")->second.otherwise != 0;
  std::vector<Hypothesis> all;
  if (hypothesis.inputs.size() > kMostInputs) return all;
  for (const double factor : {1.0, 2.0, 3.0, 4.0, 5.0, 0.5}) {
    if (factor != 1 && !scales) break;
    Hypothesis scaled = hypothesis;
    for (HypothesisInput& input : scaled.inputs) {
      for (auto& [name, value] : input.parameters) {
        if (factor == 1 || name != "weight") continue;
        value.otherwise = std::round(value.otherwise * factor * 1e6) / 1e6;
        for (auto& [tensor, weight] : value.by_tensor) weight *= factor;
      }
    }
    std::vector<size_t> order(scaled.inputs.size());
    std::iota(order.begin(), order.end(), size_t{0});
    do {
      Hypothesis turned = scaled;
      for (size_t k = 0; k < order.size(); ++k) turned.inputs[k] = scaled.inputs[order[k]];
      turned.complexity += factor == 1 ? 1 : 2;
      all.push_back(std::move(turned));
    } while (std::ranges::next_permutation(order).found);
  }
  return all;
}

}  // namespace

Recovery recover_recipe(const Candidates& given, const Evidence& evidence,
                        std::span<const std::string_view> allowed) {
  const Trial trial(given, evidence);
  Recovery recovery;
  for (const std::vector<const Method*>& group : in_order()) {
    std::vector<Hypothesis> hypotheses;
    for (const Method* method : group) {
      const auto is = [&](std::string_view name) { return name == method->describe().name; };
      if (!allowed.empty() && std::ranges::none_of(allowed, is)) continue;
      std::ranges::move(method->recover(evidence), std::back_inserter(hypotheses));
    }
    if (hypotheses.empty()) continue;
    recovery.tried += hypotheses.size();
    std::vector<Tried> tried = trial.best_of(hypotheses);
    if (tried.empty()) continue;
    double share = tried.front().score.share();
    if (share < kHolds) {
      put_modest_first(tried);
      share = tried.front().score.share();
    }
    if (share >= kWorthVarying && share < 1) {
      auto varied = trial.best_of(variations(tried.front().hypothesis));
      if (!varied.empty() && varied.front().score.share() > share) tried = std::move(varied);
      share = tried.front().score.share();
    }
    const double needed = recovery.best ? recovery.best->score.share() + kClearlyBetter : 0;
    if (share < kHolds && share < needed) continue;
    recovery.best = tried.front();
    recovery.holds = share >= kHolds && tried.front().score.telling >= kLeastTelling;
    if (!recovery.holds) continue;
    std::erase_if(tried, [](const Tried& t) { return t.score.share() < kHolds; });
    recovery.others.assign(tried.begin() + 1, tried.end());
    break;
  }
  return recovery;
}

}  // namespace hieron
