#include "hieron/recover/recover.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <numeric>
#include <set>
#include <string_view>
#include <vector>

#include "hieron/merge/method.h"
#include "hieron/recover/refine.h"

namespace hieron {
namespace {

constexpr uint64_t kLeastTelling = 100;
// Of two recipes that do not hold the later one, which is more special, must be better by this.
constexpr double kClearlyBetter = 0.005;
constexpr double kWorthVarying = 0.9;
// Complexity of digits that nobody wrote down so. Weights fitted tensor by tensor can stand for any
// method that makes weighted sums: such a recipe does not end the search for what they are.
constexpr int kFitted = 70;

// Cheap to dear, general to special: each looks at the evidence and offers nothing where it cannot
// have been. Those on one line are tried together, as they often give the same bytes. `sums`: each
// tensor is a weighted sum of the models'.
struct Names {
  std::vector<std::string_view> methods;
  bool sums = false;
};
const std::vector<Names>& names() {
  static const std::vector<Names> table{
      {{"passthrough", "linear", "task_arithmetic", "weighted_sum", "add_difference"}, true},
      {{"slerp", "nuslerp"}, true},
      {{"karcher", "model_stock", "multislerp", "geometric_median"}, true},
      {{"arcee_fusion"}},
      {{"ram"}},
      {{"ramplus_tl"}},
      {{"sce"}},
      {{"nearswap"}},
      {{"ties", "breadcrumbs", "breadcrumbs_ties"}},
      {{"dare_linear", "dare_ties"}},
      {{"della_linear", "della"}},
  };
  return table;
}

struct Group {
  std::vector<const Method*> methods;
  bool sums = false;
};

// Those first, then whatever else there is.
std::vector<Group> in_order() {
  std::vector<Group> ordered;
  std::set<const Method*> known;
  for (const Names& group : names()) {
    Group& together = ordered.emplace_back(Group{{}, group.sums});
    for (const std::string_view name : group.methods) {
      const Method* method = find_method(name);
      if (method && known.insert(method).second) together.methods.push_back(method);
    }
  }
  for (const Method* method : methods()) {
    if (known.insert(method).second) ordered.push_back({{method}});
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
  const bool varies = std::ranges::any_of(hypothesis.inputs, [](const HypothesisInput& input) {
    return std::ranges::any_of(input.parameters, [](const auto& p) { return p.second.varies(); });
  });
  const bool scales = hypothesis.method == "linear" && !varies &&
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

// Of two recipes that hold.
bool better(const Tried& a, const Tried& b) {
  if (a.score.share() != b.score.share()) return a.score.share() > b.score.share();
  return a.hypothesis.complexity < b.hypothesis.complexity;
}

// Of what is nearly right: of the best, and of the best simpler ones.
std::vector<Hypothesis> all_variations(std::span<const Tried> tried) {
  constexpr size_t kMostVaried = 3;
  std::vector<Hypothesis> all;
  size_t varied = 0;
  int complexity = std::numeric_limits<int>::max();
  for (const Tried& each : tried) {
    const double share = each.score.share();
    if (share == 1 && varied == 0 && each.hypothesis.complexity < kFitted) return {};
    if (share < kWorthVarying || varied == kMostVaried) break;
    if (share == 1 || each.hypothesis.complexity >= complexity) continue;
    complexity = each.hypothesis.complexity;
    ++varied;
    std::ranges::move(variations(each.hypothesis), std::back_inserter(all));
  }
  return all;
}

}  // namespace

Recovery recover_recipe(const Candidates& given, const Evidence& evidence,
                        std::span<const std::string_view> allowed) {
  const Trial trial(given, evidence);
  Recovery recovery;
  for (const Group& group : in_order()) {
    if (recovery.holds && !group.sums) break;
    std::vector<Hypothesis> hypotheses;
    for (const Method* method : group.methods) {
      const auto is = [&](std::string_view name) { return name == method->describe().name; };
      if (!allowed.empty() && std::ranges::none_of(allowed, is)) continue;
      std::ranges::move(method->recover(evidence), std::back_inserter(hypotheses));
    }
    if (hypotheses.empty()) continue;
    recovery.tried += hypotheses.size();
    std::ranges::stable_sort(hypotheses, {}, &Hypothesis::complexity);
    std::vector<Tried> tried = trial.best_of(hypotheses);
    if (tried.empty()) continue;
    double share = tried.front().score.share();
    if (share < kHolds) {
      put_modest_first(tried);
      share = tried.front().score.share();
    }
    auto varied = trial.best_of(all_variations(tried));
    if (!varied.empty() && better(varied.front(), tried.front())) tried = std::move(varied);
    // The order of the inputs is seen only once their shares are right.
    const Tried better_shares = refined(trial, tried.front());
    if (better_shares.score.share() > tried.front().score.share()) {
      tried.front() = better_shares;
      varied = trial.best_of(all_variations(tried));
      if (!varied.empty() && better(varied.front(), tried.front())) {
        tried = std::move(varied);
        tried.front() = refined(trial, tried.front());
      }
    }
    share = tried.front().score.share();
    const double needed = recovery.best ? recovery.best->score.share() + kClearlyBetter : 0;
    if (share < kHolds && share < needed) continue;
    const bool holds = share >= kHolds && tried.front().score.telling >= kLeastTelling;
    if (recovery.holds && (!holds || !better(tried.front(), *recovery.best))) continue;
    std::vector<Tried> others = std::move(recovery.others);
    if (recovery.holds) others.insert(others.begin(), *recovery.best);
    recovery.others.clear();
    recovery.best = tried.front();
    recovery.holds = holds;
    if (!holds) continue;
    std::erase_if(tried, [](const Tried& t) { return t.score.share() < kHolds; });
    recovery.others.assign(tried.begin() + 1, tried.end());
    std::ranges::move(others, std::back_inserter(recovery.others));
    if (share == 1 && recovery.best->hypothesis.complexity < kFitted) break;
  }
  return recovery;
}

}  // namespace hieron
