#include "hieron/recover/refine.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace hieron {
namespace {

constexpr int kMostRounds = 6;
constexpr int kReach = 2;  // steps of a hundredth

constexpr std::array<std::string_view, 3> kShares{"density", "gamma", "epsilon"};

double hundredths(double value) { return std::round(value * 100) / 100; }

// The shares of one input: each in whole hundredths, up to so many steps away.
void add_steps(const Tried& tried, size_t input, int reach, std::span<const std::string> names,
               std::vector<Hypothesis>& all) {
  int combinations = 1;
  for (size_t i = 0; i < names.size(); ++i) combinations *= 2 * reach + 1;
  for (int number = 0; number < combinations; ++number) {
    Hypothesis hypothesis = tried.hypothesis;
    ParameterValues& values = hypothesis.inputs[input].parameters;
    bool changed = false, possible = true;
    int rest = number;
    for (const std::string& name : names) {
      double& value = values.at(name).otherwise;
      const double other = hundredths(hundredths(value) + (rest % (2 * reach + 1) - reach) / 100.0);
      rest /= 2 * reach + 1;
      changed = changed || other != value;
      possible = possible && other > 0 && other <= 1;
      value = other;
    }
    if (!changed || !possible) continue;
    hypothesis.arithmetics = {tried.rendering.arithmetic};
    all.push_back(std::move(hypothesis));
  }
}

std::vector<Hypothesis> neighbours(const Tried& tried) {
  std::vector<Hypothesis> all;
  for (size_t k = 0; k < tried.hypothesis.inputs.size(); ++k) {
    std::vector<std::string> names;
    for (const auto& [name, value] : tried.hypothesis.inputs[k].parameters) {
      const bool share = std::ranges::find(kShares, name) != kShares.end();
      if (share && !value.varies()) names.push_back(name);
    }
    if (names.size() > 1) add_steps(tried, k, 1, names, all);
    for (const std::string& name : names) add_steps(tried, k, kReach, {&name, 1}, all);
  }
  return all;
}

}  // namespace

Tried refined(const Trial& trial, const Tried& start) {
  Tried best = start;
  for (int round = 0; round < kMostRounds && best.score.share() < 1; ++round) {
    const std::vector<Tried> tried = trial.best_of(neighbours(best));
    if (tried.empty() || tried.front().score.share() <= best.score.share()) break;
    best = tried.front();
  }
  best.hypothesis.arithmetics = start.hypothesis.arithmetics;
  return best;
}

}  // namespace hieron
